"""EMNIST: handwritten letters and digits."""

from __future__ import annotations

import string
from typing import Any

from xnn.backends.namespaces import Array, array_namespace
from xnn.data.dataset import Dataset, Details, from_images
from xnn.data.download import Archive, File, Folder, cache_folder, fetch
from xnn.data.idx import parse_idx

__all__ = ["emnist"]

ARCHIVE = "gzip.zip"
SIZE = 561_753_746
SHA256: str | None = "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
MIRRORS = (
    "https://biometrics.nist.gov/cs_links/EMNIST",
    "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST",
)

_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # the other small letters look like capitals
CLASSES = {
    "byclass": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": string.ascii_lowercase,
    "digits": string.digits,
    "mnist": string.digits,
}


def emnist(
    split: str = "letters",
    *,
    normalize: bool = False,
    dtype: Any = "float32",
    folder: Folder = None,
    download: bool = True,
) -> Dataset:
    """EMNIST: handwritten characters of NIST's collection in the form of MNIST, (N, 1, 28, 28). 562 MB.

    Args:
        split: which characters: "byclass" (814,255 of 62 classes), "bymerge" (the same in 47 classes: letters
            whose capital looks alike are one), "balanced" (131,600 of 47 classes, equally many of each),
            "letters" (145,600 of 26 classes), "digits" (280,000 of 10 classes), "mnist" (70,000 of 10
            classes).
        normalize, dtype, folder, download: as for `xnn.data.mnist`.

    The files hold the images transposed and the letters counted from 1; here they stand upright and targets
    start at 0 (``torchvision`` has them lying and with an empty class 0).

    Raises:
        ValueError: there is no such split.
        DownloadError: the files are neither there nor to be had.
    """
    if split not in CLASSES:
        raise ValueError(f"emnist: expected split {', '.join(map(repr, CLASSES))}, got {split!r}")
    details = Details(
        name="emnist",
        classes=tuple(CLASSES[split]),
        description=f"handwritten characters, 28x28 pixels, split {split!r}",
        source='G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: an extension of MNIST to handwritten letters", '
        "arXiv:1702.05373, 2017; NIST Special Database 19",
        licence="work of the United States government, free to use (NIST)",
    )
    names = [
        f"gzip/emnist-{split}-{part}-{what}-ubyte.gz"
        for part in ("train", "test")
        for what in ("images-idx3", "labels-idx1")
    ]
    archive = Archive(ARCHIVE, tuple(File(name) for name in names), SIZE, SHA256)
    files = fetch("emnist", (archive,), MIRRORS, cache_folder(folder, "emnist"), download=download)
    arrays = [parse_idx(files[name], name) for name in names]
    first = 1 if split == "letters" else 0
    train, test = ((_upright(arrays[i]), _counted_from(first, arrays[i + 1])) for i in (0, 2))
    return from_images(details, train, test, normalize=normalize, dtype=dtype)


def _upright(images: Array) -> Array:
    if len(images.shape) != 3:
        raise ValueError(f"emnist: expected images of shape (N, H, W), got {tuple(images.shape)}")
    return array_namespace(images).permute_dims(images, (0, 2, 1))


def _counted_from(first: int, labels: Array) -> Array:
    xp = array_namespace(labels)
    return xp.astype(labels, xp.int64) - first
