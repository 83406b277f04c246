"""Every answer of the search for CUDA, with a stand-in for CuPy: what is missing is named, with what to do about it."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

import pytest
from xnn.backends.cupy import probe
from xnn.backends.cupy.device import CudaDevice

import xnn


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


INSUFFICIENT = CUDARuntimeError(
    35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
)
NO_DEVICE = CUDARuntimeError(100, "cudaErrorNoDevice: no CUDA-capable device is detected")


class FakeArray:
    def __add__(self, other: Any) -> FakeArray:
        return self

    def __matmul__(self, other: Any) -> FakeArray:
        return self

    def __getitem__(self, key: Any) -> float:
        return 4.0


def fake_cupy(
    *, count: int | Exception = 1, driver: int = 12090, runtime: int = 12090, broken: Exception | None = None
) -> types.ModuleType:
    """A module that behaves as CuPy does; ``broken`` is what the first real work on the device raises."""
    cupy: Any = types.ModuleType("cupy")
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    cupy.__version__ = "14.2.0"
    cupy.float32 = "float32"

    class Device:
        mem_info = (3 << 30, 8 << 30)

        def __init__(self, index: int) -> None:
            self.id = index

        def __enter__(self) -> Device:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def use(self) -> None:
            cupy.current = self.id

        def synchronize(self) -> None:
            cupy.synchronized = self.id

    def get_device_count() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    def ones(shape: Any, dtype: Any) -> FakeArray:
        if broken is not None:
            raise broken
        return FakeArray()

    cupy.ones = ones
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        used_bytes=lambda: 2 << 30, total_bytes=lambda: 4 << 30
    )
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=get_device_count,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceProperties=lambda i: {
                "name": b"NVIDIA Test GPU",
                "major": 9,
                "minor": 0,
                "totalGlobalMem": 8 << 30,
            },
        ),
    )
    return cupy


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Answers are kept for the process: forget them before and after."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("XNN_DEVICE", raising=False)
    probe.count_devices.cache_clear()
    probe.try_out.cache_clear()
    yield
    probe.count_devices.cache_clear()
    probe.try_out.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**options: Any) -> types.ModuleType:
        cupy = fake_cupy(**options)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        return cupy

    return install


def why() -> str:
    """The message of xnn.device("cuda"), after a look at the report, which must say the same."""
    with pytest.raises(xnn.DeviceError) as error:
        xnn.device("cuda")
    message = str(error.value)
    report = xnn.devices()[1]
    assert report.device is None
    assert report.description in message
    assert report.remedy in message
    return message


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (0, ("no NVIDIA driver found and CuPy is not installed", 'then pip install "xnn[cuda12]"')),
        (
            12040,
            ("CuPy is not installed (an NVIDIA driver for CUDA 12.4 is here)", 'pip install "xnn[cuda12]"'),
        ),
        (13010, ("an NVIDIA driver for CUDA 13.1 is here", 'pip install "xnn[cuda13]"')),
    ],
)
def test_not_installed(monkeypatch, driver, expected):
    monkeypatch.setattr(probe.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(probe, "_driver_version", lambda: driver)
    message = why()
    for part in expected:
        assert part in message


def test_does_not_import(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            return importlib.machinery.ModuleSpec(name, self) if name == "cupy" else None

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            raise ImportError("libfoo.so: cannot open\nand a page more")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setattr(probe, "_driver_version", lambda: 12090)
    message = why()
    assert "CuPy does not import: libfoo.so: cannot open (reinstall it: " in message
    assert "a page more" not in message


def test_no_driver(install):
    install(count=INSUFFICIENT, driver=0)
    message = why()
    assert message == (
        "no usable CUDA device: no NVIDIA driver found "
        "(install the NVIDIA driver, if this machine has an NVIDIA GPU)"
    )


@pytest.mark.parametrize(("runtime", "advice"), [(13000, "xnn[cuda12]"), (12090, "xnn[cuda12]")])
def test_driver_too_old(install, runtime, advice):
    install(count=INSUFFICIENT, driver=12020, runtime=runtime)
    message = why()
    assert (
        f"the NVIDIA driver is for CUDA 12.2, this CuPy needs {runtime // 1000}.{runtime % 1000 // 10}"
        in message
    )
    assert "update the driver, or" in message
    assert advice in message


@pytest.mark.parametrize("value", ["", "-1"])
@pytest.mark.parametrize("count", [0, NO_DEVICE])
def test_hidden_by_the_environment(install, monkeypatch, value, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    install(count=count)
    assert f"no CUDA device is visible (CUDA_VISIBLE_DEVICES={value!r}) (unset or correct it)" in why()


@pytest.mark.parametrize("count", [0, NO_DEVICE])
def test_no_device(install, count):
    install(count=count)
    assert "no CUDA device is visible (check that nvidia-smi lists one" in why()


def test_cuda_does_not_start(install):
    install(count=CUDARuntimeError(999, "cudaErrorUnknown: unknown error"))
    assert "CUDA does not start: cudaErrorUnknown: unknown error (check the driver with nvidia-smi)" in why()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            RuntimeError("CuPy failed to load libnvrtc.so.12: OSError\nmore"),
            "CuPy failed to load libnvrtc.so.12: OSError",
        ),
        (ImportError("libcublas.so.12: cannot open shared object file"), "libcublas.so.12"),
        (ValueError(), "ValueError"),
    ],
)
def test_missing_libraries(install, error, text):
    install(broken=error)
    message = why()
    assert message.startswith("CUDA device 0 is not usable: CUDA libraries are missing or broken: ")
    assert text in message
    assert 'pip install "cupy-cuda12x[ctk]"' in message


def test_libraries_of_cuda_13(install):
    install(broken=RuntimeError("x"), runtime=13000, driver=13000)
    assert 'pip install "cupy-cuda13x[ctk]"' in why()


def test_two_healthy_devices(install):
    cupy = install(count=2)
    first, second = xnn.device("cuda"), xnn.device("cuda:1")
    assert cupy.current == 1  # CuPy works on the current device, and not where its arguments are
    assert (first.name, second.name) == ("cuda:0", "cuda:1")
    assert first == xnn.device("cuda:0") == CudaDevice(0)
    assert first != second
    assert xnn.device() == xnn.device("auto") == first
    assert [report.name for report in xnn.devices()] == ["cpu", "cuda:0", "cuda:1"]
    assert (
        first.describe()
    ) == "NVIDIA Test GPU, compute capability 9.0, 8 GiB, CUDA 12.9 (driver for 12.9), CuPy 14.2.0"
    assert second.memory() == (2 << 30, 8 << 30, 4 << 30)
    second.synchronize()
    assert cupy.synchronized == 1
    assert second.handle.id == 1
    with pytest.raises(xnn.DeviceError, match="no CUDA device 2: 2 visible, numbered from 0"):
        xnn.device("cuda:2")


def test_answers_are_kept(install):
    cupy = install()
    xnn.device("cuda")
    cupy.cuda.runtime.getDeviceCount = None
    cupy.ones = None
    assert xnn.device("cuda").name == "cuda:0"


def test_driver_library(monkeypatch):
    class Library:
        def __init__(self, status: int, version: int) -> None:
            def version_of(pointer: Any) -> int:
                pointer._obj.value = version
                return status

            self.cuDriverGetVersion = version_of

    monkeypatch.setattr(probe.ctypes, "CDLL", lambda name: Library(0, 12040))
    assert probe._driver_version() == 12040
    monkeypatch.setattr(probe.ctypes, "CDLL", lambda name: Library(3, 12040))
    assert probe._driver_version() == 0

    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(probe.ctypes, "CDLL", missing)
    assert probe._driver_version() == 0
    monkeypatch.setattr(probe.ctypes, "CDLL", lambda name: types.SimpleNamespace())
    assert probe._driver_version() == 0
