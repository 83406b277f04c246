"""Layer normalisation layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnn import functional as F
from xnn import init
from xnn._whole import whole
from xnn.backends import DeviceLike
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter


class LayerNorm(Module):
    """y = γ (x - μ) / √(σ² + ε) + β, with mean and variance over the last dimensions.

    See `xnn.functional.layer_norm`.

    Args:
        normalized_shape: the lengths of the last dimensions; an integer means one.
        eps: ε, added to the variance.
        elementwise_affine: whether there are γ and β.
        bias: whether there is a β.
        device, dtype: of the parameters.

    Parameters:
        weight: γ, shape ``normalized_shape``, at first 1.
        bias: β, shape ``normalized_shape``, at first 0.

    >>> layer = xnn.nn.LayerNorm(3)
    >>> {name: value.shape for name, value in layer.state_dict().items()}
    {'weight': (3,), 'bias': (3,)}
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: DeviceLike = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        sizes = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        shape = tuple(whole(n) for n in sizes)
        if not shape or min(shape) < 1:
            raise ValueError(
                f"LayerNorm: expected positive integers for normalized_shape, got {normalized_shape!r}"
            )
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, there in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            value = Parameter(init.empty(shape, dtype=dtype, device=device)) if there else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start afresh: γ = 1, β = 0."""
        if self.weight is not None:
            init.constant_(self.weight, 1.0)
        if self.bias is not None:
            init.constant_(self.bias, 0.0)

    def forward(self, x: Any) -> Any:
        """Shape (..., *normalized_shape)."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
