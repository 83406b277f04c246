"""Kernels against the operations that they replace, on the same numbers in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from xnn.backends import to_host
from xnn.backends.registry import KERNELS

# Errors of one rounding of a result, and of float32 (float64) sums inside.
ERRORS = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-6, "float64": 1e-14}


def kernel_of(operation: Any) -> Any:
    """The Python side of the kernel, without the way out to the operation: NotImplemented is seen."""
    (entry,) = [k for k in KERNELS if k.operation is operation and k.backend == "cupy"]
    return entry.function


def wide(x: Any) -> np.ndarray:
    """As float64 on the host."""
    return np.asarray(to_host(x)).view(np.ndarray).astype(np.float64)


def assert_near(actual: Any, expected: np.ndarray, dtype: np.dtype, scale: float = 4.0) -> None:
    """Same shape and dtype, and no further apart than a few roundings of the largest value."""
    assert actual.dtype == dtype
    assert tuple(actual.shape) == expected.shape
    finite = np.abs(expected[np.isfinite(expected)])
    error = ERRORS[dtype.name] * scale
    np.testing.assert_allclose(
        wide(actual), expected, rtol=error, atol=error * max(1e-30, float(finite.max(initial=0.0)))
    )
