"""CIFAR-10: small colour photographs."""

from __future__ import annotations

from typing import Any

from xnn.backends import device as find_device
from xnn.backends.namespaces import Array
from xnn.data.dataset import Dataset, Details, from_images
from xnn.data.download import Archive, File, Folder, cache_folder, fetch

__all__ = ["cifar10"]

_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue pixels, row by row
_FILES = (
    *(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
    "cifar-10-batches-bin/test_batch.bin",
)

ARCHIVE = Archive(
    "cifar-10-binary.tar.gz",
    tuple(File(name, 10_000 * _RECORD) for name in _FILES),
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz",
    "https://cave.cs.toronto.edu/kriz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets",
)


def cifar10(
    *,
    normalize: bool = False,
    dtype: Any = "float32",
    folder: Folder = None,
    download: bool = True,
) -> Dataset:
    """CIFAR-10: photographs of ten kinds of things, 50,000 to train and 10,000 to test, (N, 3, 32, 32). 170 MB.

    Arguments and errors as for `xnn.data.mnist`. Read from the binary version of the archive, so that nothing
    has to be unpickled.
    """
    details = Details(
        name="cifar10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        description="60,000 colour photographs, 32x32 pixels",
        source='A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, '
        "University of Toronto, 2009",
        licence="none stated; made for research",
    )
    files = fetch("cifar10", (ARCHIVE,), MIRRORS, cache_folder(folder, "cifar10"), download=download)
    train = _parse(b"".join(files[name] for name in _FILES[:-1]))
    test = _parse(files[_FILES[-1]])
    return from_images(details, train, test, normalize=normalize, dtype=dtype)


def _parse(data: bytes) -> tuple[Array, Array]:
    """Images, uint8 of shape (N, 3, 32, 32), and labels, uint8 of shape (N,)."""
    if not data or len(data) % _RECORD:
        raise ValueError(f"cifar10: expected records of {_RECORD} bytes, got {len(data)} bytes")
    xp = find_device("cpu").xp
    records = xp.reshape(xp.asarray(memoryview(data)), (-1, _RECORD))
    return xp.reshape(records[:, 1:], (-1, 3, 32, 32)), records[:, 0]
