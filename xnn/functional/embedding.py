"""Rows of a table by their numbers."""

from __future__ import annotations

import math
from typing import Any

from xnn.array_api._rules import scatter_add
from xnn.autodiff import Backward, op
from xnn.backends.namespaces import (
    Array,
    Namespace,
    array_namespace,
    dtype_name,
    has_dtype,
    reads_are_free,
    unwrap,
)
from xnn.functional._checks import check_floating


@op
def embedding(
    indices: Array, weight: Array, padding_idx: int | None = None, *, scale_grad_by_freq: bool = False
) -> tuple[Array, Backward]:
    """y[..., :] = weight[indices[...], :].

    Args:
        indices: integers in [0, num_embeddings), any shape (...).
        weight: the table, shape (num_embeddings, embedding_dim), a floating-point dtype.
        padding_idx: the number of a row that gets no gradient, in [-num_embeddings, num_embeddings), or None. The row
            itself is used as it is: `xnn.nn.Embedding` sets it to zeros.
        scale_grad_by_freq: divide the gradient of each row by how often its number occurs in ``indices``.

    Returns:
        shape (..., embedding_dim).

    Backward, with y_n the row for the n-th index i_n: a row collects what arrives at all its places,

        ∂L/∂weight_v = Σ_{n: i_n = v} dy_n,     0 for v = padding_idx; divided by the number of terms if scaled

    in an order that depends on nothing but the indices, so that every run gives the same bits. It has the shape of
    ``weight`` (PyTorch's ``sparse=False``).

    Raises:
        IndexError: an index is not in [0, num_embeddings), where looking costs no waiting for a device. Elsewhere a
            kernel gives NaN for such an index, and no gradient; without a kernel it is up to the namespace.
        TypeError: ``indices`` are no integers, or ``weight`` is not floating-point.
        ValueError: ``weight`` has not two dimensions, or there is no row ``padding_idx``.

    >>> xnn.functional.embedding(np.asarray([2, 0]), np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    array([[5., 6.],
           [1., 2.]])
    """
    check_embedding(indices, weight)
    size = weight.shape[0]
    ignored = normalize_padding_idx("embedding", padding_idx, size)
    check_floating("embedding", weight)
    xp, ixp = array_namespace(weight), array_namespace(unwrap(indices))
    flat = ixp.reshape(unwrap(indices), (-1,))
    if dtype_name(flat.dtype) not in ("int32", "int64"):
        flat = ixp.astype(flat, ixp.int64)  # smaller ones cannot count the rows
    _check_range(ixp, flat, size)
    shape = (*indices.shape, weight.shape[1])
    if 0 in flat.shape:
        y = xp.zeros(shape, dtype=weight.dtype, device=weight.device)
    else:
        y = xp.reshape(xp.take(weight, flat, axis=0), shape)

    def backward(dy: Array, needs: Any = (False, True)) -> Any:
        if not needs[1]:
            return None
        xp = array_namespace(dy)
        rows = xp.reshape(dy, (math.prod(flat.shape), shape[-1]))
        if ignored is not None:
            rows = xp.where((flat != ignored)[:, None], rows, xp.zeros_like(rows))
        if scale_grad_by_freq:
            rows = rows / xp.astype(_frequencies(flat), dy.dtype)[:, None]
        return None, scatter_add(size, flat, rows)

    return y, backward


def check_embedding(indices: Array, weight: Array) -> None:
    """Raise TypeError or ValueError unless these are integers and a table."""
    if not has_dtype(indices, "integral"):
        raise TypeError(f"embedding: expected indices of an integer dtype, got {dtype_name(indices.dtype)}")
    if len(weight.shape) != 2:
        raise ValueError(
            f"embedding: expected weight of shape (num_embeddings, embedding_dim), got {tuple(weight.shape)}"
        )


def normalize_padding_idx(name: str, padding_idx: int | None, size: int) -> int | None:
    """``padding_idx`` counted from the front; raises ValueError if there is no such row."""
    if padding_idx is None:
        return None
    if not -size <= padding_idx < size:
        raise ValueError(f"{name}: expected padding_idx in [{-size}, {size}), got {padding_idx}")
    return padding_idx % size


def _check_range(xp: Namespace, flat: Array, size: int) -> None:
    if 0 in flat.shape or not reads_are_free(flat):
        return
    low, high = int(xp.min(flat)), int(xp.max(flat))
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise IndexError(f"embedding: expected indices in [0, {size}), got {wrong}")


def _frequencies(targets: Array) -> Array:
    """How often each index occurs, at each of its places."""
    xp = array_namespace(targets)
    in_order = xp.sort(targets)
    return xp.searchsorted(in_order, targets, side="right") - xp.searchsorted(in_order, targets, side="left")
