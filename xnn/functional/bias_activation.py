"""A bias and then an activation function, as one operation: what follows the matrix product in most layers."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace
from xnn.functional._checks import check_same_dtype
from xnn.functional._constants import ones_for
from xnn.functional.activations import gelu, silu

__all__ = ["bias_gelu", "bias_silu"]


@op
def bias_gelu(x: Array, bias: Array, *, approximate: str = "none") -> tuple[Array, Backward]:
    """y = gelu(x + b), with b along the last dimension. The formula of gelu: `xnn.functional.gelu`.

    Args:
        x: shape (..., C), a floating-point dtype.
        bias: b, shape (C,), the dtype of ``x``.
        approximate: "none" or "tanh".

    Returns:
        shape (..., C).

    Backward, with the rows of all leading dimensions in one matrix and z = x + b:

        dx_nc = gelu'(z_nc) dy_nc,      db_c = Σ_n dx_nc

    In one pass over the data where a device has a kernel: apart, the sum and the activation each read and write
    everything. PyTorch has this as an optimization of its compiler only.

    Raises:
        ValueError: the shapes do not fit, or ``approximate`` is something else.
        TypeError: the dtype of ``x`` is not floating-point, or that of ``bias`` is another.

    >>> xnn.functional.bias_gelu(np.asarray([[1.0, 2.0]]), np.asarray([-1.0, 1.0])).round(4)
    array([[0.    , 2.996]])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"bias_gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    y, through = gelu.forward(_biased("bias_gelu", x, bias), approximate=approximate)
    return y, _also_for_bias(through)


@op
def bias_silu(x: Array, bias: Array) -> tuple[Array, Backward]:
    """y = silu(x + b), with b along the last dimension. The formula of silu: `xnn.functional.silu`.

    Args:
        x: shape (..., C), a floating-point dtype.
        bias: b, shape (C,), the dtype of ``x``.

    Returns:
        shape (..., C).

    Backward: dx_nc = silu'(x_nc + b_c) dy_nc,  db_c = Σ_n dx_nc. See `bias_gelu`.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtype of ``x`` is not floating-point, or that of ``bias`` is another.
    """
    y, through = silu.forward(_biased("bias_silu", x, bias))
    return y, _also_for_bias(through)


def _biased(name: str, x: Array, bias: Array) -> Array:
    if not x.shape or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"{name}: expected x of shape (..., C) and bias of shape (C,), got {tuple(x.shape)} and {tuple(bias.shape)}"
        )
    check_same_dtype(name, "x", x, "bias", bias)
    return x + bias


def _also_for_bias(through: Backward | None) -> Backward:
    """The backward of the activation, extended to the bias. Both have the same gradient, but the bias is repeated."""

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dx = through(dy)  # type: ignore[misc]
        if not needs[1]:
            return dx, None
        rows = dx if len(dx.shape) == 2 else array_namespace(dx).reshape(dx, (-1, dx.shape[-1]))
        return dx if needs[0] else None, ones_for(array_namespace(dx), dx, rows.shape[0]) @ rows

    return backward
