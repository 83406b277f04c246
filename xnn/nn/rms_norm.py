"""Root-mean-square normalisation layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnn import functional as F
from xnn import init
from xnn._whole import whole
from xnn.backends import DeviceLike
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter


class RMSNorm(Module):
    """y = γ x / √(1/d Σ x² + ε), with the mean of the squares over the last dimensions.

    See `xnn.functional.rms_norm`.

    Args:
        normalized_shape: the lengths of the last dimensions; an integer means one.
        eps: ε, added to the mean of the squares; None for the machine epsilon of float32 (float64 for float64).
        elementwise_affine: whether there is a γ.
        device, dtype: of the parameter.

    Parameters:
        weight: γ, shape ``normalized_shape``, at first 1.

    >>> layer = xnn.nn.RMSNorm(3)
    >>> {name: value.shape for name, value in layer.state_dict().items()}
    {'weight': (3,)}
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        device: DeviceLike = "cpu",
        dtype: Any = "float32",
    ) -> None:
        super().__init__()
        sizes = tuple(normalized_shape) if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        shape = tuple(whole(n) for n in sizes)
        if not shape or min(shape) < 1:
            raise ValueError(
                f"RMSNorm: expected positive integers for normalized_shape, got {normalized_shape!r}"
            )
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        value = Parameter(init.empty(shape, dtype=dtype, device=device)) if elementwise_affine else None
        self.register_parameter("weight", value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start afresh: γ = 1."""
        if self.weight is not None:
            init.constant_(self.weight, 1.0)

    def forward(self, x: Any) -> Any:
        """Shape (..., *normalized_shape)."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
