"""MNIST, and the two data sets that took over its form: Fashion-MNIST and KMNIST."""

from __future__ import annotations

from typing import Any

from xnn.data.dataset import Dataset, Details, from_images
from xnn.data.download import Archive, File, Folder, cache_folder, fetch
from xnn.data.idx import parse_idx

__all__ = ["fashion_mnist", "kmnist", "mnist"]

_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UNPACKED = (16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000)


def _archives(
    sizes: tuple[int, ...], packed: tuple[str | None, ...], contents: tuple[str | None, ...]
) -> Any:
    rows = zip((*_TRAIN, *_TEST), _UNPACKED, sizes, packed, contents, strict=True)
    return tuple(
        Archive(f"{name}.gz", (File(name, unpacked, inside),), size, outside)
        for name, unpacked, size, outside, inside in rows
    )


_NONE = (None, None, None, None)

# Sizes and SHA-256: training images, training labels, test images, test labels.
MNIST = _archives(
    (9_912_422, 28_881, 1_648_877, 4_542),
    _NONE,
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION_MNIST = _archives(
    (26_421_880, 29_515, 4_422_102, 5_148),
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    _NONE,
)
KMNIST = _archives(
    (18_165_135, 29_497, 3_041_136, 5_120),
    (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
    _NONE,
)

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "http://yann.lecun.com/exdb/mnist",
    ),
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    "kmnist": (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
    ),
}


def mnist(
    *, normalize: bool = False, dtype: Any = "float32", folder: Folder = None, download: bool = True
) -> Dataset:
    """MNIST: handwritten digits, 60,000 to train and 10,000 to test, images (N, 1, 28, 28) in [0, 1]. 12 MB.

    Args:
        normalize: give (x - mean) / std, with the mean and standard deviation of the training part.
        dtype: of the images; "uint8" gives the pixels 0 to 255 as they are.
        folder: where the files are kept; by default in the cache, or where ``XNN_DATA`` points.
        download: whether to download what is not there.

    Raises:
        DownloadError: the files are neither there nor to be had.
    """
    details = Details(
        name="mnist",
        classes=tuple("0123456789"),
        description="70,000 handwritten digits, 28x28 pixels",
        source='Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", '
        "Proceedings of the IEEE 86, 1998",
        licence="CC BY-SA 3.0",
    )
    return _load(details, MNIST, folder, download, normalize, dtype)


def fashion_mnist(
    *, normalize: bool = False, dtype: Any = "float32", folder: Folder = None, download: bool = True
) -> Dataset:
    """Fashion-MNIST: pictures of clothes in the form of MNIST. 31 MB. Arguments as for `mnist`."""
    details = Details(
        name="fashion_mnist",
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        description="70,000 pictures of clothes, 28x28 pixels",
        source='H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine '
        'learning algorithms", arXiv:1708.07747, 2017',
        licence="MIT",
    )
    return _load(details, FASHION_MNIST, folder, download, normalize, dtype)


def kmnist(
    *, normalize: bool = False, dtype: Any = "float32", folder: Folder = None, download: bool = True
) -> Dataset:
    """KMNIST: cursive Japanese characters in the form of MNIST. 21 MB. Arguments as for `mnist`."""
    details = Details(
        name="kmnist",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        description="70,000 cursive Japanese characters, 28x28 pixels",
        source='T. Clanuwat et al., "Deep learning for classical Japanese literature", arXiv:1812.01718, 2018; '
        "KMNIST dataset (created by CODH), adapted from Kuzushiji Dataset (created by NIJL and others), "
        "doi:10.20676/00000341",
        licence="CC BY-SA 4.0",
    )
    return _load(details, KMNIST, folder, download, normalize, dtype)


def _load(
    details: Details,
    archives: tuple[Archive, ...],
    folder: Folder,
    download: bool,
    normalize: bool,
    dtype: Any,
) -> Dataset:
    place = cache_folder(folder, details.name)
    files = fetch(details.name, archives, MIRRORS[details.name], place, download=download)
    train, test = (tuple(parse_idx(files[name], name) for name in names) for names in (_TRAIN, _TEST))
    return from_images(details, train, test, normalize=normalize, dtype=dtype)
