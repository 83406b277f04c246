"""Activation functions as layers."""

from __future__ import annotations

from typing import Any

from xnn import functional as F
from xnn.nn.module import Module

__all__ = ["ELU", "GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    """y = max(x, 0). See `xnn.functional.relu`."""

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.relu(x)


class LeakyReLU(Module):
    """y = x where x > 0, else a x. See `xnn.functional.leaky_relu`.

    Args:
        negative_slope: a.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The slope."""
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """y = x where x > 0, else α (eˣ - 1). See `xnn.functional.elu`.

    Args:
        alpha: α.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        """The limit α."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """y = x Φ(x). See `xnn.functional.gelu`.

    Args:
        approximate: "none" or "tanh".
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: expected approximate 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """The formula."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """y = x σ(x). See `xnn.functional.silu`."""

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.silu(x)


class Sigmoid(Module):
    """y = 1 / (1 + e^{-x}). See `xnn.functional.sigmoid`."""

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.sigmoid(x)


class Tanh(Module):
    """y = tanh x. See `xnn.functional.tanh`."""

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.tanh(x)


class Softplus(Module):
    """y = ln(1 + e^{βx}) / β. See `xnn.functional.softplus`.

    Args:
        beta: β.
        threshold: y = x where βx is larger than this.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if beta == 0:
            raise ValueError("Softplus: expected beta other than 0, got 0")
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Both numbers."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """y_i = e^{x_i} / Σ_k e^{x_k} along ``dim``. See `xnn.functional.softmax`.

    Args:
        dim: the dimension whose elements add up to 1. (PyTorch guesses it from the number of dimensions by
            default.)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        """Any shape that has the dimension."""
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """y_i = x_i - ln Σ_k e^{x_k} along ``dim``. See `xnn.functional.log_softmax`.

    Args:
        dim: the dimension whose e^{y} add up to 1. (PyTorch guesses it from the number of dimensions by
            default.)
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Any) -> Any:
        """Any shape that has the dimension."""
        return F.log_softmax(x, self.dim)

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"
