"""Batch normalisation, with the statistics of the batch and with given ones. Strategy and formulas: batch_norm.cu."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from xnn.backends.cupy.kernels._row_norm import shares
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, Namespace, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional.batch_norm import batch_norm, batch_norm_training

kernels = KernelFile("batch_norm")

_VECTOR_BYTES = 16
_TILE_BYTES = 32 * _VECTOR_BYTES  # of a row, for one warp
_KEPT_BYTES = 47 * 1024  # of a channel in shared memory, beside what reductions need there
_NEIGHBOURS = 64  # bytes of a row from which on loads of one channel waste little
_SMALL = 2**20  # bytes of an array that stays in the caches, so that such waste does not matter
_SHORT_ROW = 4096  # bytes that some lanes of a warp take; a whole block takes more
_PART = 32 * 1024  # bytes of a longer row that are one item of work
_COLUMN_ROW = 1024  # bytes of a row up to which the sums run down columns,
_COLUMN_BATCH = 16  # if there are so many samples
_WORTH_A_BLOCK = 32 * 1024  # bytes of a channel
_BLOCKS = 2048  # keep a large GPU busy
_TILES = 1024
_ROWS_OF_A_TILE = 32
_MOST = 2**30


class _Layout(NamedTuple):
    """(N, C, d1 ... dk) as (batch, channels, length), and how its values are shared out. See batch_norm.cu."""

    batch: int
    channels: int
    length: int
    itemsize: int

    @classmethod
    def of(cls, x: Array) -> _Layout | None:
        """None for what the kernels do not cover."""
        if x.ndim < 2 or x.size == 0:
            return None
        layout = cls(x.shape[0], x.shape[1], math.prod(x.shape[2:]), x.dtype.itemsize)
        batch, channels, length, _ = layout
        return layout if max(batch, channels, length, batch * layout.rows["parts"]) <= _MOST else None

    @property
    def row_bytes(self) -> int:
        return self.length * self.itemsize

    @property
    def sizes(self) -> dict[str, Any]:
        return {"batch": self.batch, "channels": self.channels, "length": self.length}

    @property
    def by_columns(self) -> bool:
        """Whether sums run down the columns of a matrix of N rows."""
        return self.channels * self.length <= _MOST and (
            self.length == 1 or (self.row_bytes < _COLUMN_ROW and self.batch >= _COLUMN_BATCH)
        )

    @property
    def columns(self) -> tuple[int, dict[str, Any], int]:
        """Tiles, and the rows of a part for the kernel, and how many parts."""
        tiles = ceil_div(self.channels * self.row_bytes, _TILE_BYTES)
        part_rows, splits = shares(
            self.batch, min(ceil_div(_TILES, tiles), ceil_div(self.batch, _ROWS_OF_A_TILE))
        )
        return tiles, {**self.sizes, "part_rows": part_rows}, splits

    @property
    def rows(self) -> dict[str, Any]:
        """Items of work and how many lanes take one, for the kernels that work along rows."""
        if self.row_bytes <= _SHORT_ROW:
            return {**self.sizes, "parts": 1, "part_length": self.length, "lanes": self.lanes}
        part_length = min(self.length, _PART // self.itemsize)
        lanes = kernels.constants["THREADS"]
        parts = ceil_div(self.length, part_length)
        return {**self.sizes, "parts": parts, "part_length": part_length, "lanes": lanes}

    @property
    def lanes(self) -> int:
        """Lanes of a warp for a short row: a vector each, as far as there are 32."""
        return min(32, 1 << (ceil_div(self.row_bytes, _VECTOR_BYTES) - 1).bit_length())

    def splits(self, parts: int, lanes: int) -> int:
        """How many blocks share the rows of a channel."""
        items_at_once = kernels.constants["THREADS"] // lanes
        return min(
            ceil_div(self.batch * self.row_bytes, _WORTH_A_BLOCK),
            ceil_div(_BLOCKS, self.channels),
            ceil_div(self.batch * parts, items_at_once),
        )

    def kept(self, arrays: int) -> int:
        """Bytes of shared memory for a channel of so many arrays; 0 where it does not fit or would not pay."""
        vector = _VECTOR_BYTES // self.itemsize
        size = arrays * self.batch * (ceil_div(self.length, vector) + 1) * _VECTOR_BYTES
        pays = self.row_bytes >= _NEIGHBOURS or self.batch * self.channels * self.row_bytes <= _SMALL
        return size if pays and size <= _KEPT_BYTES else 0

    @property
    def fused(self) -> tuple[int, int]:
        """Threads of a block for a channel, and how many of them take a row."""
        vectors = self.batch * ceil_div(self.row_bytes, _VECTOR_BYTES)
        most: int = kernels.constants["FUSED_THREADS"]
        threads = next((n for n in (64, 128, 256) if vectors <= n), most)
        return threads, self.lanes if self.row_bytes <= _SHORT_ROW else threads


def _unfit(x: Array, *of_channels: Array | None) -> bool:
    """Whether an array of channels has another shape or dtype than it should: the operation says so."""
    return any(a is not None and (a.shape != x.shape[1:2] or a.dtype != x.dtype) for a in of_channels)


def _accumulator(xp: Namespace, x: Array) -> Any:
    return xp.float64 if x.dtype == xp.float64 else xp.float32


def _apply(layout: _Layout, eps: float, **arrays: Array | None) -> None:
    """y from x and the statistics that are given."""
    given: dict[str, Any] = {
        **dict.fromkeys(("mean", "inv_std", "running_mean", "running_var", "weight", "bias")), **arrays
    }  # fmt: skip
    if layout.by_columns:
        tiles, sizes, splits = layout.columns
        launch, threads = kernels["batch_norm_columns_apply"], kernels.constants["TILE_THREADS"]
        launch((tiles, splits), (threads,), **given, **sizes, eps=eps)
        return
    rows = layout.rows
    splits = layout.splits(rows["parts"], rows["lanes"])
    kernels["batch_norm_rows_apply"](
        (layout.channels * splits,), (kernels.constants["THREADS"],), **given, **rows, splits=splits, eps=eps
    )


def _statistics(xp: Namespace, x: Array, layout: _Layout, eps: float) -> tuple[Array, Array, Array, Array]:
    """Mean and variance as x's dtype, and mean and 1 / √(σ² + ε) as they are computed."""
    mean, var, kept_mean, inv_std = _of_channels(xp, x)
    if layout.by_columns:
        tiles, sizes, splits = layout.columns
        each = layout.length
        partial = _empty(xp, x, 3 * splits * layout.channels * each)
        kernels["batch_norm_columns_statistics"](
            (tiles, splits),
            (kernels.constants["TILE_THREADS"],),
            x=x,
            partial=partial,
            splits=splits,
            **sizes,
        )
    else:
        rows, each = layout.rows, 1
        splits = layout.splits(rows["parts"], rows["lanes"])
        partial = _empty(xp, x, 3 * splits * layout.channels)
        kernels["batch_norm_rows_statistics"](
            (layout.channels * splits,), (kernels.constants["THREADS"],), x=x, partial=partial, splits=splits,
            **rows,
        )  # fmt: skip
    kernels["batch_norm_join"](
        *_join_grid(layout), mean=mean, var=var, partial=partial, kept_mean=kept_mean, inv_std=inv_std, eps=eps,
        channels=layout.channels, splits=splits, each=each,
    )  # fmt: skip
    return mean, var, kept_mean, inv_std


