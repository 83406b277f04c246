"""Manipulation functions of the Array API standard: they move elements, their gradients move back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.array_api._rules import like, sum_to
from xnn.autodiff import Backward, op
from xnn.backends import DeviceLike, device_of
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, has_dtype, unwrap


@op
def reshape(x: Array, /, shape: Sequence[int], *, copy: bool | None = None) -> tuple[Array, Backward]:
    """The same elements, in the same order, in another shape; dx is dy in the old shape."""
    xp = array_namespace(x)
    before = x.shape
    return xp.reshape(x, tuple(shape), copy=copy), lambda dy: array_namespace(dy).reshape(dy, before)


@op
def permute_dims(x: Array, /, axes: Sequence[int]) -> tuple[Array, Backward]:
    """The dimensions in another order; dx is dy with the inverse permutation."""
    xp = array_namespace(x)
    axes = tuple(axes)
    n = len(axes)
    inverse = tuple(sorted(range(n), key=lambda i: axes[i] % n))
    return xp.permute_dims(x, axes), lambda dy: array_namespace(dy).permute_dims(dy, inverse)


@op
def moveaxis(
    x: Array, source: int | Sequence[int], destination: int | Sequence[int], /
) -> tuple[Array, Backward]:
    """Dimensions ``source`` moved to ``destination``; dx moves them back."""
    xp = array_namespace(x)
    return xp.moveaxis(x, source, destination), lambda dy: array_namespace(dy).moveaxis(
        dy, destination, source
    )


@op
def expand_dims(x: Array, /, *, axis: int = 0) -> tuple[Array, Backward]:
    """A new dimension of length 1 at ``axis``; dx is dy without it."""
    xp = array_namespace(x)
    return xp.expand_dims(x, axis=axis), lambda dy: array_namespace(dy).squeeze(dy, axis=axis)


@op
def squeeze(x: Array, /, axis: int | Sequence[int]) -> tuple[Array, Backward]:
    """Without the dimensions ``axis`` of length 1; dx is dy with them."""
    xp = array_namespace(x)
    before = x.shape
    return xp.squeeze(x, axis=axis), lambda dy: array_namespace(dy).reshape(dy, before)


@op
def broadcast_to(x: Array, /, shape: Sequence[int]) -> tuple[Array, Backward]:
    """Repeated along new dimensions and those of length 1; dx sums over the repetitions."""
    xp = array_namespace(x)
    before = like(x)
    return xp.broadcast_to(x, tuple(shape)), lambda dy: sum_to(dy, before)


def broadcast_arrays(*arrays: Array) -> list[Array]:
    """All arrays, each repeated to the shape that they share."""
    shapes = [a.shape for a in arrays]
    ndim = max(map(len, shapes), default=0)
    padded = [(1,) * (ndim - len(s)) + tuple(s) for s in shapes]
    shape = []
    for lengths in zip(*padded, strict=True):
        longer = {n for n in lengths if n != 1}
        if len(longer) > 1:
            raise ValueError(
                f"broadcast_arrays: shapes {', '.join(map(str, shapes))} do not broadcast together"
            )
        shape.append(longer.pop() if longer else 1)
    return [broadcast_to(a, tuple(shape)) for a in arrays]


@op
def flip(x: Array, /, *, axis: int | Sequence[int] | None = None) -> tuple[Array, Backward]:
    """The elements in reverse order along ``axis``; dx reverses dy."""
    xp = array_namespace(x)
    return xp.flip(x, axis=axis), lambda dy: array_namespace(dy).flip(dy, axis=axis)


@op
def roll(
    x: Array, /, shift: int | Sequence[int], *, axis: int | Sequence[int] | None = None
) -> tuple[Array, Backward]:
    """The elements moved along ``axis``, those that fall off coming in again at the other end; dx moves dy back."""
    xp = array_namespace(x)
    back = -shift if isinstance(shift, int) else tuple(-s for s in shift)
    return xp.roll(x, shift, axis=axis), lambda dy: array_namespace(dy).roll(dy, back, axis=axis)


@op
def repeat(x: Array, repeats: int, /, *, axis: int | None = None) -> tuple[Array, Backward]:
    """Each element ``repeats`` times in a row; dx sums over them. ``repeats`` is one number for all elements."""
    xp = array_namespace(x)
    if not isinstance(repeats, int):
        raise TypeError(f"repeat: expected an int for repeats, got {type(repeats).__name__}")
    shape = x.shape

    def backward(dy: Array) -> Array:
        xp = array_namespace(dy)
        if axis is None:
            return xp.reshape(xp.sum(xp.reshape(dy, (math.prod(shape), repeats)), axis=1), shape)
        a = axis % len(shape)
        return xp.sum(xp.reshape(dy, (*shape[: a + 1], repeats, *shape[a + 1 :])), axis=a + 1)

    return xp.repeat(x, repeats, axis=axis), backward


@op
def tile(x: Array, repetitions: Sequence[int], /) -> tuple[Array, Backward]:
    """The whole array laid out ``repetitions`` times along each dimension; dx sums over the copies."""
    xp = array_namespace(x)
    shape = x.shape
    ndim = max(len(shape), len(repetitions))
    lengths = (1,) * (ndim - len(shape)) + tuple(shape)
    times = (1,) * (ndim - len(repetitions)) + tuple(repetitions)

    def backward(dy: Array) -> Array:
        xp = array_namespace(dy)
        split = [n for pair in zip(times, lengths, strict=True) for n in pair]
        return xp.reshape(xp.sum(xp.reshape(dy, tuple(split)), axis=tuple(range(0, 2 * ndim, 2))), shape)

    return xp.tile(x, tuple(repetitions)), backward


@op
def _concat(*arrays: Array, axis: int | None) -> tuple[Array, Backward]:
    xp = array_namespace(*arrays)
    likes = [(a.shape, a.dtype) for a in arrays]

    def backward(dy: Array) -> tuple[Array, ...]:
        xp = array_namespace(dy)
        along = 0 if axis is None else axis % len(dy.shape)
        dxs, start = [], 0
        for shape, dtype in likes:
            length = math.prod(shape) if axis is None else shape[along]
            dx = _part(dy, along, slice(start, start + length))
            dxs.append(xp.astype(xp.reshape(dx, shape), dtype, copy=False))
            start += length
        return tuple(dxs)

    return xp.concat(arrays, axis=axis), backward


_concat.name = "concat"  # as messages shall call it


def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """The arrays one after the other along ``axis`` (flattened for None); each gets its part of dy."""
    return _concat(*arrays, axis=axis)


def _part(x: Array, along: int, i: Any) -> Array:
    return x[(slice(None),) * along + (i, ...)]


@op
def _stack(*arrays: Array, axis: int) -> tuple[Array, Backward]:
    xp = array_namespace(*arrays)

    def backward(dy: Array) -> tuple[Array, ...]:
        xp = array_namespace(dy)
        along = axis % len(dy.shape)
        return tuple(xp.astype(_part(dy, along, i), dtype, copy=False) for i, dtype in enumerate(dtypes))

    dtypes = [a.dtype for a in arrays]
    return xp.stack(arrays, axis=axis), backward


_stack.name = "stack"


def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """The arrays side by side along a new dimension ``axis``; each gets its part of dy."""
    return _stack(*arrays, axis=axis)


@op
def unstack(x: Array, /, *, axis: int = 0) -> tuple[tuple[Array, ...], Backward]:
    """The parts of ``x`` along ``axis``, as a tuple; dx stacks their gradients."""
    parts = tuple(_part(x, axis % len(x.shape), i) for i in range(x.shape[axis]))
    return parts, lambda dys: array_namespace(*dys).stack(dys, axis=axis)


def meshgrid(*arrays: Array, indexing: str = "xy") -> list[Array]:
    """Coordinate arrays of a grid from one-dimensional coordinates."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    n = len(arrays)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    shaped = [
        reshape(a, tuple(-1 if place == i else 1 for i in range(n)))
        for a, place in zip(arrays, places, strict=True)
    ]
    return broadcast_arrays(*shaped)


