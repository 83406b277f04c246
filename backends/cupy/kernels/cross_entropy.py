"""Softmax-cross-entropy with class indices. Strategy and formulas: cross_entropy.cu."""

from __future__ import annotations

from typing import Any

from xnn.backends.cupy.kernels._rows import MAX_COLUMNS, Rows
from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.namespaces import Array, array_namespace
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.autodiff import Backward
from xnn.functional._checks import REDUCTIONS
from xnn.functional.cross_entropy import cross_entropy

kernels = KernelFile("cross_entropy")

_MAX_PARTIAL_SUMS = 4096  # blocks whose sums one more block adds up
_ENOUGH_BLOCKS = 512  # keep a large GPU busy
_SMALLEST_PART = 16 * 1024  # bytes of a row that are worth a block of their own
_GRADIENT_PART = 64 * 1024  # and of a row of the gradient, which is nothing but streaming


def _cases() -> list[Case]:
    def case(rows: int, classes: int) -> Case:
        def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
            from xnn.backends import host_random

            target = host_random.integers((0, 1), (rows,), 0, classes)
            return (sample(device, dtype, (rows, classes)), device.asarray(target)), {}

        n = rows * classes
        # Subtract, exponential, add; and of the gradient subtract, exponential, multiply, subtract.
        return Case(
            f"{rows} x {classes}",
            make,
            lambda itemsize: Work(n * itemsize + 8 * rows, 3 * n),
            lambda itemsize: Work(2 * n * itemsize + 8 * rows, 4 * n),
        )

    shapes = (
        (1_000_000, 2),
        (1_000_000, 10),
        (65_536, 1_000),
        (8_192, 50_257),
        (4_096, 128_256),
        (16, 256_000),
    )
    return [case(*shape) for shape in shapes]


@kernel(cross_entropy, cases=_cases())
def fused_cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, Backward]:
    """Class indices; class probabilities and whatever is wrong are left to the operation, which says what it is.

    A target out of range gives NaN as loss and as gradient of its sample: looking would make the host wait.
    """
    shape = tuple(logits.shape)
    class_axis = 1 if len(shape) > 1 else 0
    sample_shape = shape[:class_axis] + shape[class_axis + 1 :]
    if (
        not shape
        or 0 in shape
        or shape[class_axis] > MAX_COLUMNS
        or target.dtype.kind not in "iu"
        or tuple(target.shape) != sample_shape
        or reduction not in REDUCTIONS
        or not 0.0 <= label_smoothing <= 1.0
        or (weight is not None and (weight.dtype != logits.dtype or weight.shape != (shape[class_axis],)))
    ):
        return NotImplemented
    xp = array_namespace(logits)
    # The classes last and everything else in the rows: a copy where they stand in the middle.
    z = xp.ascontiguousarray(xp.moveaxis(logits, class_axis, -1))
    if target.dtype not in (xp.int32, xp.int64):
        target = xp.astype(target, xp.int64)
    accumulator = xp.float64 if z.dtype == xp.float64 else xp.float32
    weight_sum = None
    if weight is not None:
        weight = xp.ascontiguousarray(weight)
        if label_smoothing:
            weight_sum = xp.sum(weight, dtype=accumulator, keepdims=True)

    rows = Rows.of(z.shape, z.dtype.itemsize)
    given = {
        "logits": z,
        "target": xp.ascontiguousarray(target),
        "weight": weight,
        "weight_sum": weight_sum,
        "rows": rows.rows,
        "classes": rows.columns,
        "ignore_index": ignore_index,
        "smoothing": float(label_smoothing),
    }
    given["row_max"] = xp.empty((rows.rows,), dtype=accumulator, device=z.device)
    given["row_sum"] = xp.empty_like(given["row_max"])
    count = None
    if reduction == "none":
        loss = xp.empty(sample_shape, dtype=z.dtype, device=z.device)
        _losses(xp, rows, given, losses=loss, reduced=False)
    else:
        loss = xp.empty((), dtype=z.dtype, device=z.device)
        count = xp.empty((), dtype=accumulator, device=z.device)
        sums = _losses(xp, rows, given, losses=None, reduced=True)
        blocks = sums.size // 2
        threads = 512 if blocks > 256 else 128 if blocks > 32 else 32
        kernels["cross_entropy_total"](
            (1,), (threads,), loss=loss, count=count, block_sums=sums, blocks=blocks, mean=reduction == "mean",
            types=_index_type(given["target"]),
        )  # fmt: skip

    def backward(dy: Array, needs: Any = (True,)) -> Any:
        if not needs[0]:
            return None
        dz = xp.empty_like(z)
        arrays = {
            **given,
            "dy": xp.ascontiguousarray(dy),
            "count": count if reduction == "mean" else None,
            "dlogits": dz,
            "dy_step": 1 if reduction == "none" else 0,
        }
        if rows.short:
            threads = kernels.constants["THREADS"]
            kernels["cross_entropy_backward_by_lanes"](
                (rows.blocks(threads),), (threads,), **arrays, lanes=rows.lanes
            )
        else:
            part = _part_columns(rows, _GRADIENT_PART)
            kernels["cross_entropy_backward_by_block"](
                (min(rows.rows, 2**31 - 1), ceil_div(rows.columns, part)), (256,), **arrays, part_columns=part
            )
        return xp.moveaxis(dz, -1, class_axis)

    return loss, backward


def _losses(xp: Any, rows: Rows, given: dict[str, Any], *, losses: Array | None, reduced: bool) -> Any:
    """Launch what reads the logits. Returns the sums of loss and weight that each block leaves, if they are wanted."""

    def sums_of(blocks: int) -> Any:
        row_max = given["row_max"]
        return xp.empty((2 * blocks,), dtype=row_max.dtype, device=row_max.device) if reduced else None

    if rows.short:
        threads = kernels.constants["THREADS"]
        blocks = rows.blocks(threads, _MAX_PARTIAL_SUMS)
        sums = sums_of(blocks)
        kernels["cross_entropy_by_lanes"](
            (blocks,), (threads,), **given, losses=losses, block_sums=sums, lanes=rows.lanes, blocks=blocks
        )
        return sums
    part = _part_columns(
        rows, max(_SMALLEST_PART, rows.columns * rows.itemsize * rows.rows // _ENOUGH_BLOCKS)
    )
    parts = ceil_div(rows.columns, part)
    if parts == 1:
        blocks = min(rows.rows, _MAX_PARTIAL_SUMS)
        sums = sums_of(blocks)
        kernels["cross_entropy_by_block"](
            (blocks,), (rows.threads,), **given, losses=losses, block_sums=sums, blocks=blocks
        )
        return sums
    partial = xp.empty((3 * rows.rows * parts,), dtype=given["row_max"].dtype, device=given["row_max"].device)
    kernels["cross_entropy_parts"](
        (parts, rows.rows), (256,), logits=given["logits"], weight=given["weight"], sums=partial, rows=rows.rows,
        classes=rows.columns, smooth=given["smoothing"] != 0.0, parts=parts, part_columns=part,
        types=_index_type(given["target"]),
    )  # fmt: skip
    sums = sums_of(rows.rows)
    kernels["cross_entropy_join"](
        (rows.rows,), (32,), **given, losses=losses, sums=partial, block_sums=sums, parts=parts
    )
    return sums


def _part_columns(rows: Rows, size: int) -> int:
    """Columns of a part of about ``size`` bytes: whole vectors."""
    whole = 16 // rows.itemsize
    return min(rows.columns, ceil_div(size, 16) * whole)


def _index_type(target: Array) -> dict[str, str]:
    return {"Index": str(target.dtype)}
