"""Measuring a CUDA device by its own events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from xnn.backends.cupy.device import CudaDevice, _version
from xnn.backends.timing import Meter


class EventMeter(Meter):
    """Events that the GPU itself stamps, on the current stream.

    Between them lies all that was launched on the stream, and the time that the GPU waited for the next launch: many
    small launches take as long as the host needs for them, as they do in use. PyTorch, which launches on the same
    default stream unless told otherwise, is measured by the same events.
    """

    backend = "cupy"
    device: CudaDevice

    def __init__(self, device: CudaDevice) -> None:
        import cupy

        super().__init__(device)
        self._cuda = cupy.cuda
        with device.handle:
            self._start, self._stop = cupy.cuda.Event(), cupy.cuda.Event()

    def seconds(self, run: Callable[[], object]) -> float:
        """The time between an event before and one after what ``run`` launches."""
        with self.device.handle:
            self.device.synchronize()  # nothing older is in the way
            self._start.record()
            run()
            self._stop.record()
            self._stop.synchronize()
            return self._cuda.get_elapsed_time(self._start, self._stop) / 1e3

    def cache_bytes(self) -> int:
        """The L2 cache."""
        return int(self.device.handle.attributes["L2CacheSize"])

    def free_bytes(self) -> int:
        """What is free on the GPU, and what CuPy keeps for later."""
        import cupy

        with self.device.handle:
            return int(self.device.handle.mem_info[0]) + cupy.get_default_memory_pool().free_bytes()

    def release(self) -> None:
        """Free what CuPy's memory pool keeps."""
        import cupy

        with self.device.handle:
            cupy.get_default_memory_pool().free_all_blocks()

    def details(self) -> dict[str, str]:
        """The driver and the versions of CUDA that it and CuPy are for."""
        runtime = self._cuda.runtime
        details = {
            "driver for CUDA": _version(runtime.driverGetVersion()),
            "CUDA runtime": _version(runtime.runtimeGetVersion()),
        }
        with contextlib.suppress(OSError):
            details["driver"] = Path("/sys/module/nvidia/version").read_text().strip()
        return details
