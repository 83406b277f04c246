"""Layers that join and split dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xnn import functional as F
from xnn.nn.module import Module


class Flatten(Module):
    """Join dimensions into one; by default all but the first: (N, C, H, W) to (N, C H W).

    See `xnn.functional.flatten`.

    Args:
        start_dim: the first dimension to join.
        end_dim: the last one.

    >>> xnn.nn.Flatten()(np.zeros((8, 3, 4, 5))).shape
    (8, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Any:
        """Any shape that has the dimensions."""
        return F.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Both dimensions."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split one dimension into several. See `xnn.functional.unflatten`.

    Args:
        dim: the dimension to split.
        unflattened_size: the lengths of what it becomes; one may be -1.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Any) -> Any:
        """Any shape that has the dimension."""
        return F.unflatten(x, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The dimension and the lengths."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
