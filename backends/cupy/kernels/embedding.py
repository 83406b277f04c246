"""Embedding. Strategy and formulas: embedding.cu."""

from __future__ import annotations

import math
from typing import Any

from xnn.backends.cupy.kernels._rows import MAX_COLUMNS, Rows
from xnn.backends.cupy.kernels._tiles import MAX_TILES, Tiles
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional.embedding import embedding, normalize_padding_idx

kernels = KernelFile("embedding")


def _case(count: int, rows: int, columns: int) -> Case:
    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        from xnn.backends import host_random

        # Words of a language: the v-th most frequent one comes with a probability of nearly 1 / v.
        u = host_random.uniform((0, 0), (count,), 0.0, math.log(rows), "float64")
        words = math.e**u
        indices = device.asarray((words - 1).clip(0, rows - 1).astype("int64"))
        return (indices, sample(device, dtype, (rows, columns))), {}

    n = count * columns
    return Case(
        f"{count} of {rows} x {columns}",
        make,
        lambda itemsize: Work(2 * n * itemsize + 8 * count, 0),
        lambda itemsize: Work((n + rows * columns) * itemsize + 8 * count, n),
    )


@kernel(
    embedding,
    argument=1,
    cases=[_case(4_096, 1_000, 64), _case(16_384, 50_257, 768), _case(65_536, 128_256, 4_096)],
)
def fused_embedding(
    indices: Array, weight: Array, padding_idx: int | None = None, *, scale_grad_by_freq: bool = False
) -> tuple[Array, Backward]:
    """Any integers. An index out of range gives a row of NaN: looking would make the host wait."""
    if (
        getattr(getattr(indices, "dtype", None), "kind", "") not in "iu"
        or len(weight.shape) != 2
        or 0 in indices.shape
        or 0 in weight.shape
        or weight.shape[1] > MAX_COLUMNS
    ):
        return NotImplemented
    rows, columns = weight.shape
    ignored = normalize_padding_idx("embedding", padding_idx, rows)
    tiles = Tiles.of(columns, weight.dtype.itemsize, kernels.constants["THREADS"])
    if tiles.tiles > MAX_TILES:
        return NotImplemented
    xp = array_namespace(weight)
    weight = xp.ascontiguousarray(weight)
    shape = (*indices.shape, columns)
    flat = xp.reshape(xp.ascontiguousarray(indices), (-1,))
    if flat.dtype not in (xp.int32, xp.int64):
        flat = xp.astype(flat, xp.int64)
    y = xp.empty(shape, dtype=weight.dtype, device=weight.device)
    view = Rows(flat.size, columns, weight.dtype.itemsize)
    threads = kernels.constants["THREADS"]
    kernels["embedding"](
        (view.blocks(threads),), (threads,), indices=flat, weight=weight, y=y, count=flat.size, rows=rows,
        columns=columns, lanes=view.lanes,
    )  # fmt: skip

    def backward(dy: Array, needs: Any = (False, True)) -> Any:
        if not needs[1]:
            return None
        order = xp.argsort(flat, stable=True)
        in_order = xp.take(flat, order, axis=0)
        dweight = xp.zeros((rows, columns), dtype=dy.dtype, device=dy.device)
        accumulator = xp.float64 if dy.dtype == xp.float64 else xp.float32
        chunks = ceil_div(flat.size, kernels.constants["CHUNK"])
        partial = xp.empty((2 * chunks, columns), dtype=accumulator, device=dy.device)
        given = {
            "sorted": in_order,
            "dweight": dweight,
            "partial": partial,
            "count": flat.size,
            "rows": rows,
            "columns": columns,
            "chunks": chunks,
            "padding_idx": -1 if ignored is None else ignored,
            "by_frequency": scale_grad_by_freq,
        }
        lanes, down, across = tiles
        kernels["embedding_backward"](
            (ceil_div(chunks, down), across), (lanes, down), order=order, dy=xp.ascontiguousarray(dy), **given
        )
        if chunks > 1:
            down = kernels.constants["JOIN_THREADS"] // lanes
            kernels["embedding_join"]((chunks, across), (lanes, down), **given, types={"T": str(dy.dtype)})
        return None, dweight

    return y, backward
