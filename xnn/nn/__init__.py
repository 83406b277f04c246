"""Layers: they hold parameters and state, and call `xnn.functional`."""

from xnn.nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xnn.nn.batch_norm import BatchNorm1d, BatchNorm2d
from xnn.nn.container import Sequential
from xnn.nn.dropout import Dropout
from xnn.nn.embedding import Embedding
from xnn.nn.flatten import Flatten, Unflatten
from xnn.nn.identity import Identity
from xnn.nn.layer_norm import LayerNorm
from xnn.nn.linear import Linear
from xnn.nn.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
    SoftmaxMSELoss,
)
from xnn.nn.module import Module
from xnn.nn.parameter import Parameter
from xnn.nn.rms_norm import RMSNorm

__all__ = [
    "ELU",
    "GELU",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "SoftmaxMSELoss",
    "Softplus",
    "Tanh",
    "Unflatten",
]
