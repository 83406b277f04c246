"""Measuring a device: time, a copy at full speed, and what must be known of the hardware to measure fairly."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xnn.backends.cupy.device import CudaDevice
from xnn.backends.device import Device
from xnn.backends.namespaces import Array
from xnn.backends.numpy import HostDevice

__all__ = ["HostMeter", "Meter", "meter_of"]

_CACHES = "/sys/devices/system/cpu/cpu0/cache"
_UNKNOWN_CACHE = 32 << 20


class Meter(ABC):
    """A device as measurements see it.

    Attributes:
        device: what is measured.
        backend: whose kernels run there: ``"cupy"``.
    """

    backend: str

    def __init__(self, device: Device) -> None:
        self.device = device

    @abstractmethod
    def seconds(self, run: Callable[[], object]) -> float:
        """How long the device needs for all that ``run`` asks of it."""

    @abstractmethod
    def cache_bytes(self) -> int:
        """Size of the largest cache: inputs that fit into it would flatter."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Memory that a measurement can have."""

    def copy(self, target: Array, source: Array) -> None:
        """Copy a large array as fast as the device can."""
        target[...] = source

    def release(self) -> None:
        """Give memory back that was kept for later, for other libraries that measure on this device."""
        return

    def details(self) -> dict[str, str]:
        """What else a reader of the numbers needs to know: driver, threads."""
        return {}


class HostMeter(Meter):
    """A steady clock, with the device synchronized before it is read."""

    backend = "numpy"

    def seconds(self, run: Callable[[], object]) -> float:
        """How long ``run`` takes until the device is idle again."""
        synchronize = self.device.synchronize
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        return time.perf_counter() - start

    def cache_bytes(self) -> int:
        """Of the processor, as Linux tells it; elsewhere a guess."""
        sizes = [_read(path) for path in Path(_CACHES).glob("index*/size")]
        kilobytes = [int(size[:-1]) for size in sizes if size[-1:] == "K" and size[:-1].isdigit()]
        return max(kilobytes) << 10 if kilobytes else _UNKNOWN_CACHE

    def free_bytes(self) -> int:
        """Main memory that is free or can be made so."""
        for line in _read("/proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
        memory = self.device.memory()
        return memory.total // 2 if memory else 1 << 30

    def copy(self, target: Array, source: Array) -> None:
        """By one thread for each core: a single one does not fill the memory's bus."""
        if not isinstance(self.device, HostDevice):
            return super().copy(target, source)
        parts = cores()
        size = -(-target.shape[0] // parts)

        def copy_part(i: int) -> None:
            target[i * size : (i + 1) * size, ...] = source[i * size : (i + 1) * size, ...]

        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(copy_part, range(parts)))

    def details(self) -> dict[str, str]:
        """The cores, and what the environment says about the threads of the matrix product."""
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return {"cores": str(cores()), **{n: os.environ[n] for n in names if n in os.environ}}


class EmulatorMeter(HostMeter):
    """Kernels are emulated: everything is run as on a GPU, so that nothing fails there for the
    first time; the times say how long that takes and nothing about a GPU."""

    backend = "cupy"

    def details(self) -> dict[str, str]:
        """A warning."""
        return {"emulated": "these times say nothing about a GPU", **super().details()}


def meter_of(device: Device) -> Meter:
    """What measures ``device``: events where the device is a CUDA GPU, else a steady clock."""
    if isinstance(device, HostDevice):
        return HostMeter(device)
    if isinstance(device, CudaDevice):
        from xnn.backends.cupy.timing import EventMeter

        return EventMeter(device)
    from xnn.backends.emulator.device import EmulatedDevice

    return EmulatorMeter(device) if isinstance(device, EmulatedDevice) else HostMeter(device)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
