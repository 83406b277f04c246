"""One-hot vectors of class indices."""

from __future__ import annotations

from typing import Any

from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, reads_are_free, unwrap

__all__ = ["one_hot"]


def one_hot(indices: Array, classes: int, dtype: Any = "float32") -> Array:
    """Vectors with a one at the class and zeros elsewhere: y_k = 1 if k = index, else 0.

    Args:
        indices: integers in [0, classes) of any shape.
        classes: their number, the length of the new last dimension.
        dtype: of the result.

    Returns:
        a plain array of shape (*indices.shape, classes) on the device of ``indices``.

    Raises:
        IndexError: an index is out of range. Where looking would make the host wait for the device (CUDA),
            its vector is all zeros instead.

    As ``torch.nn.functional.one_hot``, but of a floating-point dtype, and the number of classes has to be
    given.
    """
    indices = unwrap(indices)
    xp = array_namespace(indices)
    if not xp.isdtype(indices.dtype, "integral"):
        raise TypeError(f"one_hot: expected integers, got {dtype_name(indices.dtype)}")
    if classes < 1:
        raise ValueError(f"one_hot: expected at least one class, got {classes}")
    if reads_are_free(indices) and 0 not in indices.shape:
        lowest, highest = int(xp.min(indices)), int(xp.max(indices))
        if lowest < 0 or highest >= classes:
            raise IndexError(f"one_hot: expected indices in [0, {classes}), got {lowest} to {highest}")
    hit = xp.expand_dims(indices, axis=-1) == xp.arange(classes, dtype=indices.dtype, device=indices.device)
    return xp.astype(hit, device_of(indices).dtype(dtype))
