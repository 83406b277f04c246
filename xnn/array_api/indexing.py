"""Indexing functions of the Array API standard, with their derivatives."""

from __future__ import annotations

import math
from typing import Any

from xnn.array_api._rules import scatter_add
from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace, unwrap


def _is_basic(key: Any) -> bool:
    """Whether a key is made of integers, slices, None and Ellipsis only: it then picks no element twice."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts)


@op
def getitem(x: Array, key: Any, /) -> tuple[Array, Backward]:
    """``x[key]``; dx is zero except at the picked elements, which get dy (summed where one was picked repeatedly).

    ``key`` is what the namespace of ``x`` takes: integers, slices, None, ``...``, a boolean mask, integer arrays.
    """
    key = tuple(map(unwrap, key)) if isinstance(key, tuple) else unwrap(key)
    shape = x.shape

    def backward(dy: Array) -> Array:
        xp = array_namespace(dy)
        plain = unwrap(dy)
        if _is_basic(key) and plain is dy:
            dx = xp.zeros(shape, dtype=dy.dtype, device=dy.device)
            parts = key if isinstance(key, tuple) else (key,)
            if any(part is None for part in parts):  # new dimensions: the standard has none in assignments
                parts = tuple(part for part in parts if part is not None)
                dy = xp.reshape(dy, dx[parts].shape)
            dx[parts] = dy
            return dx
        # The position of every picked element in memory order tells where its gradient belongs.
        plain_xp = array_namespace(plain)
        size = 1
        for n in shape:
            size *= n
        positions = plain_xp.reshape(plain_xp.arange(size, device=plain.device), shape)[key]
        dx = scatter_add(size, plain_xp.reshape(positions, (-1,)), xp.reshape(dy, (-1, 1)))
        return xp.reshape(dx, shape)

    return x[key], backward


@op
def take(x: Array, indices: Array, /, *, axis: int | None = None) -> tuple[Array, Backward]:
    """The parts ``indices`` (integers, one dimension) of ``x`` along ``axis``; dx adds dy up at these places."""
    xp = array_namespace(x, indices)
    if axis is None:
        if len(x.shape) != 1:
            raise ValueError(f"take: expected an axis for an array of shape {tuple(x.shape)}")
        axis = 0
    if len(indices.shape) != 1:
        raise ValueError(f"take: expected indices of one dimension, got shape {tuple(indices.shape)}")
    along = axis % len(x.shape)
    shape = x.shape

    def backward(dy: Array) -> Array:
        xp = array_namespace(dy)
        rest = tuple(n for i, n in enumerate(shape) if i != along)
        rows = xp.reshape(
            xp.moveaxis(dy, along, 0), (indices.shape[0], -1) if indices.shape[0] else (0, math.prod(rest))
        )
        targets = unwrap(indices)
        from_front = array_namespace(targets).where(targets < 0, targets + shape[along], targets)
        dx = scatter_add(shape[along], from_front, rows)
        return xp.moveaxis(xp.reshape(dx, (shape[along], *rest)), 0, along)

    return xp.take(x, indices, axis=axis), backward


@op
def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> tuple[Array, Backward]:
    """``y[..., i, ...] = x[..., indices[..., i, ...], ...]`` along ``axis``; dx adds dy up at these places."""
    xp = array_namespace(x, indices)
    shape = x.shape

    def backward(dy: Array) -> Array:
        xp = array_namespace(dy)
        plain_xp = array_namespace(unwrap(indices))
        place = plain_xp.reshape(plain_xp.arange(math.prod(shape), device=unwrap(indices).device), shape)
        lined_up = plain_xp.broadcast_to(unwrap(indices), dy.shape)
        wide = tuple(
            n if i == axis % len(shape) else m for i, (n, m) in enumerate(zip(shape, dy.shape, strict=True))
        )
        positions = plain_xp.take_along_axis(plain_xp.broadcast_to(place, wide), lined_up, axis=axis)
        dx = scatter_add(math.prod(shape), plain_xp.reshape(positions, (-1,)), xp.reshape(dy, (-1, 1)))
        return xp.reshape(dx, shape)

    return xp.take_along_axis(x, indices, axis=axis), backward


__all__ = ["getitem", "take", "take_along_axis"]
