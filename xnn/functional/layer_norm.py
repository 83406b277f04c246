"""Layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace
from xnn.functional._checks import check_floating, check_same_dtype
from xnn.functional._constants import ones_for


@op
def layer_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """Normalise each sample over its last dimensions, then scale and shift every element of it.

        μ = 1/d Σ x,    σ² = 1/d Σ (x - μ)²,    x_hat = (x - μ) / √(σ² + ε),    y = γ x_hat + β

    with sums over the d elements of the last dimensions, ``normalized_shape``.

    Args:
        x: shape (..., *normalized_shape), a floating-point dtype.
        normalized_shape: the lengths of the last dimensions; an integer means one.
        weight: γ, shape ``normalized_shape``, the dtype of ``x``, or None for 1.
        bias: β, shape ``normalized_shape``, the dtype of ``x``, or None for 0.
        eps: ε, added to the variance.

    Returns:
        y, of the shape of ``x``.

    Backward. With g = γ dy, and sums over the d elements of a sample (for dγ, dβ over the samples),

        dx = 1 / √(σ² + ε) (g - 1/d Σ g - x_hat 1/d Σ g x_hat),    dγ = Σ dy x_hat,    dβ = Σ dy.

    Ba, Kiros, Hinton, "Layer normalization", arXiv 1607.06450, equation 4.

    Raises:
        ValueError: the shapes do not fit, or d = 0.
        TypeError: the dtypes differ or are not floating-point.

    >>> xnn.functional.layer_norm(np.asarray([[1.0, 3.0], [10.0, 30.0]]), 2).round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    name = "layer_norm"
    check_floating(name, x)
    xp = array_namespace(x)
    over = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = tuple(x.shape)
    d = math.prod(over)
    if not over or shape[-len(over) :] != over or d == 0:
        raise ValueError(f"{name}: expected x of shape (..., {', '.join(map(str, over))}), got {shape}")
    for what, a in (("weight", weight), ("bias", bias)):
        if a is None:
            continue
        if tuple(a.shape) != over:
            raise ValueError(f"{name}: expected {what} of shape {over}, got {tuple(a.shape)}")
        if a.dtype != x.dtype:
            check_same_dtype(name, "x", x, what, a)

    # One row for each sample. Sums are products with ones or dot products: on NumPy several times as fast as
    # xp.sum.
    samples = math.prod(shape[: -len(over)])
    rows = (samples, d)
    flat = len(shape) == 2 and len(over) == 1
    x_rows = x if flat else xp.reshape(x, rows)
    gamma = weight if weight is None or len(over) == 1 else xp.reshape(weight, (d,))
    average = xp.full((d,), 1.0 / d, dtype=x.dtype, device=x.device)
    x_hat = x_rows - (x_rows @ average)[:, None]
    inv_std = (x_hat * x_hat) @ average
    inv_std += eps
    inv_std = (1.0 / xp.sqrt(inv_std))[:, None]
    x_hat *= inv_std
    y = x_hat * (1.0 if gamma is None else gamma)
    if bias is not None:
        y += bias if len(over) == 1 else xp.reshape(bias, (d,))

    def backward(dy: Array, needs: Any = (True, False, True, True)) -> Any:
        dx = dweight = dbias = None
        dy = dy if flat else xp.reshape(dy, rows)
        dy_x_hat = dy * x_hat
        if needs[0]:
            # 1/d Σ γ dy and 1/d Σ γ dy x_hat, with γ / d as one vector.
            gamma_average = average if gamma is None else average * gamma
            dx = x_hat * (dy_x_hat @ gamma_average)[:, None]
            dx += (dy @ gamma_average)[:, None]
            dx = (dy if gamma is None else dy * gamma) - dx
            dx *= inv_std
            dx = dx if flat else xp.reshape(dx, shape)
        ones = ones_for(xp, dy, samples)
        if weight is not None and needs[2]:
            dweight = xp.reshape(ones @ dy_x_hat, over)
        if bias is not None and needs[3]:
            dbias = xp.reshape(ones @ dy, over)
        return dx, None, dweight, dbias

    return (y if flat else xp.reshape(y, shape)), backward
