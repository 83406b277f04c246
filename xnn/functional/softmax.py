"""Softmax and its logarithm."""

from __future__ import annotations

import math

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, Namespace, array_namespace
from xnn.functional._checks import check_floating, normalize_dim
from xnn.functional._constants import ones_for


def sum_along(xp: Namespace, x: Array, dim: int) -> Array:
    """The sum along ``dim``, which stays with length 1.

    Along the last dimension it is a product with ones: on NumPy several times as fast as xp.sum, whose loop
    starts anew for every row.
    """
    if dim != len(x.shape) - 1:
        return xp.sum(x, axis=dim, keepdims=True)
    rows = x if len(x.shape) <= 2 else xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))  # see linear.py
    return xp.reshape(rows @ ones_for(xp, x, x.shape[-1]), (*x.shape[:-1], 1))


def softmax_values(xp: Namespace, x: Array, dim: int) -> Array:
    """e^{x_i} / Σ_k e^{x_k} along ``dim``, without its derivative: for operations that have it as a part."""
    e = xp.exp(x - xp.max(x, axis=dim, keepdims=True))
    e /= sum_along(xp, e, dim)
    return e


@op
def softmax(x: Array, dim: int = -1) -> tuple[Array, Backward]:
    """y_i = e^{x_i - m} / Σ_k e^{x_k - m} along ``dim``, with m = max_k x_k, so that no x is too large.

    Args:
        x: any shape, a floating-point dtype.
        dim: the dimension whose elements add up to 1.

    Backward. ∂y_i/∂x_j = y_i (δ_ij - y_j), so

        dx_j = y_j (dy_j - Σ_i dy_i y_i).

    Raises:
        IndexError: there is no dimension ``dim``.
        TypeError: ``x`` is not floating-point.

    >>> xnn.functional.softmax(np.asarray([0.0, np.log(3), -1e4]))
    array([0.25, 0.75, 0.  ])
    """
    check_floating("softmax", x)
    dim = normalize_dim("softmax", dim, len(x.shape))
    xp = array_namespace(x)
    if not x.shape:
        return xp.ones_like(x), lambda dy: xp.zeros_like(dy)
    y = softmax_values(xp, x, dim)

    def backward(dy: Array) -> Array:
        weighted = dy * y
        dx = y * sum_along(xp, weighted, dim)
        return weighted - dx

    return y, backward


@op
def log_softmax(x: Array, dim: int = -1) -> tuple[Array, Backward]:
    """y_i = x_i - m - ln Σ_k e^{x_k - m} along ``dim``, with m = max_k x_k: finite where softmax rounds to 0.

    Args:
        x: any shape, a floating-point dtype.
        dim: the dimension whose e^{y} add up to 1.

    Backward. ∂y_i/∂x_j = δ_ij - e^{y_j}, so

        dx_j = dy_j - e^{y_j} Σ_i dy_i.

    Raises:
        IndexError: there is no dimension ``dim``.
        TypeError: ``x`` is not floating-point.

    >>> xnn.functional.log_softmax(np.asarray([0.0, -1e4]))
    array([     0., -10000.])
    """
    check_floating("log_softmax", x)
    dim = normalize_dim("log_softmax", dim, len(x.shape))
    xp = array_namespace(x)
    if not x.shape:
        return xp.zeros_like(x), lambda dy: xp.zeros_like(dy)
    y = x - xp.max(x, axis=dim, keepdims=True)
    y -= xp.log(sum_along(xp, xp.exp(y), dim))

    def backward(dy: Array) -> Array:
        dx = xp.exp(y)
        dx *= sum_along(xp, dy, dim)
        return dy - dx

    return y, backward
