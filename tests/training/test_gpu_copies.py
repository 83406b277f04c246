"""No step copies from a GPU to the host: the twin, on a real one, of the test that counts PyTorch's reads.

CuPy asks CUDA for its copies from compiled code, where Python cannot count them. PyTorch's profiler can: it sees all
that this process does on the GPU, whoever asked for it.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import xnn
from xnn import nn, optim
from xnn.data import DataLoader
from xnn.training import Trainer

try:
    DEVICE = xnn.device("cuda")
except xnn.DeviceError as error:
    pytest.skip(f"needs a GPU: {error}", allow_module_level=True)
torch = pytest.importorskip("torch", reason="PyTorch, whose profiler counts copies, is not installed")
if not torch.cuda.is_available():
    pytest.skip("this PyTorch is without CUDA: its profiler sees no copies", allow_module_level=True)


class Copies:
    """How many times something was copied from the device to the host."""

    count = -1


@contextlib.contextmanager
def counting():
    found = Copies()
    DEVICE.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        yield found
        DEVICE.synchronize()
    names = [event.name() for event in profiler.profiler.kineto_results.events()]
    found.count = sum("DtoH" in name for name in names)


def problem(samples=48):
    rng = np.random.default_rng(0)
    return rng.standard_normal((samples, 16)).astype("float32"), rng.integers(0, 3, samples)


def make(precision):
    xnn.manual_seed(3)
    net = nn.Sequential(
        nn.Linear(16, 12), nn.BatchNorm1d(12), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(12), nn.Linear(12, 3)
    )
    net.to(DEVICE)
    optimizer = optim.AdamW(net.parameters(), lr=0.01)
    return Trainer(
        net,
        optimizer,
        device=DEVICE,
        clip_norm=1.0,
        precision=precision,
        scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40),
        schedule_every="step",
        ema=optim.ExponentialMovingAverage(net, decay=0.9),
    )


def test_the_count_sees_copies():
    x = DEVICE.asarray(np.ones(3, "float32"))
    with counting() as copies:
        float(x[0])
        x.get()
    assert copies.count == 2
    with counting() as copies:
        x + x
    assert copies.count == 0


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "originals"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_no_step_copies_to_the_host(precision, kernels):
    batch = tuple(DEVICE.asarray(a) for a in problem())
    trainer = make(precision)
    with contextlib.nullcontext() if kernels else xnn.backends.without_kernels():
        trainer.train_step(batch)  # compiles, and libraries make themselves ready
        with counting() as copies:
            for _ in range(3):
                trainer.train_step(batch)
    assert copies.count == 0
    with counting() as copies:
        trainer.running()
    assert copies.count == 2  # loss and accuracy, when somebody asks


def test_a_loop_over_data_of_the_host_copies_nothing_back():
    trainer = make("float32")
    loader = DataLoader(problem(64), 16, device=DEVICE)
    for batch in loader:
        trainer.train_step(batch)
    with counting() as copies:
        for batch in loader:
            trainer.train_step(batch)
    assert copies.count == 0
