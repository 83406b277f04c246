"""A CUDA device and the namespace of its arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from xnn.backends.cupy import memory, precision
from xnn.backends.cupy.prefetch import uploaded
from xnn.backends.device import Device, Memory
from xnn.backends.namespaces import Array, Namespace


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
        """Bytes that this process uses on the GPU, bytes of the GPU, and the most that was needed at once so far."""
        return memory.usage(self.handle)

    def explaining_errors(self) -> contextlib.AbstractContextManager[None]:
        """Within it, CuPy's error of too little memory becomes an `OutOfMemoryError` that says what to try."""
        return memory.explaining(self.handle, self.name)

    def allow_tf32(self) -> None:
        """Let float32 matrix products use TF32, in this whole process; on GPUs before the A100 nothing changes."""
        precision.allow_tf32(self.handle)

    def dtype(self, dtype: Any) -> Any:
        """The dtype of CuPy for a dtype of any namespace or a name; bfloat16 as well, where ml_dtypes is installed."""
        return precision.bfloat16() if precision.means_bfloat16(dtype) else super().dtype(dtype)

    def asarray(self, data: Any, dtype: Any = None, copy: bool | None = None) -> Array:
        """As `Device.asarray`; an array on another GPU is copied to this one, which CuPy's own does not do."""
        array = super().asarray(data, dtype, copy)
        if array.device.id != self.index:
            with self.handle:
                array = array.copy()
        return array

    def upload(self, batches: Generator[Any, None, None], ahead: int) -> Generator[Any, None, None]:
        """Each batch on the GPU; up to ``ahead`` of the next ones travel while it computes."""
        return uploaded(self, batches, ahead) if ahead else super().upload(batches, ahead)

    def uniform(
        self, key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any
    ) -> Array:
        """Random numbers, drawn on the GPU with the bits of the host's."""
        from xnn.backends.cupy.kernels.uniform import uniform_on

        drawn = uniform_on(self, key, shape, low, high, dtype)
        return super().uniform(key, shape, low, high, dtype) if drawn is None else drawn

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