def _sums(
    xp: Namespace,
    x: Array,
    dy: Array,
    layout: _Layout,
    eps: float,
    statistics: dict[str, Any],
    for_gradient: dict[str, Any] | None,
) -> tuple[Array, Array, Array | None]:
    """dweight, dbias and, where weight, dmean and dvar are given for it, what dx is made with."""
    names = ("mean", "inv_std", "running_mean", "running_var")
    given: dict[str, Any] = {"x": x, "dy": dy, **{name: statistics.get(name) for name in names}, "eps": eps}
    if layout.by_columns:
        tiles, sizes, splits = layout.columns
        each = layout.length
        partial = _empty(xp, x, 2 * splits * layout.channels * each)
        launch, threads = kernels["batch_norm_columns_sums"], kernels.constants["TILE_THREADS"]
        launch((tiles, splits), (threads,), **given, partial=partial, splits=splits, **sizes)
    else:
        rows, each = layout.rows, 1
        splits = layout.splits(rows["parts"], rows["lanes"])
        partial = _empty(xp, x, 2 * splits * layout.channels)
        launch, threads = kernels["batch_norm_rows_sums"], kernels.constants["THREADS"]
        launch((layout.channels * splits,), (threads,), **given, partial=partial, splits=splits, **rows)
    dweight, dbias = (xp.empty((layout.channels,), dtype=x.dtype, device=x.device) for _ in range(2))
    coefficients = None if for_gradient is None else _empty(xp, x, 4 * layout.channels)
    kernels["batch_norm_join_sums"](
        *_join_grid(layout), dweight=dweight, dbias=dbias, partial=partial, coefficients=coefficients,
        mean=given["mean"], inv_std=given["inv_std"], count=layout.batch * layout.length,
        channels=layout.channels, splits=splits, each=each,
        **(for_gradient or dict.fromkeys(("weight", "dmean", "dvar"))),
    )  # fmt: skip
    return dweight, dbias, coefficients


