"""How often a classifier is right."""

from __future__ import annotations

from xnn.backends.namespaces import Array, array_namespace, dtype_name, has_dtype, unwrap
from xnn.functional._checks import check_class_indices, check_floating, check_not_empty


def accuracy(scores: Array, target: Array, top_k: int = 1) -> Array:
    """The fraction of samples whose class is among the ``top_k`` with the highest scores.

    Args:
        scores: shape (N, C) or (N, C, d1, ..., dk), a floating-point dtype: logits, probabilities, any
            scores.
        target: class indices, integers in [0, C) of the shape of ``scores`` without C.
        top_k: how many guesses count, at least 1. Of equal scores, the lower class index is guessed first.

    Returns:
        a plain array of shape () in the dtype of ``scores``, on its device: it can be added up without
        waiting for a GPU. It has no derivative.

    Raises:
        ValueError: the shapes do not fit, the batch is empty, or ``top_k`` < 1.
        IndexError: a class index is not in [0, C). (On CUDA it counts as wrong.)
        TypeError: the dtypes are not as said.

    >>> scores = np.asarray([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]])
    >>> float(xnn.functional.accuracy(scores, np.asarray([1, 2])))
    0.5
    >>> float(xnn.functional.accuracy(scores, np.asarray([1, 2]), top_k=2))
    1.0
    """
    name = "accuracy"
    scores, target = unwrap(scores), unwrap(target)
    xp = array_namespace(scores, target)
    check_floating(name, scores)
    if not has_dtype(target, "integral"):
        raise TypeError(f"{name}: expected integer class indices, got {dtype_name(target.dtype)}")
    shape = tuple(scores.shape)
    if len(shape) < 2 or tuple(target.shape) != (shape[:1] + shape[2:]):
        raise ValueError(
            f"{name}: expected scores of shape (N, C, ...) and class indices of shape (N, ...), "
            f"got {shape} and {tuple(target.shape)}"
        )
    if not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f"{name}: expected top_k of at least 1, got {top_k!r}")
    check_not_empty(name, target.shape, "mean")
    classes = shape[1]
    check_class_indices(name, xp, target, classes, None)
    if top_k == 1:
        right = xp.astype(xp.argmax(scores, axis=1), target.dtype) == target
        return xp.mean(xp.astype(right, scores.dtype))
    t = xp.expand_dims(target, axis=1)
    numbers = xp.reshape(
        xp.arange(classes, dtype=target.dtype, device=target.device), (classes,) + (1,) * (len(shape) - 2)
    )
    own = xp.max(xp.where(numbers == t, scores, xp.full_like(scores, -float("inf"))), axis=1, keepdims=True)
    better = (scores > own) | ((scores == own) & (numbers < t))
    rank = xp.sum(xp.astype(better, target.dtype), axis=1)
    right = (rank < top_k) & (target >= 0) & (target < classes)
    return xp.mean(xp.astype(right, scores.dtype))
