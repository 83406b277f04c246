"""Searching, sorting, set and truth functions of the Array API standard."""

from __future__ import annotations

from typing import Any

from xnn.array_api._rules import like, sum_to
from xnn.autodiff import Backward, op
from xnn.backends.namespaces import Array, array_namespace


@op
def where(condition: Array, x1: Array, x2: Array, /) -> tuple[Array, Backward]:
    """``x1`` where the condition is true, else ``x2``; each gets dy where it was taken, 0 elsewhere."""
    xp = array_namespace(condition, x1, x2)
    like1, like2 = like(x1), like(x2)

    def backward(dy: Array, needs: Any = (False, True, True)) -> Any:
        xp = array_namespace(dy)
        zero = xp.zeros_like(dy)
        return (
            None,
            sum_to(xp.where(condition, dy, zero), like1) if needs[1] else None,
            sum_to(xp.where(condition, zero, dy), like2) if needs[2] else None,
        )

    return xp.where(condition, x1, x2), backward


@op
def sort(
    x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> tuple[Array, Backward]:
    """The elements in order along ``axis``; dx puts the gradients back where the elements came from."""
    xp = array_namespace(x)
    order = xp.argsort(x, axis=axis, descending=descending, stable=stable)

    def backward(dy: Array) -> Array:
        return array_namespace(dy).take_along_axis(dy, xp.argsort(order, axis=axis), axis=axis)

    return xp.take_along_axis(x, order, axis=axis), backward


@op
def argsort(
    x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> tuple[Array, None]:
    """The indices that sort ``x`` along ``axis``."""
    return array_namespace(x).argsort(x, axis=axis, descending=descending, stable=stable), None


@op
def searchsorted(
    x1: Array, x2: Array, /, *, side: str = "left", sorter: Array | None = None
) -> tuple[Array, None]:
    """Where in the sorted ``x1`` each element of ``x2`` would have to be put in."""
    return array_namespace(x1, x2).searchsorted(x1, x2, side=side, sorter=sorter), None


@op
def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> tuple[Array, None]:
    """The index of the largest element along ``axis``."""
    return array_namespace(x).argmax(x, axis=axis, keepdims=keepdims), None


@op
def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> tuple[Array, None]:
    """The index of the smallest element along ``axis``."""
    return array_namespace(x).argmin(x, axis=axis, keepdims=keepdims), None


@op
def count_nonzero(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> tuple[Array, None]:
    """How many elements are not zero along ``axis``."""
    return array_namespace(x).count_nonzero(x, axis=axis, keepdims=keepdims), None


@op
def nonzero(x: Array, /) -> tuple[tuple[Array, ...], None]:
    """The indices of the elements that are not zero, one array per dimension. On a GPU this waits for the device."""
    return tuple(array_namespace(x).nonzero(x)), None


@op
def all(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> tuple[Array, None]:
    """Whether all elements along ``axis`` are true."""
    return array_namespace(x).all(x, axis=axis, keepdims=keepdims), None


@op
def any(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> tuple[Array, None]:
    """Whether any element along ``axis`` is true."""
    return array_namespace(x).any(x, axis=axis, keepdims=keepdims), None
