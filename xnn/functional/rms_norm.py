"""Root-mean-square normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace, dtype_name
from xnn.functional._checks import check_floating, check_same_dtype
from xnn.functional._constants import ones_for


def default_eps(x: Array) -> float:
    """The machine epsilon of the type in which sums over ``x`` are taken: float64 for float64, else float32.

    It is also what PyTorch takes, though its documentation names the machine epsilon of the dtype, which for
    float16 and bfloat16 would be four orders of magnitude larger.
    """
    return 2.0**-52 if dtype_name(x.dtype) == "float64" else 2.0**-23


@op
def rms_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, Backward]:
    """Divide each sample by the root of the mean of its squares over its last dimensions, then scale every element.

        r = 1 / √(1/d Σ x² + ε),    x_hat = x r,    y = γ x_hat

    with the sum over the d elements of the last dimensions, ``normalized_shape``. This is `layer_norm` without
    its mean and its shift: fewer sums, and as good in most transformers.

    Args:
        x: shape (..., *normalized_shape), a floating-point dtype.
        normalized_shape: the lengths of the last dimensions; an integer means one.
        weight: γ, shape ``normalized_shape``, the dtype of ``x``, or None for 1.
        eps: ε, added to the mean of the squares; None for 2^-23, the machine epsilon of float32, and 2^-52 where
            ``x`` is of float64.

    Returns:
        y, of the shape of ``x``.

    Backward. With g = γ dy, and sums over the d elements of a sample (for dγ over the samples),

        dx = r (g - x_hat 1/d Σ g x_hat),    dγ = Σ dy x_hat.

    Since r = (1/d Σ x² + ε)^(-1/2), its derivative is dr = -r³ 1/d Σ x dx; put into dx_hat = r dx + x dr, and
    gathered by dx, this is the formula above.

    Zhang, Sennrich, "Root mean square layer normalization", NeurIPS 2019, equation 4 (there without ε).

    Raises:
        ValueError: the shapes do not fit, or d = 0.
        TypeError: the dtypes differ or are not floating-point.

    >>> xnn.functional.rms_norm(np.asarray([[3.0, 4.0], [30.0, -40.0]]), 2).round(3)
    array([[ 0.849,  1.131],
           [ 0.849, -1.131]])
    """
    name = "rms_norm"
    check_floating(name, x)
    xp = array_namespace(x)
    over = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    shape = tuple(x.shape)
    d = math.prod(over)
    if not over or shape[-len(over) :] != over or d == 0:
        raise ValueError(f"{name}: expected x of shape (..., {', '.join(map(str, over))}), got {shape}")
    if weight is not None:
        if tuple(weight.shape) != over:
            raise ValueError(f"{name}: expected weight of shape {over}, got {tuple(weight.shape)}")
        if weight.dtype != x.dtype:
            check_same_dtype(name, "x", x, "weight", weight)

    # One row for each sample; sums are products with a vector, as in layer_norm.
    samples = math.prod(shape[: -len(over)])
    rows = (samples, d)
    flat = len(shape) == 2 and len(over) == 1
    x_rows = x if flat else xp.reshape(x, rows)
    gamma = weight if weight is None or len(over) == 1 else xp.reshape(weight, (d,))
    average = xp.full((d,), 1.0 / d, dtype=x.dtype, device=x.device)
    inv_rms = (x_rows * x_rows) @ average
    inv_rms += default_eps(x) if eps is None else eps
    inv_rms = (1.0 / xp.sqrt(inv_rms))[:, None]
    y = x_rows * inv_rms
    if gamma is not None:
        y *= gamma

    def backward(dy: Array, needs: Any = (True, False, True)) -> Any:
        dx = dweight = None
        dy = dy if flat else xp.reshape(dy, rows)
        x_hat = x_rows * inv_rms
        dy_x_hat = dy * x_hat
        if needs[0]:
            gamma_average = average if gamma is None else average * gamma
            x_hat *= (dy_x_hat @ gamma_average)[:, None]
            dx = (dy if gamma is None else dy * gamma) - x_hat
            dx *= inv_rms
            dx = dx if flat else xp.reshape(dx, shape)
        if weight is not None and needs[2]:
            dweight = xp.reshape(ones_for(xp, dy, samples) @ dy_x_hat, over)
        return dx, None, dweight

    return (y if flat else xp.reshape(y, shape)), backward
