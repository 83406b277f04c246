"""Launches the kernels of layer_norm.cu and rms_norm.cu, which have the same form. Strategy: row_norm.cuh."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from xnn.backends.cupy.kernels._rows import MAX_COLUMNS, Rows
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, sample

VECTOR_BYTES = 16
TILE_BYTES = 32 * VECTOR_BYTES  # of a row, for one warp

_BY_LANES = 2 * TILE_BYTES  # a row: one or two vectors for each lane
_BY_WARP = 8 * TILE_BYTES
_BACKWARD_BY_LANES = TILE_BYTES
_BLOCK_SIZES = (128, 256, 512, 1024)
_REGISTERS = 80  # of a thread of the backward kernels, at the most
_ROWS_WORTH_A_BLOCK = 8  # a block leaves a row of sums behind
_PART_ROWS = 64


def begins_at_vector(*arrays: Array | None) -> bool:
    """Whether all arrays begin at a multiple of 16 bytes."""
    return all(a is None or _address(a) % VECTOR_BYTES == 0 for a in arrays)


def _address(array: Array) -> int:
    ctypes = getattr(array, "ctypes", None)  # the emulated device's arrays have it, CuPy's do not
    return int(array.data.ptr if ctypes is None else ctypes.data)


def processors(array: Array) -> int:
    """How many multiprocessors the device has: of blocks that stay for many rows, no more are started than fit."""
    index = getattr(array.device, "id", None)
    return 4 if index is None else _processors(index)


@functools.cache
def _processors(index: int) -> int:
    import cupy

    return int(cupy.cuda.Device(index).attributes["MultiProcessorCount"])


def shares(rows: int, most: int) -> tuple[int, int]:
    """Even shares of the rows for at most ``most`` blocks: rows of a block, and how many blocks that makes."""
    each = ceil_div(rows, max(1, most))
    return each, ceil_div(rows, each)


def row_norm(
    kernels: KernelFile,
    name: str,
    x: Array,
    normalized_shape: Any,
    parameters: dict[str, Array | None],
    statistics: tuple[str, ...],
    eps: float,
) -> Any:
    """The result, and a function of dy and of whether dx and the parameters' gradients are wanted; or NotImplemented.

    Args:
        kernels: the file with the kernels.
        name: the beginning of their names.
        x: rows, of the shape that the operation takes.
        normalized_shape: as the operation takes it.
        parameters: weight, and bias if the kernels know one.
        statistics: names of what the forward kernel keeps of each row.
        eps: added to the mean of the squares.
    """
    over = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    d = math.prod(over)
    if (
        not over
        or tuple(x.shape[-len(over) :]) != over
        or x.size == 0
        or d > MAX_COLUMNS
        or x.size // d >= 2**31
        or any(p is not None and (tuple(p.shape) != over or p.dtype != x.dtype) for p in parameters.values())
    ):
        return NotImplemented
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x)
    rows = Rows(x.size // d, d, x.dtype.itemsize)
    parameters = {what: None if p is None else xp.ascontiguousarray(p) for what, p in parameters.items()}
    y = xp.empty_like(x)
    accumulator = xp.float64 if x.dtype == xp.float64 else xp.float32
    kept = {what: xp.empty((rows.rows,), dtype=accumulator, device=x.device) for what in statistics}
    numbers: dict[str, Any] = {"rows": rows.rows, "columns": d}
    _forward(kernels, name, rows, {"x": x, "y": y, **parameters, **kept}, {**numbers, "eps": float(eps)})

    def backward(dy: Array, with_dx: bool, with_parameters: bool) -> tuple[Array | None, list[Array | None]]:
        """dx, and the gradients in the order of ``parameters``."""
        dy = xp.ascontiguousarray(dy)
        dx = xp.empty_like(x) if with_dx else None
        arrays = {"x": x, "dy": dy, "weight": parameters["weight"], "dx": dx, **kept}
        size = d * rows.itemsize
        held = size <= kernels.constants["HELD_THREADS"] * VECTOR_BYTES and _fits(rows, *arrays.values())
        partial = None
        if held:
            if size <= _BACKWARD_BY_LANES:
                threads = kernels.constants["THREADS"]
                rows_at_once = threads // rows.lanes
                numbers["lanes"] = rows.lanes
                launch = kernels[f"{name}_backward_by_lanes"]
            else:
                threads, rows_at_once = 32 * ceil_div(size, TILE_BYTES), 1
                launch = kernels[f"{name}_backward_by_block"]
            resident = processors(x) * max(1, 65536 // _REGISTERS // threads)
            steps = ceil_div(rows.rows, rows_at_once)
            _, blocks = shares(steps, min(resident, max(processors(x), steps // _ROWS_WORTH_A_BLOCK)))
            partial = sums_of(blocks) if with_parameters else None
            launch((blocks,), (threads,), **arrays, **numbers, partial=partial, blocks=blocks)
            numbers.pop("lanes", None)
        else:
            if with_dx:
                _any(kernels, f"{name}_backward", rows, arrays, numbers)
            if with_parameters:
                tiles = ceil_div(size, TILE_BYTES)
                most = min(4 * processors(x) // tiles, ceil_div(rows.rows, _PART_ROWS), 65535)
                part_rows, blocks = shares(rows.rows, most)
                partial = sums_of(blocks)
                kernels[f"{name}_columns"](
                    (tiles, blocks), (kernels.constants["TILE_THREADS"],), x=x, dy=dy, **kept, **numbers,
                    partial=partial, part_rows=part_rows, blocks=blocks,
                )  # fmt: skip
        if partial is None:
            return dx, [None] * len(parameters)
        gradients = {f"d{what}": xp.empty(over, dtype=x.dtype, device=x.device) for what in parameters}
        kernels[f"{name}_total"](
            (ceil_div(d, 32), len(parameters)),
            (32, 32),
            **gradients,
            partial=partial,
            blocks=blocks,
            columns=d,
        )
        return dx, list(gradients.values())

    def sums_of(blocks: int) -> Array:
        return xp.empty((len(parameters) * blocks * d,), dtype=accumulator, device=x.device)

    return y, backward


def _fits(rows: Rows, *arrays: Array | None) -> bool:
    """Whether every row of every array begins at a multiple of 16 bytes."""
    return rows.columns * rows.itemsize % VECTOR_BYTES == 0 and begins_at_vector(*arrays)


def _forward(
    kernels: KernelFile, name: str, rows: Rows, arrays: dict[str, Any], numbers: dict[str, Any]
) -> None:
    size = rows.columns * rows.itemsize
    threads = kernels.constants["THREADS"]
    held = VECTOR_BYTES * kernels.constants["BLOCK_PACKS"]  # bytes that a thread of a block holds
    if size > held * _BLOCK_SIZES[-1] or not _fits(rows, *arrays.values()):
        _any(kernels, name, rows, arrays, numbers)
    elif size <= _BY_LANES:
        kernels[f"{name}_by_lanes"](
            (rows.blocks(threads),), (threads,), **arrays, **numbers, lanes=rows.lanes,
            packs=ceil_div(size, TILE_BYTES),
        )  # fmt: skip
    elif size <= _BY_WARP:
        kernels[f"{name}_by_warp"](
            (rows.blocks(threads),), (threads,), **arrays, **numbers, packs=ceil_div(size, TILE_BYTES)
        )
    else:
        threads = next(n for n in _BLOCK_SIZES if size <= n * held)
        kernels[f"{name}_by_block"]((rows.rows,), (threads,), **arrays, **numbers)


def _any(kernels: KernelFile, name: str, rows: Rows, arrays: dict[str, Any], numbers: dict[str, Any]) -> None:
    if rows.short:
        threads = kernels.constants["THREADS"]
        kernels[f"{name}_any_by_lanes"](
            (rows.blocks(threads),), (threads,), **arrays, **numbers, lanes=rows.lanes
        )
    else:
        kernels[f"{name}_any_by_block"]((rows.rows,), (rows.threads,), **arrays, **numbers)


def cases(parameters: int, forward: int, backward: int) -> list[Case]:
    """Sizes from a small layer's to what no cache holds.

    Args:
        parameters: of the operation.
        forward: arithmetic operations for each element.
        backward: the same, of the gradients.
    """

    def case(rows: int, columns: int) -> Case:
        def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
            of_columns = [sample(device, dtype, (columns,)) for _ in range(parameters)]
            return (sample(device, dtype, (rows, columns)), columns, *of_columns), {}

        n = rows * columns
        return Case(
            f"{rows} x {columns}",
            make,
            lambda itemsize: Work((2 * n + parameters * columns) * itemsize, forward * n),
            lambda itemsize: Work((3 * n + (1 + parameters) * columns) * itemsize, backward * n),
        )

    shapes = (
        (1_000, 256),
        (500_000, 64),
        (65_536, 768),
        (16_384, 1_024),
        (16_384, 4_096),
        (4_096, 16_384),
        (512, 131_072),
    )
    return [case(*shape) for shape in shapes]


Gradients = Callable[[Array, bool, bool], tuple[Array | None, list[Array | None]]]
