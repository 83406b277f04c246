"""Checks that operations share, each with an error that names the operation, what it expected and what came."""

from __future__ import annotations

from xnn.backends.namespaces import Array, array_namespace, dtype_name

REDUCTIONS = ("mean", "sum", "none")


def check_floating(name: str, x: Array) -> None:
    """Raise TypeError unless ``x`` is real floating-point."""
    if not array_namespace(x).isdtype(x.dtype, "real floating"):
        raise TypeError(f"{name}: expected a real floating-point dtype, got {dtype_name(x.dtype)}")


def check_same_shape(name: str, what: str, x: Array, other: str, y: Array) -> None:
    """Raise ValueError unless both have one shape: losses do not broadcast, since that hides mistakes."""
    if x.shape != y.shape:
        raise ValueError(f"{name}: expected {what} and {other} of one shape, got {tuple(x.shape)} and {tuple(y.shape)}")


def check_reduction(name: str, reduction: str) -> None:
    """Raise ValueError for an unknown reduction."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: expected reduction 'mean', 'sum' or 'none', got {reduction!r}")
