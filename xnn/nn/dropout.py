"""Dropout layer."""

from __future__ import annotations

from typing import Any

from xnn import functional as F
from xnn.functional.dropout import check_probability
from xnn.nn.module import Module
from xnn.random import Generator


class Dropout(Module):
    """In training mode, set elements to 0 with probability ``p`` and divide the others by 1 - p; else y = x.

    See `xnn.functional.dropout`.

    Args:
        p: in [0, 1].
        generator: where the masks come from; `xnn.random.default_generator` by default.

    >>> layer = xnn.nn.Dropout(0.5).eval()
    >>> layer(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        super().__init__()
        check_probability("Dropout", p)
        self.p = p
        self.generator = generator

    def forward(self, x: Any) -> Any:
        """Any shape."""
        return F.dropout(x, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
