"""Softmax followed by cross-entropy, in one operation."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, Namespace, array_namespace, dtype_name, has_dtype, reads_are_free
from xnn.functional._checks import (
    check_class_indices,
    check_floating,
    check_not_empty,
    check_reduction,
    check_same_dtype,
    check_some_weight,
)
from xnn.functional._constants import ones_for


@op
def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, Backward]:
    """Cross-entropy between softmax(logits) and a target distribution q over C classes.

        p_c = e^{z_c} / Σ_k e^{z_k},   ln p_c = z_c - m - ln Σ_k e^{z_k - m},   m = max_k z_k
        loss = -Σ_c q_c ln p_c

    Subtracting the maximum keeps every exponential in [0, 1], so no logit is too large.

    Args:
        logits: z, shape (N, C), (C,) or (N, C, d1, ..., dk), a floating-point dtype.
        target: class indices, integers of the shape of ``logits`` without C; or class probabilities,
            floating-point of the shape of ``logits``.
        weight: w, one factor per class, shape (C,).
        ignore_index: samples with this class index have no loss and no gradient. (Not with probabilities.)
        reduction: "none" (a loss per sample), "sum", or "mean": divided by Σ w of the samples' classes for
            indices, by the number of samples for probabilities.
        label_smoothing: ε in [0, 1]: the target becomes (1 - ε) target + ε / C.

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``logits`` without C for "none".

    Backward. With q_c = w_c ((1 - ε) target_c + ε / C) and ∂ ln p_c / ∂z_k = δ_ck - p_k,

        ∂loss/∂z_k = p_k Σ_c q_c - q_k,        which is p_k - target_k without weights,
        ∂loss/∂target_c = -w_c (1 - ε) ln p_c  (probabilities).

    Raises:
        ValueError: the shapes do not fit; the batch is empty or all of it is ignored (for "mean"; NaN instead
            where looking would make the host wait); or an option is out of its range.
        IndexError: a class index is neither in [0, C) nor ``ignore_index``. Where looking would make the host
            wait for the device (CUDA), the loss of such a sample is NaN instead.
        TypeError: the dtypes are not as said.

    As ``torch.nn.functional.cross_entropy``, but the mean over nothing is an error instead of NaN.

    >>> logits = np.asarray([[1e4, 0.0], [0.0, 0.0]])
    >>> xnn.functional.cross_entropy(logits, np.asarray([0, 1]), reduction="none").round(4)
    array([0.    , 0.6931])
    """
    xp = array_namespace(logits, target)
    name = "cross_entropy"
    check_floating(name, logits)
    check_reduction(name, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"{name}: expected label_smoothing in [0, 1], got {label_smoothing}")
    shape = logits.shape
    class_axis = 1 if len(shape) > 1 else 0
    if len(shape) == 0:
        raise ValueError(f"{name}: expected logits of shape (N, C), (C,) or (N, C, d1, ...), got ()")
    classes = shape[class_axis]
    samples_shape = shape[:class_axis] + shape[class_axis + 1 :]
    by_index = has_dtype(target, "integral")
    if tuple(target.shape) != (samples_shape if by_index else shape):
        raise ValueError(
            f"{name}: for logits of shape {tuple(shape)} expected class indices of shape "
            f"{tuple(samples_shape)} or class probabilities of shape {tuple(shape)}, "
            f"got {dtype_name(target.dtype)} of shape {tuple(target.shape)}"
        )
    if not by_index:
        check_same_dtype(name, "logits", logits, "target probabilities", target)
    if weight is not None:
        check_same_dtype(name, "logits", logits, "weight", weight)
        if tuple(weight.shape) != (classes,):
            raise ValueError(f"{name}: expected weight of shape {(classes,)}, got {tuple(weight.shape)}")
    check_not_empty(name, samples_shape, reduction)

    z = _rows(xp, logits, class_axis)
    z = z - xp.max(z, axis=1, keepdims=True)
    e = xp.exp(z)
    # A product with ones: on NumPy several times as fast as xp.sum(e, axis=1).
    total = (e @ ones_for(xp, e, classes))[:, None]
    log_total = xp.log(total)

    # One class has all of q: its term is picked, since for the others -inf logits would give 0 * inf.
    picked = by_index and label_smoothing == 0.0
    sample_weight: Any = None
    known: Any = None
    if by_index:
        t = target if dtype_name(target.dtype) == "int64" else xp.astype(target, xp.int64)
        t = xp.reshape(t, (-1, 1))
        all_valid = check_class_indices(name, xp, t, classes, ignore_index)
        known = None if all_valid else t != ignore_index
        if known is not None:
            t = xp.where(known, t, xp.zeros_like(t))
        if weight is not None:
            sample_weight = xp.take(weight, t[:, 0], axis=0)
    if picked:
        loss = (log_total - xp.take_along_axis(z, t, axis=1))[:, 0]
        if sample_weight is not None:
            loss = loss * sample_weight
    else:
        q = _one_hot(xp, t, classes, e.dtype) if by_index else _rows(xp, target, class_axis)
        q = _smoothed(q, weight, label_smoothing)
        loss = xp.sum(q * (log_total - z), axis=1)

    if known is not None:
        known = xp.astype(known, e.dtype)
        loss = xp.where(known[:, 0] > 0, loss, xp.zeros_like(loss))
        if not reads_are_free(t):
            outside = (t[:, 0] < 0) | (t[:, 0] >= classes)
            loss = xp.where(outside, xp.full_like(loss, float("nan")), loss)
        sample_weight = known[:, 0] if sample_weight is None else sample_weight * known[:, 0]
    count: Any = loss.shape[0]
    if by_index and sample_weight is not None:
        count = xp.sum(sample_weight)
        if reduction == "mean":
            check_some_weight(name, count)

    def backward(dy: Array, needs: Any = (True, False, False)) -> Any:
        per_sample = dy / count if reduction == "mean" else dy
        if reduction == "none":
            per_sample = xp.reshape(per_sample, (-1, 1))
        if known is not None:
            per_sample = per_sample * known
        dlogits = dtarget = None
        if needs[0]:
            p = e / total
            if picked:
                dz = p - _one_hot(xp, t, classes, p.dtype)
                dz *= per_sample if weight is None else per_sample * sample_weight[:, None]
            else:
                dz = (p * xp.sum(q, axis=1, keepdims=True) - q) * per_sample
            dlogits = _unrows(xp, dz, shape, class_axis)
        if len(needs) > 1 and needs[1] and not by_index:
            dq = (log_total - z) * per_sample * (1.0 - label_smoothing)
            if weight is not None:
                dq = dq * weight
            dtarget = _unrows(xp, dq, shape, class_axis)
        return dlogits, dtarget

    if reduction == "none":
        return xp.reshape(loss, samples_shape), backward
    loss = xp.sum(loss)
    return (loss / count if reduction == "mean" else loss), backward


def _rows(xp: Namespace, x: Array, class_axis: int) -> Array:
    """Shape (samples, C): the classes last, everything else in the rows."""
    if len(x.shape) == 2:
        return x
    if len(x.shape) > 2:
        x = xp.moveaxis(x, class_axis, -1)
    return xp.reshape(x, (-1, x.shape[-1]))


def _unrows(xp: Namespace, rows: Array, shape: tuple[int, ...], class_axis: int) -> Array:
    """Back from (samples, C) to the shape of the logits."""
    if len(shape) == 2:
        return rows
    samples = shape[:class_axis] + shape[class_axis + 1 :]
    return xp.moveaxis(xp.reshape(rows, (*samples, shape[class_axis])), -1, class_axis)


def _one_hot(xp: Namespace, t: Array, classes: int, dtype: Any) -> Array:
    """1 at the class of each sample and 0 elsewhere: indices of shape (N, 1) to (N, C)."""
    t = xp.astype(t, xp.int32)  # half the bytes to compare
    return xp.astype(xp.arange(classes, dtype=xp.int32, device=t.device) == t, dtype)


def _smoothed(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """q_c = w_c ((1 - ε) target_c + ε / C)."""
    q = target
    if label_smoothing:
        q = q * (1.0 - label_smoothing) + label_smoothing / q.shape[1]
    return q if weight is None else q * weight
