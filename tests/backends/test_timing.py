from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from xnn.backends.cupy import CudaDevice
from xnn.backends.timing import meter_of


class FakeCuda:
    """As much of CuPy as a meter needs, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now, self.log, self.freed = 0.0, [], 0
        pool = SimpleNamespace(free_bytes=lambda: 100, free_all_blocks=self._free)
        runtime = SimpleNamespace(driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 12090)
        self.cuda = SimpleNamespace(
            Event=lambda: FakeEvent(self), Device=lambda i: FakeDevice(self, i), runtime=runtime,
            get_elapsed_time=lambda a, b: (b.at - a.at) * 1e3,
        )  # fmt: skip
        self.get_default_memory_pool = lambda: pool

    def _free(self) -> None:
        self.freed += 1


class FakeDevice:
    attributes = {"L2CacheSize": 50 << 20}  # noqa: RUF012
    mem_info = (1000, 2000)

    def __init__(self, cupy: FakeCuda, index: int) -> None:
        self.cupy, self.index = cupy, index

    def __enter__(self) -> None:
        self.cupy.log.append(f"device {self.index}")

    def __exit__(self, *_: object) -> None:
        self.cupy.log.append("end")

    def synchronize(self) -> None:
        self.cupy.log.append("synchronize")


class FakeEvent:
    def __init__(self, cupy: FakeCuda) -> None:
        self.cupy, self.at = cupy, 0.0

    def record(self) -> None:
        self.at = self.cupy.now
        self.cupy.log.append("record")

    def synchronize(self) -> None:
        self.cupy.log.append("wait")


@pytest.fixture
def cupy(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_events_enclose_what_runs_on_the_device(cupy):
    meter = meter_of(CudaDevice(1))
    cupy.log.clear()

    def run() -> None:
        cupy.log.append("run")
        cupy.now += 0.25

    assert meter.seconds(run) == pytest.approx(0.25)
    assert cupy.log == ["device 1", "synchronize", "record", "run", "record", "wait", "end"]


def test_what_a_gpu_says_of_itself(cupy):
    meter = meter_of(CudaDevice(0))
    assert meter.backend == "cupy"
    assert meter.cache_bytes() == 50 << 20
    assert meter.free_bytes() == 1100
    details = meter.details()
    assert details["driver for CUDA"] == "13.0"
    assert details["CUDA runtime"] == "12.9"
    meter.release()
    assert cupy.freed == 1
