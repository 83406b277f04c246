"""Transforms of batches: data augmentation and encoding, for all samples of a batch at once.

A transform is called ``transform(batch, generator)`` by the `DataLoader` and returns a new batch. Those here
change one field of it: the first of a tuple (the inputs), unless ``on`` says otherwise (another position, or
a dict's key). On a plain array they change that. Images are floating-point arrays of shape (N, C, H, W).
Nothing is written into.

What is drawn, is drawn for each sample on its own, so ``transform(batch, generator)`` on N samples costs a
few array operations and no loop over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xnn.backends import device_of
from xnn.backends.namespaces import Array, array_namespace, dtype_name, is_array
from xnn.data.fields import Batch
from xnn.data.one_hot import one_hot
from xnn.random import Generator, default_generator

__all__ = [
    "Compose",
    "Normalize",
    "OneHot",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomTranslate",
    "Transform",
]


class Transform:
    """A transform of one field of a batch. For a new one, write ``apply``.

    Args:
        on: which field: a position in a tuple or a key of a dict.
    """

    def __init__(self, on: int | str = 0) -> None:
        self.on = on

    def apply(self, x: Array, generator: Generator) -> Array:
        """The new value of the field."""
        raise NotImplementedError

    def __call__(self, batch: Batch, generator: Generator | None = None) -> Batch:
        """The batch with the field replaced. Without a generator, `xnn.random.default_generator` is drawn from."""
        source = default_generator if generator is None else generator
        if is_array(batch):
            return self.apply(batch, source)
        if isinstance(batch, Mapping):
            if self.on not in batch:
                raise KeyError(
                    f"{type(self).__name__}: expected a field {self.on!r}, got {list(batch)}; see `on`"
                )
            return {**batch, self.on: self.apply(batch[self.on], source)}
        if not isinstance(self.on, int) or not -len(batch) <= self.on < len(batch):
            raise IndexError(
                f"{type(self).__name__}: expected a field {self.on!r}, got {len(batch)} fields; see `on`"
            )
        fields = list(batch)
        fields[self.on] = self.apply(fields[self.on], source)
        return tuple(fields)


class Compose:
    """One transform after the other. Any function ``f(batch, generator)`` will do."""

    def __init__(self, transforms: Sequence[Callable[[Batch, Generator], Batch]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, batch: Batch, generator: Generator | None = None) -> Batch:
        """All of them, in order."""
        source = default_generator if generator is None else generator
        for transform in self.transforms:
            batch = transform(batch, source)
        return batch


class Normalize(Transform):
    """(x - mean) / std, for each channel.

    Args:
        mean, std: one number for all channels, or one for each.
        on: which field.
    """

    def __init__(
        self, mean: float | Sequence[float], std: float | Sequence[float], on: int | str = 0
    ) -> None:
        super().__init__(on)
        self.mean = _per_channel(mean)
        self.std = _per_channel(std)
        if not all(s > 0 for s in self.std):
            raise ValueError(f"Normalize: expected std above 0, got {std}")

    def apply(self, x: Array, generator: Generator | None = None) -> Array:
        """Normalized images."""
        _check_images("Normalize", x)
        y = x - _channels("Normalize", "mean", self.mean, x)
        y /= _channels("Normalize", "std", self.std, x)
        return y


class RandomHorizontalFlip(Transform):
    """Left and right exchanged, for each image with probability ``p``."""

    def __init__(self, p: float = 0.5, on: int | str = 0) -> None:
        super().__init__(on)
        self.p = _probability("RandomHorizontalFlip", p)

    def apply(self, x: Array, generator: Generator) -> Array:
        """Some images flipped."""
        _check_images("RandomHorizontalFlip", x)
        xp = array_namespace(x)
        n = x.shape[0]
        chosen = generator.uniform((n,), device=device_of(x)) < self.p
        # Whole images from both kinds: on the host half the time of choosing pixel by pixel with xp.where.
        which = xp.arange(n, dtype=xp.int64, device=x.device) + n * xp.astype(chosen, xp.int64)
        return xp.take(xp.concat([x, xp.flip(x, axis=-1)]), which, axis=0)


class RandomCrop(Transform):
    """A window of the image, at a place of its own for each image, uniformly drawn.

    Args:
        size: of the window, (height, width) or one number for both; None for that of the images.
        padding: pixels added on all four sides before, one number or (vertical, horizontal).
        fill: value of the added pixels.
        on: which field.
    """

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        fill: float = 0.0,
        on: int | str = 0,
    ) -> None:
        super().__init__(on)
        self.size = None if size is None else _pair("RandomCrop", "size", size, 1)
        self.padding = _pair("RandomCrop", "padding", padding, 0)
        self.fill = fill

    def apply(self, x: Array, generator: Generator) -> Array:
        """Windows of the images."""
        _check_images("RandomCrop", x)
        x = _pad(x, self.padding, self.fill)
        n, _, height, width = x.shape
        h, w = self.size or (height - 2 * self.padding[0], width - 2 * self.padding[1])
        if h > height or w > width:
            raise ValueError(
                f"RandomCrop: expected images of at least {h}x{w} with padding, got {height}x{width}"
            )
        place = device_of(x)
        top = generator.integers((n,), 0, height - h + 1, device=place)
        left = generator.integers((n,), 0, width - w + 1, device=place)
        return _windows(x, top, left, h, w)


class RandomTranslate(Transform):
    """The image moved by whole pixels, what comes in from outside being ``fill``.

    Args:
        shift: largest distance, one number or (vertical, horizontal): each image moves by a distance of its
            own, uniform among the integers from -shift to shift, in either direction.
        fill: value of the pixels that come in.
        on: which field.
    """

    def __init__(self, shift: int | tuple[int, int] = 2, fill: float = 0.0, on: int | str = 0) -> None:
        super().__init__(on)
        self.shift = _pair("RandomTranslate", "shift", shift, 0)
        self.fill = fill

    def apply(self, x: Array, generator: Generator) -> Array:
        """The images moved."""
        _check_images("RandomTranslate", x)
        n, _, height, width = x.shape
        place = device_of(x)
        top = generator.integers((n,), 0, 2 * self.shift[0] + 1, device=place)
        left = generator.integers((n,), 0, 2 * self.shift[1] + 1, device=place)
        return _windows(_pad(x, self.shift, self.fill), top, left, height, width)


class RandomErasing(Transform):
    """A rectangle at a random place blotted out, in each image with probability ``p``.

    Z. Zhong et al., "Random erasing data augmentation", 2017, algorithm 1: area S and aspect ratio r are
    drawn, the rectangle has height √(S r) and width √(S / r).

    Args:
        p: how often.
        scale: range of the rectangle's share of the image's area.
        ratio: range of height / width, drawn uniformly in the logarithm.
        value: of the pixels there: a number, one per channel, or "random" for standard normal noise.
        on: which field.

    As ``torchvision.transforms.RandomErasing``, but a rectangle that is too high or wide is cut to the
    image's edge instead of being drawn again, and each image has its own.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | Sequence[float] | str = 0.0,
        on: int | str = 0,
    ) -> None:
        super().__init__(on)
        self.p = _probability("RandomErasing", p)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"RandomErasing: expected 0 < scale[0] <= scale[1] <= 1, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomErasing: expected 0 < ratio[0] <= ratio[1], got {ratio}")
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: expected a number, one per channel, or 'random', got {value!r}")
        self.scale = scale
        self.ratio = ratio
        self.value = "random" if isinstance(value, str) else _per_channel(value)

    def apply(self, x: Array, generator: Generator) -> Array:
        """Some images with a rectangle erased."""
        _check_images("RandomErasing", x)
        xp = array_namespace(x)
        place = device_of(x)
        n, _, height, width = x.shape
        shape = (n, 1, 1, 1)
        chosen = generator.uniform(shape, device=place) < self.p
        area = generator.uniform(shape, self.scale[0], self.scale[1], device=place) * float(height * width)
        ratio = xp.exp(generator.uniform(shape, *(math.log(r) for r in self.ratio), device=place))
        h = xp.clip(xp.round(xp.sqrt(area * ratio)), min=1.0, max=float(height))
        w = xp.clip(xp.round(xp.sqrt(area / ratio)), min=1.0, max=float(width))
        top = xp.floor(generator.uniform(shape, device=place) * (float(height) - h + 1.0))
        left = xp.floor(generator.uniform(shape, device=place) * (float(width) - w + 1.0))
        row = xp.reshape(xp.arange(height, dtype=top.dtype, device=x.device), (1, 1, height, 1))
        column = xp.reshape(xp.arange(width, dtype=top.dtype, device=x.device), (1, 1, 1, width))
        inside = (row >= top) & (row < top + h) & (column >= left) & (column < left + w) & chosen
        if isinstance(self.value, str):
            value = generator.normal(x.shape, dtype=x.dtype, device=place)
        else:
            value = _channels("RandomErasing", "value", self.value, x)
        return xp.where(inside, value, x)


