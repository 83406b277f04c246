"""Everything that knows a device: which are usable, which one to take, how arrays get from one to another.

``xnn.device("auto")`` chooses; `device_of` says where an array is; `to_host` brings it back.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import array_api_compat
from xnn.backends import cupy as _cuda
from xnn.backends import numpy as _cpu
from xnn.backends.device import Device, Memory, NamespaceDevice
from xnn.backends.errors import DeviceError, OutOfMemoryError
from xnn.backends.namespaces import Array, Namespace, array_namespace, dtype_name, is_array, unwrap
from xnn.backends.registry import without_kernels

if TYPE_CHECKING:
    from xnn.backends.numpy import random as host_random

__all__ = [
    "Array",
    "Device",
    "DeviceError",
    "DeviceLike",
    "DeviceReport",
    "Memory",
    "Namespace",
    "OutOfMemoryError",
    "array_namespace",
    "device",
    "device_of",
    "devices",
    "dtype_name",
    "host_random",
    "is_array",
    "to_host",
    "without_kernels",
]

DeviceLike: TypeAlias = str | Device | Namespace | None
"""What `device` takes: a name, a Device, an Array API namespace, or None for the automatic choice."""

_log = logging.getLogger("xnn")


class DeviceReport(NamedTuple):
    """One line of ``xnn devices``: a device, or why there is none and what to do about it."""

    name: str
    device: Device | None
    description: str
    remedy: str = ""


def device(spec: DeviceLike = "auto") -> Device:
    """Find a device.

    Args:
        spec: ``"cpu"``; ``"cuda"`` or ``"cuda:1"``; ``"auto"`` (or None) for the environment variable ``XNN_DEVICE``
            if it is set, else the first usable CUDA device, else the CPU, which is announced once; an Array API
            namespace (for example ``array_api_strict``) for that namespace's default device; a Device for itself.

    Raises:
        DeviceError: the device is not usable (the message says why and what to install), or ``spec`` is unknown.

    >>> xnn.device("cpu")
    device('cpu')
    """
    if isinstance(spec, Device):
        return spec
    if spec is None or spec == "auto":
        return _auto()
    if not isinstance(spec, str):
        return _of_namespace(spec)
    kind, _, index = spec.partition(":")
    if kind == "cpu" and index in ("", "0"):
        return _cpu.HOST
    if kind == "cuda" and (not index or index.isdecimal()):
        return _cuda.usable_device(int(index or 0))
    if spec == "emulated":  # for tests of CUDA kernels; docs/emulator.md
        from xnn.backends.emulator.device import emulated_device

        return emulated_device()
    raise DeviceError(f"device: expected 'auto', 'cpu', 'cuda' or 'cuda:<number>', got {spec!r}")


def _auto() -> Device:
    wanted = os.environ.get("XNN_DEVICE", "")
    if wanted and wanted != "auto":
        try:
            return device(wanted)
        except DeviceError as error:
            raise DeviceError(f"XNN_DEVICE={wanted}: {error}") from None
    try:
        return _cuda.usable_device(0)
    except DeviceError as error:
        _announce_cpu(str(error))
        return _cpu.HOST


@functools.cache  # once a process
def _announce_cpu(reason: str) -> None:
    _log.warning("xnn: using the CPU; %s", reason)


def _of_namespace(namespace: Any) -> Device:
    if not hasattr(namespace, "asarray"):
        raise DeviceError(
            f"device: expected a name such as 'cuda:0', an xnn.Device or an Array API namespace, got {namespace!r}"
        )
    return device_of(namespace.asarray(0.0))


def device_of(array: Array) -> Device:
    """The Device on which an array or Tensor lives."""
    array = unwrap(array)
    xp = array_namespace(array)
    if xp is _cpu.HOST.xp:
        return _cpu.HOST
    if array_api_compat.is_cupy_namespace(xp):
        return _cuda.CudaDevice(array.device.id)
    if hasattr(xp, "xnn_device"):  # a namespace that belongs to one of our own devices
        return xp.xnn_device
    return NamespaceDevice(xp, array_api_compat.device(array))


def to_host(array: Array) -> Any:
    """A NumPy array of the values: the same memory where the array is on the CPU already, else a copy."""
    return _cpu.to_host(array)


def devices() -> list[DeviceReport]:
    """Every device found and, for what is not usable, the reason and what to install."""
    cpu = DeviceReport("cpu", _cpu.HOST, _cpu.HOST.describe())
    return [cpu, *(DeviceReport(*row) for row in _cuda.report())]


def __getattr__(
    name: str,
) -> Any:  # not at the top: it imports numpy.random, which a mere `import xnn` can do without
    if name == "host_random":
        from xnn.backends.numpy import random

        return random
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
