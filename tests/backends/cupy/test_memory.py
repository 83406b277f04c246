"""Memory and its errors on CUDA, with a stand-in for CuPy."""

from __future__ import annotations

import contextlib
import sys
import types
from typing import Any

import pytest
from xnn.backends.cupy import CudaDevice
from xnn.backends.device import Memory

import xnn
from xnn import nn, optim
from xnn.training import ProgressBar, Trainer

GIB = 1 << 30


class OutOfMemoryError(MemoryError):
    """As CuPy's: the numbers are in the message."""


OutOfMemoryError.__module__ = "cupy.cuda.memory"


@pytest.fixture
def cupy(monkeypatch):
    fake: Any = types.ModuleType("cupy")
    fake.ndarray = type("ndarray", (), {})  # array-api-compat looks for it as soon as there is a cupy

    class Device(contextlib.nullcontext):
        mem_info = (1 * GIB, 80 * GIB)

        def __init__(self, index: int) -> None:
            super().__init__()

    pool = types.SimpleNamespace(used_bytes=lambda: 70 * GIB, total_bytes=lambda: 73 * GIB)
    fake.ndarray = type("ndarray", (), {})  # array_api_compat looks for it where it finds the module
    fake.cuda = types.SimpleNamespace(Device=Device)
    fake.get_default_memory_pool = lambda: pool
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_memory_is_that_of_this_process(cupy):
    assert CudaDevice(0).memory() == Memory(used=70 * GIB, total=80 * GIB, peak=73 * GIB)


def test_out_of_memory_says_what_was_asked_for_and_what_to_try(cupy):
    text = f"Out of memory allocating {9 * GIB:,} bytes (allocated so far: {70 * GIB:,} bytes)."
    with pytest.raises(xnn.OutOfMemoryError) as caught, CudaDevice(1).explaining_errors():
        raise OutOfMemoryError(text)
    message = str(caught.value)
    assert message.startswith("out of memory on cuda:1: 9.00 GiB were asked for; ")
    assert "arrays of this process use 70.00 GiB, its pool keeps 3.00 GiB more for reuse" in message
    assert "1.00 GiB of the device's 80.00 GiB are free" in message
    for advice in ("a smaller batch", "accumulate", "precision='bfloat16'", "nvidia-smi"):
        assert advice in message
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, xnn.DeviceError)
    assert str(caught.value.__cause__) == text


def test_out_of_memory_of_other_libraries(cupy):
    with (
        pytest.raises(xnn.OutOfMemoryError, match="a library asked for memory"),
        CudaDevice(0).explaining_errors(),
    ):
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")


def test_it_is_told_even_if_the_device_answers_no_more(cupy):
    def broken():
        raise RuntimeError("unspecified launch failure")

    cupy.get_default_memory_pool = broken
    with (
        pytest.raises(xnn.OutOfMemoryError, match=r"512 bytes were asked for\. What"),
        CudaDevice(0).explaining_errors(),
    ):
        raise OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 0 bytes).")


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), MemoryError("of the host"), KeyboardInterrupt()], ids=repr
)
def test_other_errors_pass_as_they_are(cupy, error):
    with pytest.raises(type(error)) as caught, CudaDevice(0).explaining_errors():
        raise error
    assert caught.value is error


def trainer_on(device: Any) -> Trainer:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    trainer = Trainer(net, optim.SGD(net.parameters(), lr=0.1), device="cpu")
    trainer.device = device
    return trainer


class OnCuda(type(xnn.device("cpu"))):  # type: ignore[misc]
    """The CPU, with the memory and the errors of a CUDA device."""

    def __init__(self) -> None:
        self.memory = CudaDevice(0).memory
        self.explaining_errors = CudaDevice(0).explaining_errors


def test_the_trainer_explains_it(cupy, monkeypatch):
    trainer = trainer_on(OnCuda())

    def loss(output, target):
        raise OutOfMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 0 bytes).")

    trainer.loss = loss
    import numpy as np

    batch = np.ones((3, 4), "float32"), np.zeros(3, "int64")
    with pytest.raises(xnn.OutOfMemoryError, match=r"1\.00 KiB were asked for"):
        trainer.train_step(batch)


def test_progress_and_history_show_the_memory_of_a_gpu_only(cupy, capsys, monkeypatch):
    import io

    import numpy as np

    from xnn.data import DataLoader

    monkeypatch.setenv("COLUMNS", "140")
    data = np.ones((12, 4), "float32"), np.zeros(12, "int64")
    for device, shown in ((OnCuda(), True), (xnn.device("cpu"), False)):
        trainer = trainer_on(device)
        out = io.StringIO()
        bar = ProgressBar(out, interval=0.0)
        trainer.callbacks = [bar]
        begin = bar.on_epoch_begin

        def wide(t, begin=begin, bar=bar):
            begin(t)
            bar._bar.ncols = 140
            bar._bar.dynamic_ncols = None

        bar.on_epoch_begin = wide  # type: ignore[method-assign]
        row = trainer.fit(DataLoader(data, 4), epochs=1)[-1]
        assert ("70.0 GiB" in out.getvalue()) is shown
        assert row.get("peak_memory") == (73 * GIB if shown else None)
        assert "peak" not in out.getvalue()