def _gradient(layout: _Layout, **arrays: Array) -> None:
    """dx from x, dy and the coefficients of each channel."""
    if layout.by_columns:
        tiles, sizes, splits = layout.columns
        launch, threads = kernels["batch_norm_columns_gradient"], kernels.constants["TILE_THREADS"]
        launch((tiles, splits), (threads,), **arrays, **sizes)
        return
    rows = layout.rows
    splits = layout.splits(rows["parts"], rows["lanes"])
    launch, threads = kernels["batch_norm_rows_gradient"], kernels.constants["THREADS"]
    launch((layout.channels * splits,), (threads,), **arrays, **rows, splits=splits)


def _join_grid(layout: _Layout) -> tuple[tuple[int], tuple[int]]:
    """A warp for each channel."""
    threads: int = kernels.constants["THREADS"]
    return (ceil_div(layout.channels, threads // 32),), (threads,)


def _empty(xp: Namespace, x: Array, size: int) -> Array:
    return xp.empty((size,), dtype=_accumulator(xp, x), device=x.device)


def _of_channels(xp: Namespace, x: Array) -> tuple[Array, Array, Array, Array]:
    channels = x.shape[1]
    mean, var = (xp.empty((channels,), dtype=x.dtype, device=x.device) for _ in range(2))
    return mean, var, _empty(xp, x, channels), _empty(xp, x, channels)


def _cases(training: bool) -> list[Case]:
    def case(*shape: int) -> Case:
        def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
            of_channels = [sample(device, dtype, shape[1:2]) ** 2 for _ in range(2 if training else 4)]
            return (sample(device, dtype, shape), *of_channels), {}

        n, channels = math.prod(shape), shape[1]
        # Mean 1, deviations 3, result 4. Gradients: x_hat 2, two sums 3, dx 5, or 1 with given statistics.
        return Case(
            " x ".join(map(str, shape)),
            make,
            lambda itemsize: Work((2 * n + 4 * channels) * itemsize, (8 if training else 4) * n),
            lambda itemsize: Work((3 * n + 4 * channels) * itemsize, (10 if training else 6) * n),
        )

    shapes = (
        *((128, 512), (4_096, 1_024), (262_144, 256)),
        *((64, 64, 14, 14), (64, 1_024, 14, 14), (256, 2_048, 7, 7), (256, 64, 56, 56), (8, 32, 512, 512)),
    )
    return [case(*shape) for shape in shapes]


@kernel(batch_norm_training, cases=_cases(training=True))
def fused_batch_norm_training(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[tuple[Array, Array, Array], Backward]:
    """Normalise with the statistics of the batch; what is wrong is left to the operation, which says what it is."""
    layout = _Layout.of(x)
    if layout is None or layout.batch * layout.length < 2 or _unfit(x, weight, bias):
        return NotImplemented
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x)
    weight, bias = (None if a is None else xp.ascontiguousarray(a) for a in (weight, bias))
    eps = float(eps)
    y = xp.empty_like(x)
    size = layout.kept(1)
    if size:
        mean, var, kept_mean, inv_std = _of_channels(xp, x)
        threads, lanes = layout.fused
        kernels["batch_norm_fused"](
            (layout.channels,), (threads,), x=x, weight=weight, bias=bias, y=y, mean=mean, var=var,
            kept_mean=kept_mean, inv_std=inv_std, eps=eps, lanes=lanes, shared_memory=size, **layout.sizes,
        )  # fmt: skip
    else:
        mean, var, kept_mean, inv_std = _statistics(xp, x, layout, eps)
        _apply(layout, eps, x=x, y=y, mean=kept_mean, inv_std=inv_std, weight=weight, bias=bias)
    statistics = {"mean": kept_mean, "inv_std": inv_std}

    def backward(dys: tuple[Array, Array, Array], needs: Any = (True, True, True)) -> Any:
        dy, dmean, dvar = (xp.ascontiguousarray(d) for d in dys)
        dx = xp.empty_like(x) if needs[0] else None
        for_gradient: dict[str, Any] = {"weight": weight, "dmean": dmean, "dvar": dvar}
        size = layout.kept(2)
        if size and dx is not None:
            dweight, dbias = (xp.empty((layout.channels,), dtype=x.dtype, device=x.device) for _ in range(2))
            threads, lanes = layout.fused
            kernels["batch_norm_fused_backward"](
                (layout.channels,), (threads,), x=x, dy=dy, dx=dx, dweight=dweight, dbias=dbias, lanes=lanes,
                shared_memory=size, **statistics, **for_gradient, **layout.sizes,
            )  # fmt: skip
        else:
            dweight, dbias, coefficients = _sums(
                xp, x, dy, layout, eps, statistics, None if dx is None else for_gradient
            )
            if dx is not None and coefficients is not None:
                _gradient(layout, x=x, dy=dy, coefficients=coefficients, dx=dx)
        return dx, None if weight is None else dweight, None if bias is None else dbias

    return (y, mean, var), backward


@kernel(batch_norm, cases=_cases(training=False))
def fused_batch_norm(
    x: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """Normalise with given statistics; what is wrong is left to the operation."""
    layout = _Layout.of(x)
    if layout is None or _unfit(x, running_mean, running_var, weight, bias):
        return NotImplemented
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x)
    running_mean, running_var = xp.ascontiguousarray(running_mean), xp.ascontiguousarray(running_var)
    weight, bias = (None if a is None else xp.ascontiguousarray(a) for a in (weight, bias))
    eps = float(eps)
    y = xp.empty_like(x)
    statistics = {"running_mean": running_mean, "running_var": running_var}
    _apply(layout, eps, x=x, y=y, weight=weight, bias=bias, **statistics)

    def backward(dy: Array, needs: Any = (True, False, False, True, True)) -> Any:
        dy = xp.ascontiguousarray(dy)
        dx = dweight = dbias = None
        if needs[0]:
            dx = xp.empty_like(x)
            _apply(layout, eps, x=dy, y=dx, running_var=running_var, weight=weight)
        with_weight, with_bias = (weight is not None and needs[3]), (bias is not None and needs[4])
        if with_weight or with_bias:
            dweight, dbias, _ = _sums(xp, x, dy, layout, eps, statistics, None)
        return dx, None, None, dweight if with_weight else None, dbias if with_bias else None

    return y, backward
