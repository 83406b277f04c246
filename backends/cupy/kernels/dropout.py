"""Dropout by a key. Strategy and formulas: dropout.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from xnn.backends.cupy.kernels._keys import key_arguments
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional.dropout import keyed_dropout
from xnn.random import Key

kernels = KernelFile("dropout")


def _case(*shape: int) -> Case:
    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (sample(device, dtype, shape),), {"p": 0.1, "key": Key(0, 0)}

    n = math.prod(shape)
    # Of the formula: compare, multiply. (Drawing the bits costs far more; how many is the generator's affair.)
    work = lambda itemsize: Work(2 * n * itemsize, 2 * n)  # noqa: E731
    return Case(" x ".join(map(str, shape)), make, work, work)


@kernel(keyed_dropout, cases=[_case(64, 1_024), _case(8_192, 1_024), _case(16_384, 16_384)])
def fused_keyed_dropout(x: Array, *, p: float, key: tuple[int, int]) -> tuple[Array, Backward]:
    """The mask of the CPU, drawn where it is used. p = 1 is left to the operation."""
    words = key_arguments(key)
    if not 0.0 <= p < 1.0 or words is None:
        return NotImplemented
    xp = array_namespace(x)
    threads, drawn = kernels.constants["THREADS"], kernels.constants["DRAWN"]
    # u >= p is decided between float32 numbers on the CPU. u is a multiple of 2^-24: so is the smallest one kept.
    threshold = math.ceil(float(np.float32(p)) * 2**24)

    def run(x: Array) -> Array:
        x = xp.ascontiguousarray(x)
        y = xp.empty_like(x)
        kernels["dropout"](
            (ceil_div(x.size, threads * drawn),), (threads,), x=x, y=y, elements=x.size, **words,
            threshold=threshold, scale=1.0 / (1.0 - p),
        )  # fmt: skip
        return y

    return run(x), run
