"""Models that are ready to train."""

from xnn.models.mlp import mlp

__all__ = ["mlp"]
