"""Root-mean-square normalisation. Strategy and formulas: row_norm.cuh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnn.backends.cupy.kernels._row_norm import Gradients, cases, row_norm
from xnn.backends.cupy.launch import KernelFile
from xnn.backends.namespaces import Array
from xnn.backends.registry import kernel

from xnn.autodiff import Backward
from xnn.functional.rms_norm import default_eps, rms_norm

kernels = KernelFile("rms_norm")


# Square, add; multiply, scale. Gradients: x_hat, g, the sum 2, dγ 2, dx 4.
@kernel(rms_norm, cases=cases(parameters=1, forward=4, backward=10))
def fused_rms_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
) -> tuple[Array, Backward]:
    """One read and one write of x; what is wrong is left to the operation, which says what it is."""
    eps = default_eps(x) if eps is None else eps
    result = row_norm(kernels, "rms_norm", x, normalized_shape, {"weight": weight}, ("inv_std",), eps)
    if result is NotImplemented:
        return NotImplemented
    y: Array
    gradients: Gradients
    y, gradients = result

    def backward(dy: Array, needs: Any = (True, False, True)) -> Any:
        dx, (dweight,) = gradients(dy, needs[0], weight is not None and needs[2])
        return dx, None, dweight

    return y, backward
