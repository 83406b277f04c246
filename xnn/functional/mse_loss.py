"""Mean squared error."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace
from xnn.functional._checks import (
    check_not_empty,
    check_reduction,
    check_same_dtype,
    check_same_shape,
    reduced,
)


@op
def mse_loss(x: Array, target: Array, *, reduction: str = "mean") -> tuple[Array, Backward]:
    """loss = (x - t)², elementwise, then reduced. dx = 2 (x - t) dy, dt = -dx; with "mean", over their number.

    Args:
        x: any shape, a floating-point dtype.
        target: t, the shape and dtype of ``x``.
        reduction: "none", "sum", or "mean" over all elements.

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``x`` for "none".

    Raises:
        ValueError: the shapes differ (nothing broadcasts), or the batch is empty (for "mean").
        TypeError: the dtypes differ or are not floating-point.
    """
    name = "mse_loss"
    check_reduction(name, reduction)
    check_same_shape(name, "x", x, "target", target)
    check_same_dtype(name, "x", x, "target", target)
    check_not_empty(name, x.shape, reduction)
    xp = array_namespace(x, target)
    difference = x - target
    loss, per_element = reduced(xp, difference * difference, reduction)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dx = difference * (2.0 * per_element(dy))
        return dx if needs[0] else None, -dx if needs[1] else None

    return loss, backward