def _move(x: Array, device: DeviceLike) -> Array:
    if unwrap(x) is not x:  # differentiated again
        return to_device(x, device)
    return find_device(device).asarray(x)


@op
def astype(
    x: Array, dtype: Any, /, *, copy: bool = True, device: DeviceLike = None
) -> tuple[Array, Backward | None]:
    """``x`` in another dtype (or the name of one), and on ``device`` if one is given; dx is dy as ``x`` was.

    Integers and bools carry no gradient.
    """
    xp, place = array_namespace(x), device_of(x)
    before = x.dtype
    y = xp.astype(x, place.dtype(dtype), copy=copy)
    differentiable = has_dtype(y, "real floating") or has_dtype(y, "complex floating")
    if device is not None:
        y = _move(y, device)

    def backward(dy: Array) -> Array:
        if device is not None:
            dy = _move(dy, place)
        return array_namespace(dy).astype(dy, before, copy=False)

    return y, backward if differentiable else None


@op
def to_device(x: Array, device: DeviceLike, /) -> tuple[Array, Backward]:
    """``x`` on another device; dx is brought back to where ``x`` was."""
    before = device_of(x)
    return _move(x, device), lambda dy: _move(dy, before)


def diff(
    x: Array, /, *, axis: int = -1, n: int = 1, prepend: Array | None = None, append: Array | None = None
) -> Array:
    """Differences of neighbours along ``axis``, x_{i+1} - x_i, taken ``n`` times.

    ``prepend`` and ``append`` are arrays to put in front of and behind ``x`` first.
    """
    if n < 0:
        raise ValueError(f"diff: expected n >= 0, got {n}")
    ends = [a for a in (prepend, x, append) if a is not None]
    if n and len(ends) > 1:
        x = concat(ends, axis=axis)
    along = axis % len(x.shape)
    for _ in range(n):
        x = _part(x, along, slice(1, None)) - _part(x, along, slice(None, -1))
    return x