class OneHot(Transform):
    """Class indices as one-hot vectors: see `xnn.data.one_hot`. By default of the second field, the targets."""

    def __init__(self, classes: int, dtype: Any = "float32", on: int | str = 1) -> None:
        super().__init__(on)
        self.classes = classes
        self.dtype = dtype

    def apply(self, x: Array, generator: Generator | None = None) -> Array:
        """One-hot vectors, shape (N, classes)."""
        return one_hot(x, self.classes, self.dtype)


def _check_images(name: str, x: Array) -> None:
    if len(x.shape) != 4 or not array_namespace(x).isdtype(x.dtype, "real floating"):
        raise ValueError(
            f"{name}: expected floating-point images of shape (N, C, H, W), "
            f"got {dtype_name(x.dtype)} of shape {tuple(x.shape)}"
        )


def _probability(name: str, p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: expected p in [0, 1], got {p}")
    return p


def _pair(name: str, what: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= least for v in pair):
        raise ValueError(f"{name}: expected {what} of at least {least}, an int or two, got {value!r}")
    return pair


def _per_channel(value: float | Sequence[float]) -> tuple[float, ...]:
    return (float(value),) if isinstance(value, (int, float)) else tuple(map(float, value))


def _channels(name: str, what: str, values: tuple[float, ...], x: Array) -> Array:
    """One value per channel of ``x``, in a shape that broadcasts over the images."""
    if len(values) not in (1, x.shape[1]):
        raise ValueError(
            f"{name}: expected {what} for each of {x.shape[1]} channels or one for all, got {len(values)}"
        )
    xp = array_namespace(x)
    return xp.reshape(xp.asarray(values, dtype=x.dtype, device=x.device), (1, -1, 1, 1))


def _pad(x: Array, padding: tuple[int, int], fill: float) -> Array:
    """Images with pixels of value ``fill`` around them."""
    vertical, horizontal = padding
    if not vertical and not horizontal:
        return x
    xp = array_namespace(x)
    n, c, h, w = x.shape
    padded = xp.full((n, c, h + 2 * vertical, w + 2 * horizontal), fill, dtype=x.dtype, device=x.device)
    padded[:, :, vertical : vertical + h, horizontal : horizontal + w] = x
    return padded


def _windows(x: Array, top: Array, left: Array, h: int, w: int) -> Array:
    """From each image (n, c, :, :) the window of h x w pixels whose corner is at (top_n, left_n).

    By the position of each pixel in the array seen as a row: ((n C + c) H + top_n + i) W + left_n + j.
    """
    xp = array_namespace(x)
    n, c, height, width = x.shape
    image = xp.reshape(xp.arange(n * c, dtype=xp.int64, device=x.device), (n, c, 1, 1)) * (height * width)
    corner = xp.reshape(top * width + left, (n, 1, 1, 1))
    row = xp.reshape(xp.arange(h, dtype=xp.int64, device=x.device), (1, 1, h, 1)) * width
    column = xp.arange(w, dtype=xp.int64, device=x.device)
    position = (image + corner + row) + column
    return xp.reshape(xp.take(xp.reshape(x, (-1,)), xp.reshape(position, (-1,))), (n, c, h, w))
