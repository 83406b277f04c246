"""Find out whether CUDA works here and, if not, which part is missing and what to install.

The steps are ordered so that the first one that fails names the cause:

1. Is CuPy installed, and does it import?
2. Does the runtime count devices? If not: no driver (the driver's version is 0), a driver too old, or all devices
   hidden. ``cupy.cuda.is_available`` is of no use here: it hides the reason, and CuPy 13 raises in it.
3. Do an elementwise operation (needs NVRTC and the CUDA headers) and a matrix product (needs cuBLAS) run?
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import os
import sys
from typing import Any, NamedTuple

from xnn.backends.cupy.device import CudaDevice, _version
from xnn.backends.errors import DeviceError


class Problem(NamedTuple):
    """Why CUDA is not usable, and what to do about it."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


_NO_DRIVER = "install the NVIDIA driver, if this machine has an NVIDIA GPU"
_cudaErrorNoDevice = 100


def usable_device(index: int) -> CudaDevice:
    """The CUDA device ``index``, known to work. Raises DeviceError with reason and remedy otherwise.

    It becomes the current one of this thread: there CuPy puts new arrays and runs its operations, wherever their
    arguments are.
    """
    count = count_devices()
    if isinstance(count, Problem):
        raise DeviceError(f"no usable CUDA device: {count}")
    if index >= count:
        raise DeviceError(f"no CUDA device {index}: {count} visible, numbered from 0")
    problem = try_out(index)
    if problem is not None:
        raise DeviceError(f"CUDA device {index} is not usable: {problem}")
    device = CudaDevice(index)
    device.handle.use()
    return device


def report() -> list[tuple[str, CudaDevice | None, str, str]]:
    """(name, device or None, description or reason, remedy) of every CUDA device, or one row why there is none."""
    count = count_devices()
    if isinstance(count, Problem):
        return [("cuda", None, count.reason, count.remedy)]
    rows: list[tuple[str, CudaDevice | None, str, str]] = []
    for index in range(count):
        device, problem = CudaDevice(index), try_out(index)
        if problem is None:
            rows.append((device.name, device, device.describe(), ""))
        else:
            rows.append((device.name, None, *problem))
    return rows


@functools.cache
def count_devices() -> int | Problem:
    """How many CUDA devices CuPy sees (at least one), or why none."""
    if importlib.util.find_spec("cupy") is None:
        return _without_cupy(_driver_version())
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # a broken installation raises whatever it likes
        return Problem(
            f"CuPy does not import: {_first_line(error)}", "reinstall it: " + _install(_driver_version())
        )
    runtime = cupy.cuda.runtime
    try:
        count = int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        return _no_devices(runtime, error)
    return count or _no_devices(runtime, None)


def _without_cupy(driver: int) -> Problem:
    if driver:
        return Problem(
            f"CuPy is not installed (an NVIDIA driver for CUDA {_version(driver)} is here)", _install(driver)
        )
    return Problem("no NVIDIA driver found and CuPy is not installed", f"{_NO_DRIVER}, then {_install(0)}")


def _no_devices(runtime: Any, error: Exception | None) -> Problem:
    driver = runtime.driverGetVersion()
    if driver == 0:  # the error then says "insufficient driver", which misleads
        return Problem("no NVIDIA driver found", _NO_DRIVER)
    if error is None or getattr(error, "status", None) == _cudaErrorNoDevice:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None:
            return Problem(
                f"no CUDA device is visible (CUDA_VISIBLE_DEVICES={hidden!r})", "unset or correct it"
            )
        return Problem(
            "no CUDA device is visible", "check that nvidia-smi lists one, and that a container is given it"
        )
    needed = runtime.runtimeGetVersion()
    if driver < needed:
        return Problem(
            f"the NVIDIA driver is for CUDA {_version(driver)}, this CuPy needs {_version(needed)}",
            f"update the driver, or {_install(driver)}",
        )
    return Problem(f"CUDA does not start: {_first_line(error)}", "check the driver with nvidia-smi")


@functools.cache
def try_out(index: int) -> Problem | None:
    """Run one elementwise operation and one matrix product on the device."""
    cupy = importlib.import_module("cupy")
    try:
        with cupy.cuda.Device(index):
            x = cupy.ones((2, 2), dtype=cupy.float32)
            float((x @ (x + x))[0, 0])
    except Exception as error:  # missing libraries raise errors of many kinds
        major = cupy.cuda.runtime.runtimeGetVersion() // 1000
        return Problem(
            f"CUDA libraries are missing or broken: {_first_line(error)}",
            f'pip install "cupy-cuda{major}x[ctk]"',
        )
    return None


def _driver_version() -> int:
    """The highest CUDA version that the installed NVIDIA driver supports (12090 for 12.9); 0 without a driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    version = ctypes.c_int(0)
    try:
        if ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return version.value


def _install(driver: int) -> str:
    return f'pip install "xnn[cuda{13 if driver >= 13000 else 12}]"'


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
