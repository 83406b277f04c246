"""Arrays to measure with."""

from __future__ import annotations

import math
from typing import Any

from xnn.backends import dtype_name
from xnn.backends.device import Device
from xnn.backends.namespaces import Array, is_array
from xnn.random import Generator

__all__ = ["copied", "has_dtype", "itemsize", "nbytes", "random_array", "random_like"]

_TILE = 1 << 20


def has_dtype(device: Device, dtype: str) -> bool:
    """Whether arrays of this dtype exist on the device."""
    try:
        return dtype_name(device.dtype(dtype)) == dtype
    except TypeError:
        return False


def itemsize(dtype: str) -> int:
    """Bytes of an element, from the dtype's name: 2 for ``"bfloat16"``."""
    bits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(bits) // 8 if bits else 1  # bool


def random_array(device: Device, shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Standard normal numbers, never zeros, on which some devices are faster.

    A tile of a million numbers is repeated on the device: drawing all of them on the host would take longer than what
    is measured.
    """
    xp = device.xp
    size = math.prod(shape)
    tile = Generator(seed).normal((min(size, _TILE),), dtype="float32", device=device)
    tile = xp.astype(tile, device.dtype(dtype))
    if size > _TILE:
        tile = xp.tile(tile, (-(-size // _TILE),))[:size]
    return xp.reshape(tile, shape)


def random_like(device: Device, x: Array, seed: int = 1) -> Array:
    """Standard normal numbers of the shape and dtype of ``x``."""
    return random_array(device, tuple(x.shape), dtype_name(x.dtype), seed)


def copied(device: Device, value: Any) -> Any:
    """The same with a copy of every array, also inside lists, tuples and dictionaries."""
    if is_array(value):
        return device.xp.asarray(value, copy=True)
    if type(value) in (list, tuple):
        return type(value)([copied(device, v) for v in value])
    if isinstance(value, dict):
        return {name: copied(device, v) for name, v in value.items()}
    return value


def nbytes(value: Any) -> int:
    """Bytes of all arrays in it."""
    if is_array(value):
        return math.prod(value.shape) * itemsize(dtype_name(value.dtype))
    if isinstance(value, (list, tuple)):
        return sum(map(nbytes, value))
    if isinstance(value, dict):
        return sum(map(nbytes, value.values()))
    return 0
