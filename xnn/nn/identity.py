"""The layer that does nothing."""

from __future__ import annotations

from typing import Any

from xnn.nn.module import Module


class Identity(Module):
    """y = x: a placeholder.

    Args:
        args, kwargs: ignored, so that it can stand in for any other layer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """Return ``x`` itself."""
        return x
