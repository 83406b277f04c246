"""Kullback-Leibler divergence."""

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
def kl_div(
    log_probs: Array, target: Array, *, reduction: str = "mean", log_target: bool = False
) -> tuple[Array, Backward]:
    """loss = t (ln t - ln q), elementwise, 0 where t = 0, then reduced. The sum is the divergence KL(t ‖ q).

    Args:
        log_probs: ln q, any shape, a floating-point dtype.
        target: t ≥ 0, or ln t with ``log_target``; the shape and dtype of ``log_probs``.
        reduction: "none", "sum", "mean" over all elements, or "batchmean": the sum divided by the size of the
            first dimension, which is the mean of the divergences of distributions along the last.
        log_target: whether ``target`` is ln t.

    Returns:
        the loss: shape () unless ``reduction`` is "none", then the shape of ``log_probs``.

    Backward:

        dlog_probs = -t dy
        dt = (ln t + 1 - ln q) dy;    at t = 0, where the slope is -∞, it is 0
        dln t = t (ln t + 1 - ln q) dy    (``log_target``)

    Raises:
        ValueError: the shapes differ (nothing broadcasts), or the batch is empty (for a mean).
        TypeError: the dtypes differ or are not floating-point.

    As ``torch.nn.functional.kl_div``; there, "mean" warns that "batchmean" is the divergence, and the
    gradient of the target is NaN at t = 0.
    """
    name = "kl_div"
    check_reduction(name, reduction, ("mean", "batchmean", "sum", "none"))
    check_same_shape(name, "log_probs", log_probs, "target", target)
    check_same_dtype(name, "log_probs", log_probs, "target", target)
    if reduction == "batchmean" and not log_probs.shape:
        raise ValueError(f"{name}: expected at least one dimension for reduction 'batchmean', got shape ()")
    check_not_empty(name, log_probs.shape, reduction)
    xp = array_namespace(log_probs, target)
    some = None
    if log_target:
        t = xp.exp(target)
        gap = target - log_probs
    else:
        t = target
        some = t > 0
        gap = xp.log(xp.where(some, t, xp.ones_like(t))) - log_probs
        # q may be 0 where t is.
        gap = xp.where(some, gap, xp.zeros_like(gap))
    loss, per_element = reduced(xp, t * gap, reduction)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        scale = per_element(dy)
        dlog_probs = dtarget = None
        if needs[0]:
            dlog_probs = t * -scale
        if needs[1]:
            slope = gap + 1.0
            slope = slope * (t if some is None else xp.astype(some, t.dtype))
            dtarget = slope * scale
        return dlog_probs, dtarget

    return loss, backward
