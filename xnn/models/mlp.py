"""The multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xnn import nn


def mlp(
    input_shape: Sequence[int],
    classes: int,
    *,
    hidden: Sequence[int] = (256, 128),
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Flatten, then fully connected layers with ReLU between them.

    Args:
        input_shape: of one sample, for example (1, 28, 28).
        classes: number of outputs.
        hidden: sizes of the hidden layers; none of them makes softmax regression.
        dropout: probability of dropping an element behind each ReLU.
        batch_norm: normalize before each ReLU. The Linear before it then has no bias, which would have no effect.

    Returns:
        a Sequential that takes (N, *input_shape) and returns logits (N, classes).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(input_shape)
    for width in hidden:
        layers.append(nn.Linear(size, width, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        size = width
    layers.append(nn.Linear(size, classes))
    return nn.Sequential(*layers)
