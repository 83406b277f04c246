"""Softmax followed by the mean squared error, in one operation."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace, dtype_name, has_dtype
from xnn.functional._checks import (
    check_class_indices,
    check_floating,
    check_not_empty,
    check_reduction,
    check_same_dtype,
    normalize_dim,
    reduced,
)
from xnn.functional.softmax import softmax_values, sum_along


@op
def softmax_mse_loss(
    logits: Array, target: Array, *, dim: int = -1, reduction: str = "mean"
) -> tuple[Array, Backward]:
    """Squared error between the distribution p = softmax(logits) and a target distribution t.

        p_c = e^{z_c} / Σ_k e^{z_k},    loss = (p - t)², elementwise, then reduced

    The Brier score of a classifier is this with reduction "sum", divided by the number of samples. Unlike
    cross-entropy its gradient vanishes where the classifier is sure and wrong.

    Args:
        logits: z, any shape with at least one dimension, a floating-point dtype.
        target: class probabilities t, the shape and dtype of ``logits``; or class indices, integers in [0, C)
            of the shape of ``logits`` without ``dim``, which stand for t_c = 1 at the class and 0 elsewhere.
        dim: the dimension of the C classes.
        reduction: "none", "sum", or "mean" over all elements (samples and classes).

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``logits`` for "none".

    Backward. With g = ∂L/∂p = 2 (p - t) dy and ∂p_i/∂z_j = p_i (δ_ij - p_j),

        dz_j = p_j (g_j - Σ_i g_i p_i),    dt = -g.

    Raises:
        ValueError: the shapes do not fit, or the batch is empty (for "mean").
        IndexError: a class index is not in [0, C) (where looking would make the host wait for the device,
            such a sample counts as t = 0); or there is no dimension ``dim``.
        TypeError: the dtypes are not as said.

    >>> float(xnn.functional.softmax_mse_loss(np.zeros((1, 2)), np.asarray([1])))
    0.25
    """
    xp = array_namespace(logits, target)
    name = "softmax_mse_loss"
    check_floating(name, logits)
    check_reduction(name, reduction)
    shape = tuple(logits.shape)
    if not shape:
        raise ValueError(f"{name}: expected logits with at least one dimension, got shape ()")
    dim = normalize_dim(name, dim, len(shape))
    by_index = has_dtype(target, "integral")
    samples_shape = shape[:dim] + shape[dim + 1 :]
    if tuple(target.shape) != (samples_shape if by_index else shape):
        raise ValueError(
            f"{name}: for logits of shape {shape} expected class indices of shape {samples_shape} or class "
            f"probabilities of shape {shape}, got {dtype_name(target.dtype)} of shape {tuple(target.shape)}"
        )
    check_not_empty(name, shape, reduction)
    t = target
    if by_index:
        classes = shape[dim]
        check_class_indices(name, xp, target, classes, None)
        numbers = xp.arange(classes, dtype=target.dtype, device=target.device)
        numbers = xp.reshape(numbers, (classes,) + (1,) * (len(shape) - 1 - dim))
        t = xp.astype(numbers == xp.expand_dims(target, axis=dim), logits.dtype)
    else:
        check_same_dtype(name, "logits", logits, "target", target)

    p = softmax_values(xp, logits, dim)
    difference = p - t
    loss, per_element = reduced(xp, difference * difference, reduction)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        g = difference * (2.0 * per_element(dy))
        dz = None
        if needs[0]:
            gp = g * p
            dz = gp - p * sum_along(xp, gp, dim)
        return dz, -g if needs[1] and not by_index else None

    return loss, backward
