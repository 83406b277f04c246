import numpy as np
import pytest
from support import assert_close, host, put
from xnn.backends import device_of

import xnn
from xnn.data import transforms
from xnn.random import Generator

N, C, H, W = 6, 3, 5, 7


def images(device, dtype="float32"):
    """Every pixel another number, none of them 0."""
    return put(device, 1 + np.arange(N * C * H * W).reshape(N, C, H, W), dtype)


ALL = [
    transforms.Normalize((1.0, 2.0, 3.0), (2.0, 3.0, 4.0)),
    transforms.RandomCrop(padding=2),
    transforms.RandomCrop((3, 4)),
    transforms.RandomHorizontalFlip(),
    transforms.RandomTranslate((1, 2)),
    transforms.RandomErasing(),
    transforms.RandomErasing(value="random"),
]


def each(transform):
    return type(transform).__name__


@pytest.mark.parametrize("transform", ALL, ids=each)
def test_same_numbers_everywhere_and_each_time(device, transform):
    expected = transform((images(xnn.device("cpu")), None), Generator(4))[0]
    x = images(device)
    got, rest = transform((x, "untouched"), Generator(4))
    assert rest == "untouched"
    assert_close(got, expected, device=device)
    np.testing.assert_array_equal(host(x), host(images(device)))
    if "Random" in type(transform).__name__:
        assert not np.array_equal(host(got), transform(host(x), Generator(5)))


@pytest.mark.parametrize("transform", ALL, ids=each)
def test_dtype_is_kept(transform):
    for dtype in ("float16", "float64"):
        assert transform(images(xnn.device("cpu"), dtype), Generator(0)).dtype == dtype


def test_normalize():
    x = images(xnn.device("cpu"))
    mean, std = np.float32([1, 2, 3]), np.float32([2, 3, 4])
    want = (x - mean[:, None, None]) / std[:, None, None]
    assert_close(transforms.Normalize([1, 2, 3], [2, 3, 4])(x), want)
    assert_close(transforms.Normalize(0.5, 2.0)(x), (x - np.float32(0.5)) / np.float32(2))
    with pytest.raises(ValueError, match="mean for each of 3 channels or one for all, got 2"):
        transforms.Normalize([1, 2], 1.0)(x)
    with pytest.raises(ValueError, match="std above 0"):
        transforms.Normalize(0.0, 0.0)


def test_flip():
    x = images(xnn.device("cpu"))
    assert_close(transforms.RandomHorizontalFlip(1.0)(x), x[..., ::-1])
    assert_close(transforms.RandomHorizontalFlip(0.0)(x), x)
    many = np.broadcast_to(x[:1], (1000, C, H, W))
    y = transforms.RandomHorizontalFlip(0.3)(many, Generator(0))
    flipped = (y == x[0, :, :, ::-1]).all(axis=(1, 2, 3))
    kept = (y == x[0]).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 250 < flipped.sum() < 350


def shifts_of(y, x, reach, fill=0.0):
    """By how much each image of y is one of x moved, found by trying all."""
    padded = np.pad(x, ((0, 0), (0, 0), (reach[0],) * 2, (reach[1],) * 2), constant_values=fill)
    found = []
    for n in range(len(x)):
        hits = [
            (i, j)
            for i in range(2 * reach[0] + 1)
            for j in range(2 * reach[1] + 1)
            if np.array_equal(y[n], padded[n, :, i : i + x.shape[2], j : j + x.shape[3]])
        ]
        assert len(hits) == 1, "no window of the padded image, or not just one"
        found += hits
    return found


@pytest.mark.parametrize(
    ("transform", "reach"),
    [
        (transforms.RandomTranslate((1, 2), fill=-1.0), (1, 2)),
        (transforms.RandomCrop(padding=(1, 2), fill=-1.0), (1, 2)),
        (transforms.RandomCrop((H, W), padding=2, fill=-1.0), (2, 2)),
    ],
)
def test_every_shift_comes_up_and_no_other(transform, reach):
    x = np.tile(images(xnn.device("cpu")), (60, 1, 1, 1))
    y = transform(x, Generator(1))
    every = (2 * reach[0] + 1) * (2 * reach[1] + 1)
    assert len(set(shifts_of(y, x, reach, -1.0))) == every


