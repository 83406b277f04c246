"""The negative log-likelihood of class indices."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace, dtype_name, has_dtype, reads_are_free
from xnn.functional._checks import (
    check_class_indices,
    check_floating,
    check_not_empty,
    check_reduction,
    check_same_dtype,
    check_some_weight,
)


@op
def nll_loss(
    log_probs: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, Backward]:
    """loss_n = -w_{t_n} log_probs[n, t_n], for class indices t.

    Args:
        log_probs: ln p, shape (N, C), (C,) or (N, C, d1, ..., dk), a floating-point dtype; as `log_softmax`
            gives it.
        target: t, integers in [0, C) of the shape of ``log_probs`` without C.
        weight: w, one factor per class, shape (C,).
        ignore_index: samples with this class index have no loss and no gradient.
        reduction: "none" (a loss per sample), "sum", or "mean": divided by Σ_n w_{t_n}.

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``target`` for "none".

    Backward: dlog_probs[n, c] = -w_c dy_n where c = t_n, 0 elsewhere.

    Raises:
        ValueError: the shapes do not fit; the batch is empty or all of it is ignored (for "mean"; NaN instead
            where looking would make the host wait).
        IndexError: a class index is neither in [0, C) nor ``ignore_index``. Where looking would make the host
            wait for the device (CUDA), the loss of such a sample is NaN instead.
        TypeError: the dtypes are not as said.

    As ``torch.nn.functional.nll_loss``, but the mean over nothing is an error instead of NaN.
    """
    xp = array_namespace(log_probs, target)
    name = "nll_loss"
    check_floating(name, log_probs)
    check_reduction(name, reduction)
    shape = tuple(log_probs.shape)
    class_axis = 1 if len(shape) > 1 else 0
    if not shape:
        raise ValueError(f"{name}: expected log_probs of shape (N, C), (C,) or (N, C, d1, ...), got ()")
    classes = shape[class_axis]
    samples_shape = shape[:class_axis] + shape[class_axis + 1 :]
    if not has_dtype(target, "integral"):
        raise TypeError(f"{name}: expected integer class indices, got {dtype_name(target.dtype)}")
    if tuple(target.shape) != samples_shape:
        raise ValueError(
            f"{name}: for log_probs of shape {shape} expected a target of shape {samples_shape}, "
            f"got {tuple(target.shape)}"
        )
    if weight is not None:
        check_same_dtype(name, "log_probs", log_probs, "weight", weight)
        if tuple(weight.shape) != (classes,):
            raise ValueError(f"{name}: expected weight of shape {(classes,)}, got {tuple(weight.shape)}")
    check_not_empty(name, samples_shape, reduction)

    t = target if dtype_name(target.dtype) == "int64" else xp.astype(target, xp.int64)
    known = None
    if not check_class_indices(name, xp, t, classes, ignore_index):
        known = t != ignore_index
        t = xp.where(known, t, xp.zeros_like(t))
    t = xp.expand_dims(t, axis=class_axis)
    along_classes = (classes,) + (1,) * (len(shape) - 1 - class_axis)
    hit = xp.reshape(xp.arange(classes, dtype=t.dtype, device=t.device), along_classes) == t
    hit = xp.astype(hit, log_probs.dtype)
    if weight is not None:
        hit = hit * xp.reshape(weight, along_classes)
    if known is not None:
        hit = hit * xp.astype(xp.expand_dims(known, axis=class_axis), log_probs.dtype)

    # ln p may be -inf for the other classes, so the picked ones are taken, not summed up with factors of 0.
    loss = -xp.squeeze(
        xp.take_along_axis(log_probs, _inside(xp, t, classes), axis=class_axis), axis=class_axis
    )
    sample_weight = None
    if weight is not None or known is not None:
        sample_weight = xp.sum(hit, axis=class_axis)
        loss = xp.where(sample_weight != 0, loss, xp.zeros_like(loss)) * sample_weight
    if known is not None and not reads_are_free(t):
        outside = xp.squeeze((t < 0) | (t >= classes), axis=class_axis)
        loss = xp.where(outside, xp.full_like(loss, float("nan")), loss)
    count: Any = 1
    for n in samples_shape:
        count *= n
    if sample_weight is not None and reduction == "mean":
        count = xp.sum(sample_weight)
        check_some_weight(name, count)

    def backward(dy: Array) -> Array:
        if reduction == "mean":
            dy = dy / count
        elif reduction == "none":
            dy = xp.expand_dims(dy, axis=class_axis)
        return hit * -dy

    if reduction == "none":
        return loss, backward
    loss = xp.sum(loss)
    return (loss / count if reduction == "mean" else loss), backward


def _inside(xp: Any, t: Array, classes: int) -> Array:
    """Indices that may be used to look up, also where they have not been checked."""
    return t if reads_are_free(t) else xp.clip(t, 0, classes - 1)
