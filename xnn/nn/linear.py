"""Fully connected layer."""

from __future__ import annotations

import math
from typing import Any

from xnn import init
from xnn._whole import whole
from xnn.backends import DeviceLike
from xnn.functional.linear import linear
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter
from xnn.tensor import Tensor


class Linear(Module):
    """Y = X Wᵀ + b. See `xnn.functional.linear`.

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        bias: whether there is a b.
        device, dtype: of the parameters.

    Parameters:
        weight: W, shape (out_features, in_features), at first uniform in ±1/√in_features.
        bias: b, shape (out_features,), at first uniform in ±1/√in_features.

    >>> xnn.nn.Linear(784, 10)(np.zeros((64, 784), dtype="float32")).shape
    (64, 10)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        device: DeviceLike = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        for name, value in (("in_features", in_features), ("out_features", out_features)):
            if whole(value) < 0:
                raise ValueError(f"Linear: expected a non-negative integer for {name}, got {value!r}")
        self.in_features = in_features = whole(in_features)
        self.out_features = out_features = whole(out_features)
        self.weight = Parameter(init.empty((out_features, in_features), dtype=dtype, device=device))
        if bias:
            self.bias: Parameter | None = Parameter(init.empty((out_features,), dtype=dtype, device=device))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters afresh, distributed as in PyTorch."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
