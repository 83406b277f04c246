"""Uniform random numbers, drawn on the device. Strategy and formulas: uniform.cu."""

from __future__ import annotations

from typing import Any

import numpy as np
from xnn.backends.cupy.kernels._keys import key_arguments
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, dtype_name
from xnn.backends.registry import kernels_are_off

__all__ = ["fill_uniform", "uniform_on"]

kernels = KernelFile("uniform")


def fill_uniform(out: Array, key: tuple[int, int], low: float = 0.0, high: float = 1.0) -> bool:
    """Fill ``out`` with what `xnn.backends.numpy.random.uniform` draws for the same key, shape and dtype.

    Args:
        out: a C-contiguous CUDA array of float32 or float64.
        key: seed and draw.
        low, high: the numbers are uniform in [low, high).

    Returns:
        False if the key is none that a kernel takes; ``out`` is not touched then.
    """
    words = key_arguments(key)
    if words is None:
        return False
    number = np.float64 if out.dtype == np.float64 else np.float32
    threads = kernels.constants["THREADS"]
    kernels["uniform"](
        (ceil_div(out.size * out.dtype.itemsize, 32 * threads),), (threads,), out=out, elements=out.size, **words,
        low=float(low), range=float(high - low), below=float(np.nextafter(number(high), number(low))),
    )  # fmt: skip
    return True


def uniform_on(
    device: Any, key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any
) -> Array | None:
    """What `xnn.backends.device.Device.uniform` gives, drawn on a CUDA device; None if that has to be left to the host.

    float64 is drawn as such, every other dtype as float32 and then converted, as on the host.
    """
    wanted = device.dtype(dtype)
    if kernels_are_off():
        return None
    native = device.xp.float64 if dtype_name(wanted) == "float64" else device.xp.float32
    out = device.xp.empty(shape, dtype=native, device=device.handle)
    if not fill_uniform(out, key, low, high):
        return None
    return device.xp.astype(out, wanted, copy=False)
