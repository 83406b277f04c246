"""Softmax and log-softmax along the last dimension. Strategy and formulas: softmax.cu."""

from __future__ import annotations

from typing import Any

from xnn.backends.cupy.kernels._rows import MAX_COLUMNS, Rows
from xnn.backends.cupy.launch import KernelFile
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional.softmax import log_softmax, softmax

kernels = KernelFile("softmax")

_MAX_KEPT = 48 * 1024  # bytes of a row that a block keeps


def _run(x: Array, dim: int, logarithmic: bool) -> Any:
    if not x.shape or dim not in (-1, x.ndim - 1) or not 0 < x.shape[-1] <= MAX_COLUMNS:
        return NotImplemented
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x)
    rows = Rows.of(x.shape, x.dtype.itemsize)
    _launch("softmax", rows, logarithmic, x=x, y=y)

    def backward(dy: Array) -> Array:
        dx = xp.empty_like(y)
        _launch("softmax_backward", rows, logarithmic, y=y, dy=xp.ascontiguousarray(dy), dx=dx)
        return dx

    return y, backward


def _launch(name: str, rows: Rows, logarithmic: bool, **arrays: Array) -> None:
    numbers: dict[str, Any] = {"rows": rows.rows, "columns": rows.columns, "logarithmic": logarithmic}
    if rows.short:
        threads = kernels.constants["THREADS"]
        launch = kernels[f"{name}_by_lanes"]
        launch((rows.blocks(threads),), (threads,), **arrays, **numbers, lanes=rows.lanes)
        return
    kept = rows.columns * rows.itemsize + 16  # the row may begin anywhere between two vectors
    keeps = kept <= _MAX_KEPT
    kernels[f"{name}_by_block"](
        (min(rows.rows, 2**31 - 1),), (rows.threads,), **arrays, **numbers,
        keeps=keeps, shared_memory=kept if keeps else 0,
    )  # fmt: skip


def _case(rows: int, columns: int) -> Case:
    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (sample(device, dtype, (rows, columns)),), {}

    n = rows * columns
    # Subtract, exponential, add, divide; and of the derivative multiply, add, subtract, multiply.
    return Case(
        f"{rows} x {columns}",
        make,
        lambda itemsize: Work(2 * n * itemsize, 4 * n),
        lambda itemsize: Work(3 * n * itemsize, 4 * n),
    )


CASES = [_case(*shape) for shape in ((1_000_000, 10), (65_536, 512), (16_384, 4_096), (4_096, 50_257))]


@kernel(softmax, cases=CASES)
def fused_softmax(x: Array, dim: int = -1) -> tuple[Array, Backward]:
    """Softmax along the last dimension; others are left to the operation."""
    return _run(x, dim, logarithmic=False)


@kernel(log_softmax, cases=CASES)
def fused_log_softmax(x: Array, dim: int = -1) -> tuple[Array, Backward]:
    """Its logarithm."""
    return _run(x, dim, logarithmic=True)