def test_crop_without_padding():
    x = images(xnn.device("cpu"))
    y = transforms.RandomCrop((2, 3))(np.tile(x, (50, 1, 1, 1)), Generator(1))
    corners = set()
    for n, window in enumerate(y):
        i, j = divmod(int(window[0, 0, 0]) - 1 - (n % N) * C * H * W, W)
        np.testing.assert_array_equal(window, x[n % N, :, i : i + 2, j : j + 3])
        corners.add((i, j))
    assert len(corners) == 4 * 5
    assert_close(transforms.RandomCrop()(x), x)
    with pytest.raises(ValueError, match="images of at least 6x6 with padding, got 5x7"):
        transforms.RandomCrop(6)(x)
    with pytest.raises(ValueError, match="padding of at least 0"):
        transforms.RandomCrop(padding=-1)


@pytest.mark.parametrize("value", [0.0, (-1.0, -2.0, -3.0)])
def test_erasing(value):
    height = width = 32
    x = np.ones((400, C, height, width), dtype=np.float32)
    y = transforms.RandomErasing(0.5, scale=(0.1, 0.2), ratio=(0.5, 2.0), value=value)(x, Generator(2))
    values = np.broadcast_to(np.float32(value), (C,))
    erased = 0
    for image in y:
        gone = image[0] != 1.0
        if not gone.any():
            np.testing.assert_array_equal(image, 1.0)
            continue
        erased += 1
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert gone.sum() == h * w, "no full rectangle"
        assert 0.09 < h * w / (height * width) < 0.22
        assert 0.45 < h / w < 2.2
        for c in range(C):
            np.testing.assert_array_equal(image[c][gone], values[c])
    assert 160 < erased < 240


def test_erasing_reaches_every_pixel_and_cuts_what_is_too_large():
    x = np.ones((300, 1, 8, 8), dtype=np.float32)
    y = transforms.RandomErasing(1.0, scale=(0.05, 0.3))(x, Generator(2))
    assert (y == 0).any(axis=(0, 1)).all()
    y = transforms.RandomErasing(1.0, scale=(1.0, 1.0), ratio=(9.0, 9.0))(x, Generator(2))
    assert ((y == 0).sum(axis=(1, 2, 3)) == 8 * 3).all()  # 24 x 8/3, cut to 8 rows
    for bad in ({"p": 2.0}, {"scale": (0.5, 0.1)}, {"ratio": (0.0, 1.0)}, {"value": "red"}):
        with pytest.raises(ValueError, match="RandomErasing: expected"):
            transforms.RandomErasing(**bad)


def test_compose_one_hot_and_dicts(device):
    batch = {"x": images(device), "y": put(device, [0, 1, 2, 0, 1, 2], "int64")}
    change = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(1.0, on="x"),
            lambda batch, generator: {**batch, "draw": generator.uniform((1,))},
            transforms.OneHot(3, on="y"),
        ]
    )
    got = change(batch, Generator(0))
    assert_close(got["x"], host(batch["x"])[..., ::-1], device=device)
    assert_close(got["y"], np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]], device=device)
    assert "draw" not in batch
    x, y = transforms.OneHot(3)((batch["x"], batch["y"]))
    assert x is batch["x"]
    assert device_of(y) == device


def test_without_a_generator_the_default_is_drawn_from():
    x = images(xnn.device("cpu"))
    xnn.manual_seed(5)
    first = transforms.RandomTranslate()(x)
    assert not np.array_equal(first, transforms.RandomTranslate()(x))
    xnn.manual_seed(5)
    assert_close(transforms.RandomTranslate()(x), first)


@pytest.mark.parametrize("transform", ALL, ids=each)
def test_what_is_no_batch_of_images(transform):
    for bad in (np.zeros((3, 4, 5), np.float32), np.zeros((2, 3, 8, 8), np.uint8)):
        with pytest.raises(
            ValueError, match=rf"{each(transform)}: expected floating-point images .*got {bad.dtype}"
        ):
            transform(bad, Generator(0))


def test_fields_that_are_not_there():
    x = images(xnn.device("cpu"))
    with pytest.raises(KeyError, match=r"expected a field 0, got \['x'\]"):
        transforms.RandomHorizontalFlip()({"x": x})
    with pytest.raises(IndexError, match="expected a field 1, got 1 fields"):
        transforms.OneHot(3)((x,))
    with pytest.raises(ValueError, match=r"p in \[0, 1\], got -0.5"):
        transforms.RandomHorizontalFlip(-0.5)
