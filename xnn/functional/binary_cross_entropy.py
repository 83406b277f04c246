"""Sigmoid followed by binary cross-entropy, in one operation."""

from __future__ import annotations

from typing import Any

from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace
from xnn.functional._checks import (
    check_broadcasts,
    check_not_empty,
    check_reduction,
    check_same_dtype,
    check_same_shape,
    reduced,
)
from xnn.functional.activations import sigmoid_values


@op
def binary_cross_entropy_with_logits(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> tuple[Array, Backward]:
    """Binary cross-entropy between σ(logits) and target probabilities t, elementwise.

        loss = -w [ v t ln σ(z) + (1 - t) ln(1 - σ(z)) ]
             = w [ (1 - t) z + (1 + (v - 1) t) s ],    s = ln(1 + e^{-z}) = max(-z, 0) + ln(1 + e^{-|z|})

    In the second form nothing overflows and no logarithm of 0 is taken.

    Args:
        logits: z, any shape, a floating-point dtype.
        target: t in [0, 1], the shape and dtype of ``logits``.
        weight: w, broadcasts to ``logits``.
        pos_weight: v, the weight of the positive answers, broadcasts to ``logits``; often one per class,
            shape (C,).
        reduction: "none", "sum", or "mean" over all elements (whatever their weights).

    Returns:
        the loss: shape () for "mean" and "sum", the shape of ``logits`` for "none".

    Backward. With ∂s/∂z = σ(z) - 1,

        dz = w [ (1 - t) - (1 + (v - 1) t) (1 - σ(z)) ] dy,      which is (σ(z) - t) dy without weights,
        dt = w [ -z + (v - 1) s ] dy.

    Raises:
        ValueError: the shapes do not fit, or the batch is empty (for "mean").
        TypeError: the dtypes differ or are not floating-point.

    As ``torch.nn.functional.binary_cross_entropy_with_logits``; no gradient flows into the weights.

    >>> z, t = np.asarray([0.0, 1e4]), np.asarray([1.0, 1.0])
    >>> xnn.functional.binary_cross_entropy_with_logits(z, t, reduction="none").round(4)
    array([0.6931, 0.    ])
    """
    name = "binary_cross_entropy_with_logits"
    check_reduction(name, reduction)
    check_same_shape(name, "logits", logits, "target", target)
    check_same_dtype(name, "logits", logits, "target", target)
    check_not_empty(name, logits.shape, reduction)
    for what, w in (("weight", weight), ("pos_weight", pos_weight)):
        if w is not None:
            check_same_dtype(name, "logits", logits, what, w)
            check_broadcasts(name, what, w, logits.shape)
    xp = array_namespace(logits, target)
    z, t = logits, target
    s = xp.log1p(xp.exp(-xp.abs(z)))
    s -= xp.clip(z, max=0.0)
    if pos_weight is None:
        loss = s + z
        loss -= z * t
    else:
        share = (pos_weight - 1.0) * t + 1.0
        loss = (1.0 - t) * z
        loss += share * s
    if weight is not None:
        loss = loss * weight
    loss, per_element = reduced(xp, loss, reduction)

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        scale = per_element(dy)
        if weight is not None:
            scale = scale * weight
        dlogits = dtarget = None
        if needs[0]:
            if pos_weight is None:
                dlogits = sigmoid_values(xp, z)
                dlogits -= t
            else:
                dlogits = (1.0 - t) - share * sigmoid_values(xp, -z)
            dlogits *= scale
        if needs[1]:
            dtarget = -z if pos_weight is None else (pos_weight - 1.0) * s - z
            dtarget *= scale
        return dlogits, dtarget

    return loss, backward
