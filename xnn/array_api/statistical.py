"""Statistical functions of the Array API standard, with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from xnn.array_api._rules import expand, normalize_axes
from xnn.autodiff import Backward, op
from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace

Axis: TypeAlias = "int | Sequence[int] | None"


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    return math.prod(shape[a] for a in normalize_axes(axis, len(shape)))


def _cast(dx: Array, dtype: Any) -> Array:
    return dx if dx.dtype == dtype else array_namespace(dx).astype(dx, dtype)


def _wanted(x: Array, dtype: Any) -> Any:
    """``dtype``, of any namespace or a name, as one of the namespace of ``x``."""
    return None if dtype is None else device_of(x).dtype(dtype)


@op
def sum(
    x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False
) -> tuple[Array, Backward]:
    """y = Σ x over ``axis``; dx repeats dy."""
    xp = array_namespace(x)
    shape, from_dtype = x.shape, x.dtype

    def backward(dy: Array) -> Array:
        return _cast(expand(dy, shape, axis, keepdims), from_dtype)

    return xp.sum(x, axis=axis, dtype=_wanted(x, dtype), keepdims=keepdims), backward


@op
def mean(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    """y = (1/n) Σ x over ``axis``; dx repeats dy / n."""
    xp = array_namespace(x)
    shape = x.shape

    def backward(dy: Array) -> Array:
        return expand(dy / _count(shape, axis), shape, axis, keepdims)

    return xp.mean(x, axis=axis, keepdims=keepdims), backward


@op
def prod(
    x: Array, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False
) -> tuple[Array, Backward]:
    """y = Π x over ``axis``; dx_i = dy Π_{j≠i} x_j, also where some x are zero."""
    xp = array_namespace(x)
    y = xp.prod(x, axis=axis, dtype=_wanted(x, dtype), keepdims=keepdims)

    def backward(dy: Array) -> Array:
        # With no zero, the product of the others is y / x_i. With one zero, only its own is not zero; with two, none.
        zero = x == 0
        zeros = xp.sum(xp.astype(zero, x.dtype), axis=axis, keepdims=True)
        safe = xp.where(zero, xp.ones_like(x), x)
        others = xp.prod(safe, axis=axis, keepdims=True) / safe
        none, one = xp.broadcast_to(zeros == 0, x.shape), xp.broadcast_to(zeros == 1, x.shape)
        reached = none | (zero & one)
        dy = expand(_cast(dy, x.dtype), x.shape, axis, keepdims)
        return dy * xp.where(reached, others, xp.zeros_like(others))

    return y, backward


def _extremum(xp: Any, x: Array, y: Array, axis: Axis, keepdims: bool) -> Backward:
    def backward(dy: Array) -> Array:
        hit = xp.astype(x == expand(y, x.shape, axis, keepdims), dy.dtype)
        return hit * expand(dy, x.shape, axis, keepdims) / xp.sum(hit, axis=axis, keepdims=True)

    return backward


@op
def max(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    """The largest element over ``axis``; the gradient goes to it, in equal parts where several are largest."""
    xp = array_namespace(x)
    y = xp.max(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axis, keepdims)


@op
def min(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Backward]:
    """The smallest element over ``axis``; the gradient goes to it, in equal parts where several are smallest."""
    xp = array_namespace(x)
    y = xp.min(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axis, keepdims)


@op
def var(
    x: Array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> tuple[Array, Backward]:
    """y = Σ (x - x̄)² / (n - correction) over ``axis``; dx = 2 (x - x̄) dy / (n - correction)."""
    xp = array_namespace(x)
    y = xp.var(x, axis=axis, correction=correction, keepdims=keepdims)

    def backward(dy: Array) -> Array:
        centred = x - xp.mean(x, axis=axis, keepdims=True)
        return centred * (expand(dy, x.shape, axis, keepdims) * (2 / (_count(x.shape, axis) - correction)))

    return y, backward


@op
def std(
    x: Array, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> tuple[Array, Backward]:
    """y = √var(x); dx = (x - x̄) dy / (y (n - correction)), 0 where y = 0 (as in PyTorch)."""
    xp = array_namespace(x)
    y = xp.std(x, axis=axis, correction=correction, keepdims=keepdims)

    def backward(dy: Array) -> Array:
        centred = x - xp.mean(x, axis=axis, keepdims=True)
        safe = xp.where(
            y == 0, xp.ones_like(y), y
        )  # where all x are equal, x - x̄ = 0: the gradient is 0, not 0 / 0
        return centred * expand(dy / (safe * (_count(x.shape, axis) - correction)), x.shape, axis, keepdims)

    return y, backward


def _along(x: Array, axis: int | None, name: str) -> int:
    if axis is None:
        if len(x.shape) != 1:
            raise ValueError(f"{name}: expected an axis for an array of shape {tuple(x.shape)}")
        return 0
    return axis % len(x.shape)


def _sums_to_the_end(x: Array, along: int) -> Array:
    """Σ_{i≥j} x_i."""
    xp = array_namespace(x)
    return xp.flip(xp.cumulative_sum(xp.flip(x, axis=along), axis=along), axis=along)


@op
def cumulative_sum(
    x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> tuple[Array, Backward]:
    """y_i = Σ_{j≤i} x_j along ``axis``; dx_j = Σ_{i≥j} dy_i. ``include_initial`` puts a 0 in front."""
    along = _along(x, axis, "cumulative_sum")
    from_dtype = x.dtype
    y = array_namespace(x).cumulative_sum(
        x, axis=along, dtype=_wanted(x, dtype), include_initial=include_initial
    )

    def backward(dy: Array) -> Array:
        if include_initial:
            dy = dy[(slice(None),) * along + (slice(1, None), ...)]
        return _cast(_sums_to_the_end(dy, along), from_dtype)

    return y, backward


@op
def cumulative_prod(
    x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> tuple[Array, Backward]:
    """y_i = Π_{j≤i} x_j along ``axis``; ``include_initial`` puts a 1 in front.

    dx_j = Σ_{i≥j} dy_i Π_{k≤i, k≠j} x_k, which is Σ_{i≥j} dy_i y_i / x_j where x_j ≠ 0. All products from the first
    zero x_z on contain it: behind it dx = 0, and at it dx_z = Σ_{i≥z} dy_i y'_i, with y' the products without x_z.
    """
    xp = array_namespace(x)
    along = _along(x, axis, "cumulative_prod")
    y = xp.cumulative_prod(x, axis=along, dtype=_wanted(x, dtype), include_initial=include_initial)

    def backward(dy: Array) -> Array:
        if include_initial:
            dy = dy[(slice(None),) * along + (slice(1, None), ...)]
        dy = _cast(dy, x.dtype)
        zero, one = x == 0, xp.ones_like(x)
        first = zero & (xp.cumulative_sum(xp.astype(zero, x.dtype), axis=along) == 1)
        products = xp.cumulative_prod(x, axis=along)
        without = xp.cumulative_prod(xp.where(first, one, x), axis=along)
        return xp.where(
            first,
            _sums_to_the_end(dy * without, along),
            _sums_to_the_end(dy * products, along) / xp.where(zero, one, x),
        )

    return y, backward
