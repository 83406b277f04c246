"""Random numbers on the host: every draw is named by a key (seed, draw) and starts a Philox stream of its own.

The stream's key is the seed, the top word of its 256-bit counter the number of the draw: streams of different draws
cannot overlap, and any device can compute the same numbers from the key alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from xnn.backends.namespaces import dtype_name

_WORD = (1 << 64) - 1


def stream(key: tuple[int, int]) -> np.random.Generator:
    """The generator of draw ``key[1]`` of seed ``key[0]``."""
    seed, draw = key
    return np.random.Generator(
        np.random.Philox(key=np.asarray([seed & _WORD, seed >> 64], dtype=np.uint64), counter=draw << 192)
    )


def _native(dtype: Any) -> Any:
    """float64 (a dtype of any namespace, or the name) is drawn with 53 random bits, all others as float32 with 24."""
    return np.float64 if dtype_name(dtype) == "float64" else np.float32


def uniform(key: tuple[int, int], shape: tuple[int, ...], low: float, high: float, dtype: Any) -> Any:
    """Uniform in [low, high)."""
    native = _native(dtype)
    u = stream(key).random(shape, dtype=native)
    if (low, high) != (0.0, 1.0):
        u *= high - low
        u += low
        np.minimum(u, np.nextafter(native(high), native(low)), out=u)  # where the sum was rounded up to high
    return u


def normal(key: tuple[int, int], shape: tuple[int, ...], mean: float, std: float, dtype: Any) -> Any:
    """Normal with mean and standard deviation."""
    z = stream(key).standard_normal(shape, dtype=_native(dtype))
    if std != 1.0:
        z *= std
    if mean != 0.0:
        z += mean
    return z


def integers(key: tuple[int, int], shape: tuple[int, ...], low: int, high: int) -> Any:
    """Uniform integers in [low, high), int64."""
    return stream(key).integers(low, high, shape)


def permutation(key: tuple[int, int], n: int) -> Any:
    """0 ... n-1 in random order, int64."""
    return stream(key).permutation(n)


def truncated_normal(key: tuple[int, int], shape: tuple[int, ...], a: float, b: float) -> Any:
    """Standard normal given that the value lies in [a, b]; float64. By rejection.

    Proposals are normal where that accepts often, else uniform over the part of [a, b] that has weight in float64
    (Robert, "Simulation of truncated normal variables", 1995, section 2).
    """
    source = stream(key)
    out = np.empty(math.prod(shape))
    peak = min(max(0.0, a), b)  # where the density is largest
    reach = math.sqrt(peak * peak + 80.0)  # e^-40 of the density at the peak
    low, high = max(a, -reach), min(b, reach)
    normal = 0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) > 0.25
    filled = 0
    while filled < out.size:
        n = 2 * (out.size - filled) + 16
        if normal:
            z = source.standard_normal(n)
            z = z[(z >= a) & (z <= b)]
        else:
            z = source.uniform(low, high, n)
            z = z[source.random(n) <= np.exp(0.5 * (peak * peak - z * z))]
        z = z[: out.size - filled]
        out[filled : filled + z.size] = z
        filled += z.size
    return out.reshape(shape)
