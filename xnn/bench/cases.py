"""What is measured: every operation that has a kernel, at the kernel's own cases, and a few that have none."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from xnn import functional
from xnn.backends.registry import KERNELS, Case, Registered, Work, load
from xnn.bench.inputs import random_array

__all__ = ["Subject", "choose", "subjects"]


class Subject(NamedTuple):
    """An operation to measure.

    Attributes:
        name: of the operation.
        operation: an `xnn.autodiff.Op` or an `xnn.optim.Rule`.
        kernels: what was registered for it, for all backends.
        cases: the sizes.
    """

    name: str
    operation: Any
    kernels: tuple[Registered, ...]
    cases: tuple[Case, ...]

    @property
    def is_rule(self) -> bool:
        """Whether it is the update of an optimizer, which has no backward."""
        return hasattr(self.operation, "update_group")

    def kernel(self, backend: str, dtype: str) -> Registered | None:
        """The kernel of a backend for a dtype."""
        fitting = [k for k in self.kernels if k.backend == backend and dtype in k.dtypes]
        return fitting[-1] if fitting else None


def subjects() -> list[Subject]:
    """Everything that can be measured, sorted by name."""
    load("cupy")  # imports without CuPy too, and has the cases
    found: dict[str, list[Registered]] = {}
    for entry in KERNELS:
        found.setdefault(entry.operation.name, []).append(entry)
    result = {}
    for name, entries in found.items():
        cases = {case.label: case for entry in entries for case in entry.cases}
        if cases:
            result[name] = Subject(name, entries[0].operation, tuple(entries), tuple(cases.values()))
    for operation, cases_of in _without_kernel():
        result.setdefault(operation.name, Subject(operation.name, operation, (), tuple(cases_of)))
    return [result[name] for name in sorted(result)]


def choose(patterns: Sequence[str], among: Sequence[Subject]) -> list[Subject]:
    """Those whose names fit one of the patterns (``soft*``); all if there is none.

    Raises:
        ValueError: a pattern fits nothing.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(s.name, pattern) for s in among):
            known = ", ".join(s.name for s in among)
            raise ValueError(f"bench: expected names of operations, got {pattern!r}; there are {known}")
    if not patterns:
        return list(among)
    return [s for s in among if any(fnmatch.fnmatchcase(s.name, p) for p in patterns)]


def _elementwise(shape: tuple[int, ...], forward: int, backward: int, arrays: int = 1) -> Case:
    """An operation of ``arrays`` arrays, element by element: each is read, and one result is written; then the result's
    gradient and the inputs are read and as many gradients are written."""

    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(random_array(device, shape, dtype, seed) for seed in range(arrays)), {}

    n = math.prod(shape)
    return Case(
        " x ".join(map(str, shape)),
        make,
        lambda itemsize: Work((arrays + 1) * n * itemsize, forward * n),
        lambda itemsize: Work((1 + 2 * arrays) * n * itemsize, backward * n),
    )


def _loss(shape: tuple[int, ...], forward: int, backward: int) -> Case:
    """The mean over all elements of a loss of two arrays: the result is one number. Backward needs no more than the
    difference of the two, and writes two gradients."""
    like = _elementwise(shape, forward, backward, arrays=2)
    n = math.prod(shape)
    return like._replace(
        forward=lambda itemsize: Work(2 * n * itemsize, forward * n),
        backward=lambda itemsize: Work(3 * n * itemsize, backward * n),
    )


def _linear(rows: int, n_in: int, n_out: int) -> Case:
    """Y = X Wᵀ + b. Backward: dX = dY W and dW = dYᵀ X, two products of the same size, and db."""

    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shapes = ((rows, n_in), (n_out, n_in), (n_out,))
        return tuple(random_array(device, shape, dtype, seed) for seed, shape in enumerate(shapes)), {}

    x, w, y = rows * n_in, n_in * n_out, rows * n_out
    return Case(
        f"{rows} x {n_in} -> {n_out}",
        make,
        lambda itemsize: Work((x + w + n_out + y) * itemsize, 2 * rows * w + y),
        lambda itemsize: Work((y + 2 * x + 2 * w + n_out) * itemsize, 4 * rows * w + y),
    )


def _layer_norm(rows: int, columns: int) -> Case:
    """Per element: two sums, subtract, square, scale, multiply, add; then two sums of products and four more."""

    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, weight, bias = (
            random_array(device, s, dtype, i) for i, s in enumerate(((rows, columns), (columns,), (columns,)))
        )
        return (x, (columns,), weight, bias), {}

    n = rows * columns
    return Case(
        f"{rows} x {columns}",
        make,
        lambda itemsize: Work((2 * n + 2 * columns) * itemsize, 7 * n),
        lambda itemsize: Work((3 * n + 3 * columns) * itemsize, 10 * n),
    )


def _batch_norm(shape: tuple[int, ...]) -> Case:
    """As layer_norm, over the batch. Reading x once is counted."""

    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        shapes = (shape, shape[1:2], shape[1:2])
        return tuple(random_array(device, s, dtype, i) for i, s in enumerate(shapes)), {}

    n = math.prod(shape)
    return Case(
        " x ".join(map(str, shape)),
        make,
        lambda itemsize: Work(2 * n * itemsize, 7 * n),
        lambda itemsize: Work(3 * n * itemsize, 10 * n),
    )


def _without_kernel() -> list[tuple[Any, list[Case]]]:
    sizes = ((1_024, 1_024), (4_096, 4_096))
    rows = ((65_536, 256), (8_192, 4_096))
    return [
        (
            functional.linear,
            [_linear(64, 784, 128), _linear(1_024, 1_024, 1_024), _linear(8_192, 4_096, 4_096)],
        ),
        # An exponential and the like count as one operation.
        (functional.relu, [_elementwise(s, 1, 2) for s in sizes]),
        (functional.gelu, [_elementwise(s, 5, 8) for s in sizes]),
        (functional.silu, [_elementwise(s, 4, 7) for s in sizes]),
        (functional.mse_loss, [_loss(s, 3, 3) for s in sizes]),
        (functional.layer_norm, [_layer_norm(*s) for s in rows]),
        (
            functional.batch_norm_training,
            [_batch_norm(s) for s in ((8_192, 256), (32, 64, 56, 56), (256, 256, 28, 28))],
        ),
    ]
