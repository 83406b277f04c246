"""A CUDA device and the namespace of its arrays."""

from __future__ import annotations

from typing import Any

from xnn.backends.device import Device, Memory
from xnn.backends.namespaces import Namespace


class CudaDevice(Device):
    """A CUDA GPU, by its number among the visible ones. Use `xnn.device` to get one that is known to work."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.name = f"cuda:{index}"

    @property
    def xp(self) -> Namespace:
        """CuPy, completed by array-api-compat."""
        import array_api_compat.cupy

        return array_api_compat.cupy

    @property
    def handle(self) -> Any:
        """CuPy's own device object."""
        import cupy

        return cupy.cuda.Device(self.index)

    def synchronize(self) -> None:
        """Wait until all work handed to the GPU is done."""
        self.handle.synchronize()

    def memory(self) -> Memory:
        """Bytes in use on the GPU, by whatever process, and in all."""
        free, total = self.handle.mem_info
        return Memory(total - free, total)

    def describe(self) -> str:
        """The GPU's name, compute capability, memory and the versions of driver, CUDA and CuPy."""
        import cupy

        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.index)
        driver, cuda = (_version(v) for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
        return (
            f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, "
            f"{properties['totalGlobalMem'] / 2**30:.0f} GiB, "
            f"CUDA {cuda} (driver for {driver}), CuPy {cupy.__version__}"
        )


def _version(number: int) -> str:
    """CUDA's version number, 12090, as people write it: 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"
