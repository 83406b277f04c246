"""Layers: they hold parameters and state, and call `xnn.functional`."""

from xnn.nn.container import Sequential
from xnn.nn.linear import Linear
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter

__all__ = ["Linear", "Module", "Parameter", "Sequential"]
