"""Data: sets to learn from, loaders that make batches of them, transforms of batches.

data = xnn.data.digits(normalize=True)
train, validation = xnn.data.split(data.train, 0.1, stratify=data.train.targets)
for x, target in xnn.data.DataLoader(train, batch_size=64, shuffle=True):
    ...
"""

from __future__ import annotations

from xnn.data import transforms
from xnn.data.cifar10 import cifar10
from xnn.data.dataset import Dataset, Samples
from xnn.data.digits import digits
from xnn.data.download import DownloadError
from xnn.data.emnist import emnist
from xnn.data.idx import read_idx, write_idx
from xnn.data.load import DATASETS, load
from xnn.data.loader import DataLoader
from xnn.data.mnist import fashion_mnist, kmnist, mnist
from xnn.data.one_hot import one_hot
from xnn.data.split import split
from xnn.data.standardize import Standardize, standardize

__all__ = [
    "DATASETS",
    "DataLoader",
    "Dataset",
    "DownloadError",
    "Samples",
    "Standardize",
    "cifar10",
    "digits",
    "emnist",
    "fashion_mnist",
    "kmnist",
    "load",
    "mnist",
    "one_hot",
    "read_idx",
    "split",
    "standardize",
    "transforms",
    "write_idx",
]
