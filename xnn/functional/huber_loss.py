"""Losses that are quadratic near 0 and linear far from it: Huber and smooth L1."""

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
from xnn.functional.l1_loss import absolute_error


@op
def huber_loss(
    x: Array, target: Array, *, reduction: str = "mean", delta: float = 1.0
) -> tuple[Array, Backward]:
    """With r = x - t and δ = ``delta``: r² / 2 where |r| ≤ δ, else δ (|r| - δ / 2), then reduced.

    Both at once: with m = min(|r|, δ), loss = m (|r| - m / 2), and

        dx = max(-δ, min(r, δ)) dy,    dt = -dx.

    Args:
        x: any shape, a floating-point dtype.
        target: t, the shape and dtype of ``x``.
        reduction: "none", "sum", or "mean" over all elements.
        delta: δ > 0, where the quadratic part ends.

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``x`` for "none".

    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35 (1964).

    Raises:
        ValueError: the shapes differ (nothing broadcasts), the batch is empty (for "mean"), or ``delta`` ≤ 0.
        TypeError: the dtypes differ or are not floating-point.

    >>> xnn.functional.huber_loss(np.asarray([0.5, 3.0]), np.zeros(2), reduction="none")
    array([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: expected delta > 0, got {delta!r}")
    return _two_part("huber_loss", x, target, reduction, delta, 1.0)


@op
def smooth_l1_loss(
    x: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0
) -> tuple[Array, Backward]:
    """`huber_loss` with δ = β, divided by β: r² / (2β) where |r| ≤ β, r = x - t, else |r| - β / 2, then reduced.

    The slope far away stays 1 for every β; β = 0 is `l1_loss`.

    Args:
        x: any shape, a floating-point dtype.
        target: t, the shape and dtype of ``x``.
        reduction: "none", "sum", or "mean" over all elements.
        beta: β ≥ 0, where the quadratic part ends.

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``x`` for "none".

    Backward: dx = max(-1, min(r / β, 1)) dy, dt = -dx.

    Girshick, "Fast R-CNN", ICCV 2015, equation 3.

    Raises:
        ValueError: the shapes differ (nothing broadcasts), the batch is empty (for "mean"), or ``beta`` < 0.
        TypeError: the dtypes differ or are not floating-point.
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: expected beta >= 0, got {beta!r}")
    if beta == 0:
        return absolute_error("smooth_l1_loss", x, target, reduction)
    return _two_part("smooth_l1_loss", x, target, reduction, beta, 1.0 / beta)


def _two_part(
    name: str, x: Array, target: Array, reduction: str, delta: float, factor: float
) -> tuple[Array, Backward]:
    check_reduction(name, reduction)
    check_same_shape(name, "x", x, "target", target)
    check_same_dtype(name, "x", x, "target", target)
    check_not_empty(name, x.shape, reduction)
    xp = array_namespace(x, target)
    r = x - target
    size = xp.abs(r)
    m = xp.clip(size, max=delta)
    loss = size - 0.5 * m
    loss *= m
    if factor != 1.0:
        loss *= factor
    loss, per_element = reduced(xp, loss, reduction)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dx = xp.clip(r, -delta, delta) * (per_element(dy) * factor)
        return dx if needs[0] else None, -dx if needs[1] else None

    return loss, backward
