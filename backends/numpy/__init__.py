"""The host: NumPy arrays in the memory of the CPU."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any

from xnn.backends.device import Device, Memory
from xnn.backends.namespaces import Array, Namespace, array_namespace, unwrap

__all__ = ["HOST", "HostDevice", "prepare", "to_host"]


class HostDevice(Device):
    """The CPU."""

    name = "cpu"
    handle = "cpu"

    @functools.cached_property
    def xp(self) -> Namespace:
        """NumPy, completed by array-api-compat."""
        import array_api_compat.numpy

        return array_api_compat.numpy

    def describe(self) -> str:
        """The processor and how many of its cores this process may use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"{_processor()}, {cores} cores, NumPy {self.xp.__version__}"

    def overflow_is_expected(self) -> Any:
        """NumPy's warnings about it are off."""
        return self.xp.errstate(over="ignore", invalid="ignore")

    def memory(self) -> Memory | None:
        """Bytes of main memory in use by this process and in all; None where the system does not say."""
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            with open("/proc/self/statm") as statm:
                used = int(statm.read().split()[1]) * page
            return Memory(used, os.sysconf("SC_PHYS_PAGES") * page)
        except (AttributeError, OSError, ValueError):
            return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


HOST = HostDevice()


def prepare() -> None:
    """Called once, when the first NumPy array is met."""
    from xnn.backends.numpy.memory import keep_freed_memory

    keep_freed_memory()


def to_host(array: Array) -> Any:
    """A NumPy array of the values: the same memory where the array is on the CPU already, else a copy."""
    np = HOST.xp
    array = unwrap(array)
    xp = array_namespace(array)
    if xp is np:
        return np.asarray(array)
    if hasattr(array, "get"):  # CuPy
        return array.get()
    if hasattr(array, "detach"):  # torch
        return np.asarray(array.detach().cpu())
    try:
        return np.asarray(array, copy=True)
    except (TypeError, RuntimeError):  # not on a device that NumPy can read; the default one usually is
        default = xp.__array_namespace_info__().default_device()
        return np.asarray(array.to_device(default), copy=True)
