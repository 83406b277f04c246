"""Digits: 1,797 handwritten digits that come with xnn."""

from __future__ import annotations

from importlib import resources
from typing import Any

from xnn.data.dataset import Dataset, Details, from_images
from xnn.data.idx import parse_idx, unzip
from xnn.data.split import split

__all__ = ["digits"]

_DETAILS = Details(
    name="digits",
    classes=tuple("0123456789"),
    description="1,797 handwritten digits, 8x8 pixels",
    source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (its test part), UCI Machine "
    "Learning Repository, 1998, https://doi.org/10.24432/C50P49; as distributed by scikit-learn",
    licence="CC BY 4.0",
    highest=16,
)


def digits(
    *, normalize: bool = False, dtype: Any = "float32", seed: int = 0, test: float | int = 0.25
) -> Dataset:
    """The embedded digits: images (N, 1, 8, 8) in [0, 1], targets 0 to 9. Needs no network.

    Args:
        normalize: give (x - mean) / std, with the mean and standard deviation of the training part.
        dtype: of the images; "uint8" gives the pixels 0 to 16 as they are.
        seed: of the division into training and test part. The default is the one that results are compared
            on.
        test: share (or number of samples) of the test part; each class is divided alike.
    """
    images, labels = (_read(f"digits-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    train, held_out = split((images, labels), test, seed=seed, stratify=labels)
    return from_images(_DETAILS, train, held_out, normalize=normalize, dtype=dtype)


def _read(name: str) -> Any:
    data = resources.files("xnn.data.embedded").joinpath(name).read_bytes()
    return parse_idx(unzip(data, name), name)
