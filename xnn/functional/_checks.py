"""Checks that operations share, each with an error that names the operation, what it expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xnn.backends.namespaces import Array, Namespace, dtype_name, has_dtype, reads_are_free

REDUCTIONS = ("mean", "sum", "none")


def check_floating(name: str, x: Array) -> None:
    """Raise TypeError unless ``x`` is real floating-point."""
    if not has_dtype(x, "real floating"):
        raise TypeError(f"{name}: expected a real floating-point dtype, got {dtype_name(x.dtype)}")


def check_same_dtype(name: str, what: str, x: Array, other: str, y: Array) -> None:
    """Raise TypeError unless both are floating-point of one dtype."""
    if x.dtype != y.dtype:
        raise TypeError(
            f"{name}: expected {what} and {other} of one floating-point dtype, "
            f"got {dtype_name(x.dtype)} and {dtype_name(y.dtype)}"
        )
    check_floating(name, x)


def check_same_shape(name: str, what: str, x: Array, other: str, y: Array) -> None:
    """Raise ValueError unless both have one shape: losses do not broadcast, since that hides mistakes."""
    if x.shape != y.shape:
        raise ValueError(
            f"{name}: expected {what} and {other} of one shape, got {tuple(x.shape)} and {tuple(y.shape)}"
        )


def check_broadcasts(name: str, what: str, x: Array, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``x`` can be repeated to ``shape``."""
    given = tuple(x.shape)
    fits = len(given) <= len(shape) and all(
        n in (1, m) for n, m in zip(given[::-1], tuple(shape)[::-1], strict=False)
    )
    if not fits:
        raise ValueError(f"{name}: expected {what} of a shape that broadcasts to {tuple(shape)}, got {given}")


def check_reduction(name: str, reduction: str, known: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise ValueError for an unknown reduction."""
    if reduction not in known:
        *rest, last = map(repr, known)
        raise ValueError(f"{name}: expected reduction {', '.join(rest)} or {last}, got {reduction!r}")


def check_not_empty(name: str, shape: tuple[int, ...], reduction: str) -> None:
    """Raise ValueError if a mean over no elements is asked for."""
    if reduction in ("mean", "batchmean") and 0 in shape:
        raise ValueError(f"{name}: the mean over an empty batch is not defined (shape {tuple(shape)})")


def normalize_dim(name: str, dim: int, ndim: int) -> int:
    """``dim`` counted from the front; raises IndexError if there is no such dimension."""
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"{name}: expected a dimension in [{-ndim}, {ndim}), got {dim}")
    return dim % ndim if ndim else 0


def check_class_indices(
    name: str, xp: Namespace, target: Array, classes: int, ignore_index: int | None
) -> bool:
    """Whether every class index is in [0, C) and none is to be ignored, as far as looking is free.

    Args:
        target: integers, shape (N,) or (N, 1).

    Raises:
        IndexError: an index is neither in [0, C) nor ``ignore_index``. Where looking would make the host wait
            for the device, nothing is looked at and the answer is False.
    """
    if not reads_are_free(target):
        return False
    if 0 in target.shape:
        return True
    low, high = int(xp.min(target)), int(xp.max(target))
    if low >= 0 and high < classes:
        return ignore_index is None or not low <= ignore_index <= high
    wrong = (target < 0) | (target >= classes)
    if ignore_index is not None:
        wrong = wrong & (target != ignore_index)
    if bool(xp.any(wrong)):
        first = int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), target.dtype)))
        ignored = "" if ignore_index is None else f" or ignore_index {ignore_index}"
        raise IndexError(
            f"{name}: expected class indices in [0, {classes}){ignored}, "
            f"got {int(xp.reshape(target, (-1,))[first])} for sample {first}"
        )
    return False


def check_some_weight(name: str, count: Array) -> None:
    """Raise ValueError if the samples of a mean have no weight at all, where looking is free (else it is NaN)."""
    if reads_are_free(count) and not bool(count > 0):
        raise ValueError(f"{name}: the mean is not defined: every sample is ignored or has weight 0")


def reduced(xp: Namespace, loss: Array, reduction: str) -> tuple[Array, Callable[[Any], Any]]:
    """The reduced loss, and what makes of its gradient one that broadcasts to that of each element."""
    if reduction == "none":
        return loss, lambda dy: dy
    if reduction == "sum":
        return xp.sum(loss), lambda dy: dy
    count = math.prod(loss.shape[:1]) if reduction == "batchmean" else math.prod(loss.shape)
    return xp.sum(loss) / count, lambda dy: dy / count
