"""Numbers that say how well a classifier does."""

from __future__ import annotations

from xnn.backends.namespaces import Array, array_namespace


def confusion_matrix(predicted: Array, target: Array, classes: int) -> Array:
    """How often each class was taken for each: element (i, j) counts samples of class i that were predicted as j.

    Args:
        predicted, target: class indices, integers of shape (N,), on one device.
        classes: C.

    Returns:
        int64 of shape (C, C); the diagonal counts what was right.
    """
    xp = array_namespace(predicted, target)
    if predicted.shape != target.shape or len(target.shape) != 1:
        raise ValueError(
            f"confusion_matrix: expected predicted and target of one shape (N,), "
            f"got {tuple(predicted.shape)} and {tuple(target.shape)}"
        )
    numbers = xp.arange(classes, dtype=target.dtype, device=target.device)
    is_target = xp.astype(target[:, None] == numbers, xp.float32)
    is_predicted = xp.astype(predicted[:, None] == xp.astype(numbers, predicted.dtype), xp.float32)
    # A product of zeros and ones is exact in float32 up to 2**24 samples in one cell.
    return xp.astype(xp.matmul(xp.matrix_transpose(is_target), is_predicted), xp.int64)
