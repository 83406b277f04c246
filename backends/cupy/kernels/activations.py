"""GELU and SiLU, with and without a bias. Strategy and formulas: activations.cu."""

from __future__ import annotations

import math
from typing import Any

from xnn.backends.cupy.kernels._rows import MAX_COLUMNS
from xnn.backends.cupy.kernels._tiles import MAX_TILES, Tiles
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional.activations import gelu, silu
from xnn.functional.bias_activation import bias_gelu, bias_silu

kernels = KernelFile("activations")

_FUNCTIONS = {"none": "GELU", "tanh": "GELU_TANH"}
_ROWS_A_THREAD = 8  # forward
_ENOUGH_BLOCKS = 1024  # backward: more would only leave more sums to add up


def _run(x: Array, function: str) -> tuple[Array, Backward]:
    xp = array_namespace(x)
    x = xp.ascontiguousarray(x)
    y = xp.empty_like(x)
    constants = kernels.constants
    threads = constants["THREADS"]
    grid = (ceil_div(x.size * x.dtype.itemsize, 16 * threads * constants["VECTORS"]),)
    numbers = {"elements": x.size, "function": constants[function]}
    kernels["activation"](grid, (threads,), x=x, y=y, **numbers)

    def backward(dy: Array) -> Array:
        dx = xp.empty_like(x)
        kernels["activation_backward"](grid, (threads,), x=x, dy=xp.ascontiguousarray(dy), dx=dx, **numbers)
        return dx

    return y, backward


def _run_with_bias(x: Array, bias: Array, function: str) -> Any:
    if not x.shape or bias.shape != x.shape[-1:] or bias.dtype != x.dtype or 0 in x.shape:
        return NotImplemented
    columns = x.shape[-1]
    threads = kernels.constants["THREADS"]
    lanes, down, tiles = Tiles.of(columns, x.dtype.itemsize, threads)
    if tiles > MAX_TILES or columns > MAX_COLUMNS:
        return NotImplemented
    xp = array_namespace(x)
    x, bias = xp.ascontiguousarray(x), xp.ascontiguousarray(bias)
    rows = math.prod(x.shape[:-1])
    numbers = {"rows": rows, "columns": columns, "function": kernels.constants[function]}
    y = xp.empty_like(x)
    share = down * _ROWS_A_THREAD
    kernels["bias_activation"](
        (ceil_div(rows, share), tiles), (lanes, down), x=x, bias=bias, y=y, share=share, **numbers
    )

    def backward(dy: Array, needs: Any = (True, True)) -> Any:
        dx = xp.empty_like(x) if needs[0] else None
        dbias = sums = None
        shares = max(1, min(ceil_div(rows, 4 * down), _ENOUGH_BLOCKS // tiles))
        share = ceil_div(rows, shares)
        shares = ceil_div(rows, share)
        if needs[1]:
            dbias = xp.empty_like(bias)
            accumulator = xp.float64 if x.dtype == xp.float64 else xp.float32
            sums = xp.empty((shares, columns), dtype=accumulator, device=x.device)
        kernels["bias_activation_backward"](
            (shares, tiles), (lanes, down), x=x, bias=bias, dy=xp.ascontiguousarray(dy), dx=dx, sums=sums,
            share=share, shares=shares, **numbers,
        )  # fmt: skip
        if needs[1]:
            kernels["bias_activation_total"](
                (ceil_div(columns, 32),), (32, min(32, ceil_div(shares, 4))), dbias=dbias, sums=sums,
                columns=columns, shares=shares,
            )  # fmt: skip
        return dx, dbias

    return y, backward


# Arithmetic by the formulas, each of +, *, e^z and erf counted as one.
def _case(rows: int, columns: int, bias: bool) -> Case:
    def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = sample(device, dtype, (rows, columns))
        return ((x, sample(device, dtype, (columns,))) if bias else (x,)), {}

    n, extra = rows * columns, columns if bias else 0
    return Case(
        f"{rows} x {columns}",
        make,
        lambda itemsize: Work((2 * n + extra) * itemsize, 6 * n),
        lambda itemsize: Work((3 * n + 2 * extra) * itemsize, 12 * n),
    )


_SHAPES = ((1_024, 1_024), (8_192, 3_072), (16_384, 16_384))
CASES = [_case(*shape, bias=False) for shape in _SHAPES]
BIAS_CASES = [_case(*shape, bias=True) for shape in (*_SHAPES, (4_000_000, 10), (32_768, 1_001))]


@kernel(gelu, cases=CASES)
def fused_gelu(x: Array, *, approximate: str = "none") -> tuple[Array, Backward]:
    """Both forms."""
    if approximate not in _FUNCTIONS:
        return NotImplemented
    return _run(x, _FUNCTIONS[approximate])


@kernel(silu, cases=CASES)
def fused_silu(x: Array) -> tuple[Array, Backward]:
    """y and dx."""
    return _run(x, "SILU")


@kernel(bias_gelu, cases=BIAS_CASES)
def fused_bias_gelu(x: Array, bias: Array, *, approximate: str = "none") -> tuple[Array, Backward]:
    """Both forms. Empty arrays are left to the operation, as is what does not fit."""
    if approximate not in _FUNCTIONS:
        return NotImplemented
    return _run_with_bias(x, bias, _FUNCTIONS[approximate])


@kernel(bias_silu, cases=BIAS_CASES)
def fused_bias_silu(x: Array, bias: Array) -> tuple[Array, Backward]:
    """y, dx and db."""
    return _run_with_bias(x, bias, "SILU")
