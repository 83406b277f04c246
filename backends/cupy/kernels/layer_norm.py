"""Layer normalisation. Strategy and formulas: row_norm.cuh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnn.backends.cupy.kernels._row_norm import Gradients, cases, row_norm
from xnn.backends.cupy.launch import KernelFile
from xnn.backends.namespaces import Array
from xnn.backends.registry import kernel

from xnn.autodiff import Backward
from xnn.functional.layer_norm import layer_norm

kernels = KernelFile("layer_norm")


# Sum; subtract, square, add; subtract, multiply, scale, shift. Gradients: x_hat 2, g, two sums 3, dγ and dβ 3, dx 5.
@kernel(layer_norm, cases=cases(parameters=2, forward=8, backward=14))
def fused_layer_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """One read and one write of x; what is wrong is left to the operation, which says what it is."""
    parameters = {"weight": weight, "bias": bias}
    result = row_norm(kernels, "layer_norm", x, normalized_shape, parameters, ("mean", "inv_std"), eps)
    if result is NotImplemented:
        return NotImplemented
    y: Array
    gradients: Gradients
    y, gradients = result

    def backward(dy: Array, needs: Any = (True, False, True, True)) -> Any:
        with_weight = weight is not None and needs[2]
        with_bias = bias is not None and needs[3]
        dx, (dweight, dbias) = gradients(dy, needs[0], with_weight or with_bias)
        return dx, None, dweight if with_weight else None, dbias if with_bias else None

    return y, backward
