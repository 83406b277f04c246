"""What the derivative rules share: gradients of broadcast arguments, and sums that scatter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from xnn.backends.namespaces import Array, array_namespace, reads_are_free

Like: TypeAlias = "tuple[tuple[int, ...], Any] | None"
"""Shape and dtype of an argument: what its gradient must look like. None for a Python number."""


def like(x: Any) -> Like:
    """Shape and dtype of ``x``, kept instead of ``x`` where a backward needs no more than these."""
    shape = getattr(x, "shape", None)
    return None if shape is None else (shape, x.dtype)


def sum_to(dx: Array, target: Like) -> Array:
    """Undo broadcasting and promotion: sum ``dx`` over the dimensions that were stretched, and give it the dtype.

    Broadcasting copies an element to many places, so its gradient is the sum over them.
    """
    if target is None:
        return None
    shape, dtype = target
    if dx.shape != shape:
        xp = array_namespace(dx)
        extra = len(dx.shape) - len(shape)
        stretched = [i for i, n in enumerate(dx.shape) if i < extra or (shape[i - extra] == 1 and n != 1)]
        if stretched:
            dx = xp.sum(dx, axis=tuple(stretched), keepdims=True)
        if dx.shape != shape:
            dx = xp.reshape(dx, shape)
    if dx.dtype is not dtype and dx.dtype != dtype:
        dx = array_namespace(dx).astype(dx, dtype)
    return dx


def normalize_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """``axis`` as a tuple of axes counted from the front; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))


def expand(dy: Array, shape: tuple[int, ...], axis: int | Sequence[int] | None, keepdims: bool) -> Array:
    """Bring the gradient of a reduction back to the shape of what was reduced, by repeating it (no copy)."""
    xp = array_namespace(dy)
    if not keepdims:
        axes = normalize_axes(axis, len(shape))
        dy = xp.reshape(dy, tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return xp.broadcast_to(dy, shape)


def scatter_add(rows: int, indices: Array, values: Array) -> Array:
    """``out[indices[i], :] += values[i, :]`` for every i, from zeros, with the standard's functions alone.

    The standard has no indexed addition. Sorted by target, the values of one target form a segment; a segmented scan
    adds in doubling steps (as accurate as a pairwise sum, the same bits on every run), and each target picks up the
    total at the end of its segment.

    Args:
        rows: the number of targets.
        indices: integers in [0, rows), shape (N,), a plain array.
        values: shape (N, D).

    Returns:
        shape (rows, D).
    """
    xp, ixp = array_namespace(values), array_namespace(indices)
    n = indices.shape[0]
    if n == 0:
        return xp.zeros((rows, values.shape[1]), dtype=values.dtype, device=values.device)
    order = ixp.argsort(indices)
    indices = ixp.take(indices, order, axis=0)
    totals = xp.take(values, order, axis=0)
    look = reads_are_free(indices)
    step = 1
    while step < n:
        same = indices[step:] == indices[:-step]
        if look and not ixp.any(same):
            break
        tail = totals[step:, :] + xp.where(same[:, None], totals[:-step, :], xp.zeros_like(totals[:-step, :]))
        totals = xp.concat([totals[:step, :], tail])
        step *= 2
    targets = ixp.arange(rows, dtype=indices.dtype, device=indices.device)
    end = ixp.searchsorted(indices, targets, side="right") - 1
    end = ixp.where(end < 0, ixp.zeros_like(end), end)
    hit = ixp.take(indices, end, axis=0) == targets
    picked = xp.take(totals, end, axis=0)
    return xp.where(hit[:, None], picked, xp.zeros_like(picked))
