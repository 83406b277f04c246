"""Data sets by name, for configuration files and the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xnn.data.cifar10 import cifar10
from xnn.data.dataset import Dataset
from xnn.data.digits import digits
from xnn.data.emnist import emnist
from xnn.data.mnist import fashion_mnist, kmnist, mnist

__all__ = ["DATASETS", "load"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "kmnist": kmnist,
    "emnist": emnist,
    "cifar10": cifar10,
}
"""Every data set's function, by name."""


def load(name: str, **options: Any) -> Dataset:
    """The data set ``name``; options as its function takes them (``load("emnist", split="digits")``).

    Raises:
        ValueError: there is no such data set.
    """
    function = DATASETS.get(name.replace("-", "_").lower())
    if function is None:
        raise ValueError(f"load: expected one of {', '.join(DATASETS)}, got {name!r}")
    return function(**options)
