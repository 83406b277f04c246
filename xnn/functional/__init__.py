"""Neural-network operations, each with its hand-derived backward beside its forward."""

from xnn.functional.activations import relu
from xnn.functional.cross_entropy import cross_entropy
from xnn.functional.linear import linear

__all__ = ["cross_entropy", "linear", "relu"]
