"""Dataset: training and test samples, and what is known about them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, dtype_name

__all__ = ["Dataset", "Samples"]


class Samples(NamedTuple):
    """Inputs and their targets, one per index of the first dimension. A plain tuple of both for everything else."""

    inputs: Array
    targets: Array


@dataclass(frozen=True)
class Dataset:
    """A data set in the memory of the host.

    >>> data = xnn.data.digits()
    >>> loader = xnn.data.DataLoader(data.train, batch_size=64, shuffle=True)
    """

    name: str
    train: Samples = field(repr=False)
    """Inputs, shape (N, C, H, W), and targets, int64 of shape (N,), to learn from."""
    test: Samples = field(repr=False)
    """Inputs and targets to measure the result with."""
    classes: tuple[str, ...]
    """What each target stands for."""
    mean: tuple[float, ...]
    """Mean of each channel over the training inputs, scaled to [0, 1] but not normalized."""
    std: tuple[float, ...]
    """Standard deviation of each channel, likewise."""
    normalized: bool = False
    """Whether the inputs are (x - mean) / std instead of x in [0, 1]."""
    description: str = field(default="", repr=False)
    source: str = field(default="", repr=False)
    """Who made it, where it was published."""
    licence: str = field(default="", repr=False)


class Details(NamedTuple):
    """What is said about a data set and does not depend on how it is loaded."""

    name: str
    classes: tuple[str, ...]
    description: str
    source: str
    licence: str
    highest: int = 255
    """The value of a white pixel: inputs are divided by it."""


def from_images(
    details: Details, train: tuple[Array, Array], test: tuple[Array, Array], *, normalize: bool, dtype: Any
) -> Dataset:
    """A Dataset of images: uint8, shape (N, H, W) or (N, C, H, W), and integer labels, both checked.

    Args:
        details: name, classes and so on.
        train, test: images and labels.
        normalize: subtract the mean and divide by the standard deviation of each channel over the training
            part.
        dtype: floating-point, for values in [0, 1]; or "uint8", for the pixels as they are.
    """
    host = find_device("cpu")
    kind = host.dtype(dtype)
    raw = dtype_name(kind) == "uint8"
    if not raw and not host.xp.isdtype(kind, "real floating"):
        raise TypeError(
            f"{details.name}: expected a floating-point dtype or 'uint8', got {dtype_name(kind)!r}"
        )
    if raw and normalize:
        raise ValueError(
            f"{details.name}: dtype 'uint8' keeps the pixels as they are and cannot be normalized"
        )
    parts = [_check(details, part, *samples) for part, samples in (("training", train), ("test", test))]
    mean, std = _moments(parts[0].inputs, details.highest)
    samples = []
    for images, labels in parts:
        inputs = images if raw else _scale(images, kind, details.highest, (mean, std) if normalize else None)
        samples.append(Samples(inputs, host.asarray(labels, dtype="int64")))
    return Dataset(
        name=details.name,
        train=samples[0],
        test=samples[1],
        classes=details.classes,
        mean=mean,
        std=std,
        normalized=normalize,
        description=details.description,
        source=details.source,
        licence=details.licence,
    )


def _check(details: Details, part: str, images: Array, labels: Array) -> Samples:
    """Images as (N, C, H, W), after a look at whether images and labels belong together."""
    xp = find_device("cpu").xp
    shape = tuple(images.shape)
    if dtype_name(images.dtype) != "uint8" or len(shape) not in (3, 4) or not shape[0]:
        raise ValueError(
            f"{details.name}: expected {part} images, uint8 of shape (N, H, W) or (N, C, H, W), "
            f"got {dtype_name(images.dtype)} of shape {shape}"
        )
    if tuple(labels.shape) != shape[:1]:
        raise ValueError(
            f"{details.name}: expected one label for each of {shape[0]} {part} images, got shape {tuple(labels.shape)}"
        )
    lowest, highest = int(xp.min(labels)), int(xp.max(labels))
    if lowest < 0 or highest >= len(details.classes):
        raise ValueError(
            f"{details.name}: expected {part} labels in [0, {len(details.classes)}), got {lowest} to {highest}"
        )
    return Samples(images if len(shape) == 4 else xp.expand_dims(images, axis=1), labels)


def _moments(images: Array, highest: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, from sums of integers: exact, however many pixels there are."""
    xp = find_device("cpu").xp
    samples, channels, height, width = images.shape
    total, squares = [0] * channels, [0] * channels
    step = max(1, 2**20 // (height * width))  # pixels that stay in the cache
    for start in range(0, samples, step):
        for c in range(channels):
            x = xp.astype(images[start : start + step, c, :, :], xp.uint16)
            total[c] += int(xp.sum(x, dtype=xp.uint64))
            squares[c] += int(xp.sum(x * x, dtype=xp.uint64))  # 255² fits into uint16
    count = samples * height * width
    mean = tuple(s / count / highest for s in total)
    variance = (q * count - s * s for s, q in zip(total, squares, strict=True))
    std = tuple(math.sqrt(v) / count / highest for v in variance)
    return mean, std


def _scale(images: Array, dtype: Any, highest: int, moments: Any) -> Array:
    """Pixels as numbers in [0, 1], or (x - mean) / std of them; at least in float32 until the last step."""
    xp = find_device("cpu").xp
    exact = xp.float64 if dtype == xp.float64 else xp.float32
    x = xp.astype(images, exact)
    x /= highest
    if moments is not None:
        mean, std = (xp.reshape(xp.asarray(m, dtype=exact), (-1, 1, 1)) for m in moments)
        x -= mean
        x /= xp.where(std > 0, std, xp.ones_like(std))
    return xp.astype(x, dtype, copy=False)
