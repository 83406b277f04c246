"""The norm of all gradients and their scaling by it, which stay on the device. Strategy and formulas: grad_norm.cu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xnn.backends.cupy.launch import KernelFile, ceil_div
from xnn.backends.cupy.source import ACCUMULATORS
from xnn.backends.cupy.tables import Layout
from xnn.backends.namespaces import Array, array_namespace, dtype_name
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.optim.clip_grad import scale_to_norm, total_norm

kernels = KernelFile("grad_norm")

_PART = 16 * 1024  # bytes of a gradient that are worth a block
_MOST_PARTS = 2048  # of about one size; small gradients come in addition
_KINDS = {1.0: "SUM", 2.0: "SQUARES", math.inf: "LARGEST"}


def _cases(passes: int, operations: int, **options: float) -> list[Case]:
    def case(label: str, shapes: Sequence[tuple[int, ...]]) -> Case:
        def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
            grads = [sample(device, dtype, shape) for shape in shapes]
            if passes == 1:
                return tuple(grads), options
            return (device.asarray(2.0, dtype=ACCUMULATORS[dtype]), *grads), options

        n = sum(map(math.prod, shapes))
        return Case(label, make, lambda itemsize: Work(passes * n * itemsize, operations * n))

    perceptron = [(512, 784), (512,), (512, 512), (512,), (10, 512), (10,)]
    convolutions = [
        (2 ** (6 + i // 12), 2 ** (6 + i // 12), 3, 3) if i % 3 else (2 ** (6 + i // 12),) for i in range(48)
    ]
    return [
        case("6 arrays, 0.7 M", perceptron),
        case("48 arrays, 25 M", convolutions),
        case("16 arrays, 268 M", [(4096, 4096)] * 16),
    ]


@kernel(total_norm, cases=_cases(1, 2, p=2.0))
def fused_total_norm(*grads: Array, p: float) -> tuple[Array, None]:
    """The 1-norm, the 2-norm and the largest absolute value; others are left to the operation."""
    kind = _KINDS.get(p)
    if kind is None:
        return NotImplemented
    xp = array_namespace(grads[0])
    dtype, device = grads[0].dtype, grads[0].device
    accumulator = getattr(xp, ACCUMULATORS[dtype_name(dtype)])
    total = xp.empty((), dtype=accumulator, device=device)
    lists = {"grads": [_dense(x) for x in grads]}
    vector = 16 // dtype.itemsize
    part = max(_PART // dtype.itemsize, ceil_div(sum(x.size for x in grads), _MOST_PARTS * vector) * vector)
    layout = Layout(kernels["grad_norm_parts"], lists, min(part, 2**30))
    count, norm = sum(layout.blocks), kernels.constants[kind]
    parts = xp.empty((count,), dtype=accumulator, device=device)
    first = 0
    for table in layout.tables(lists):
        kernels["grad_norm_parts"](
            (table.blocks,), (kernels.constants["THREADS"],), table=table, parts=parts, all_parts=count, first=first,
            norm=norm,
        )  # fmt: skip
        first += table.blocks
    threads = 1024 if count > 256 else 256 if count > 32 else 32
    kernels["grad_norm_total"](
        (1,), (threads,), parts=parts, total=total, all_parts=count, norm=norm, types={"T": dtype_name(dtype)}
    )
    return total, None


@kernel(scale_to_norm, argument=1, cases=_cases(2, 1, max_norm=1.0))
def fused_scale_to_norm(total: Array, *grads: Array, max_norm: float) -> tuple[tuple[Array, ...], None]:
    """All gradients in one launch; the factor is worked out there."""
    xp = array_namespace(total)
    dtype = grads[0].dtype
    if total.size != 1:
        return NotImplemented
    total = xp.astype(total, getattr(xp, ACCUMULATORS[dtype_name(dtype)]), copy=False)
    dense = [_dense(x) for x in grads]
    scaled = [xp.empty_like(x) for x in dense]
    lists = {"grads": dense, "scaled": scaled}
    for table in Layout(kernels["grad_scale"], lists, _PART // dtype.itemsize).tables(lists):
        kernels["grad_scale"](
            (table.blocks,),
            (kernels.constants["THREADS"],),
            table=table,
            total=total,
            max_norm=float(max_norm),
        )
    return tuple([_like(x, y) for x, y in zip(grads, scaled, strict=True)]), None


def _dense(x: Array) -> Array:
    """The elements in the order in which they lie in memory, if they lie there without gaps; else a copy."""
    if x.flags.c_contiguous:
        return x
    return x.T if x.flags.f_contiguous else array_namespace(x).ascontiguousarray(x)


def _like(x: Array, y: Array) -> Array:
    """``y``, made of ``_dense(x)``, in the shape of ``x``."""
    return y.T if x.flags.f_contiguous and not x.flags.c_contiguous else y
