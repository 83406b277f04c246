import numpy as np
import pytest
from support import assert_close, host, put

from xnn.data import Samples, Standardize, one_hot, split, standardize


def test_every_sample_is_in_one_part_and_pairs_stay_together(device):
    x = put(device, np.arange(40).reshape(20, 2), "float32")
    y = put(device, np.arange(20), "int64")
    rest, part = split((x, y), 0.25, seed=1)
    assert (rest[0].shape, part[0].shape) == ((15, 2), (5, 2))
    together = np.concatenate([host(rest[1]), host(part[1])])
    assert sorted(together.tolist()) == list(range(20))
    for inputs, targets in (rest, part):
        assert_close(
            inputs, np.stack([2 * host(targets), 2 * host(targets) + 1], 1).astype("float32"), device=device
        )


def test_structures():
    x, y = np.arange(10), np.arange(10.0)
    rest, part = split(x, 3)
    assert (rest.shape, part.shape) == ((7,), (3,))
    rest, part = split({"a": x, "b": y}, 3)
    assert set(part) == {"a", "b"}
    rest, part = split(Samples(x, y), 3)
    assert isinstance(rest, Samples)
    assert part.targets.shape == (3,)


def test_order_is_kept_and_the_seed_decides():
    x = np.arange(100)
    rest, part = split(x, 0.3, seed=5)
    assert (np.diff(part) > 0).all()
    assert (np.diff(rest) > 0).all()
    np.testing.assert_array_equal(part, split(x, 0.3, seed=5)[1])
    assert not np.array_equal(part, split(x, 0.3, seed=6)[1])


def test_stratified(rng):
    labels = rng.permutation(np.repeat([7, -1, 3, 0], [50, 30, 19, 1]))
    rest, part = split(labels, 0.2, stratify=labels)
    assert part.shape == (20,)
    counts = {c: int((part == c).sum()) for c in (7, -1, 3, 0)}
    assert counts == {7: 10, -1: 6, 3: 4, 0: 0}  # 3.8 loses most by rounding down
    assert rest.shape == (80,)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 0, 10, 0.01, 1.5])
def test_fractions_that_leave_nothing(fraction):
    with pytest.raises(ValueError, match="split: expected a fraction in"):
        split(np.arange(10), fraction)


def test_errors():
    with pytest.raises(ValueError, match=r"split: .* got 10 in data\[0\] and 9 in data\[1\]"):
        split((np.arange(10), np.arange(9)), 2)
    with pytest.raises(
        ValueError, match=r"stratify to hold integers of shape \(10,\), got float64 of shape \(10,\)"
    ):
        split(np.arange(10), 2, stratify=np.arange(10.0))


def test_one_hot(device):
    y = put(device, [[0, 2], [1, 1]], "int32")
    expected = np.eye(3, dtype=np.float32)[host(y)]
    assert_close(one_hot(y, 3), expected, device=device)
    assert_close(one_hot(y, 3, dtype="float64"), expected.astype(np.float64), device=device)
    with pytest.raises(TypeError, match="one_hot: expected integers, got float32"):
        one_hot(put(device, [0.0], "float32"), 3)


def test_one_hot_out_of_range():
    with pytest.raises(IndexError, match=r"expected indices in \[0, 2\), got 0 to 2"):
        one_hot(np.asarray([0, 2]), 2)
    with pytest.raises(IndexError, match="got -1 to 0"):
        one_hot(np.asarray([0, -1]), 2)
    with pytest.raises(ValueError, match="at least one class, got 0"):
        one_hot(np.asarray([0]), 0)
    assert one_hot(np.zeros((0,), dtype=int), 4).shape == (0, 4)


def test_standardize(device, rng):
    train = 5.0 + 3.0 * rng.standard_normal((50, 4))
    train[:, 2] = 0.1  # does not vary
    other = rng.standard_normal((7, 4))
    scale = Standardize.fit(put(device, train))
    std = np.where(np.arange(4) == 2, 1.0, train.std(0))
    assert_close(scale(put(device, other)), (other - train.mean(0)) / std, device=device)
    assert_close(scale.inverse(scale(put(device, other))), other, rtol=1e-10)
    z, w = standardize(put(device, train), put(device, other))
    assert_close(w, (other - train.mean(0)) / std)
    np.testing.assert_allclose(host(z).std(0), [1, 1, 0, 1], atol=1e-12)


def test_standardize_channels_and_large_means(rng):
    x = (1e4 + rng.standard_normal((20, 3, 5, 5))).astype(np.float32)
    z = Standardize.fit(x, axis=(0, 2, 3))(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.std(axis=(0, 2, 3)), 1.0, rtol=1e-3)


def test_standardize_errors():
    with pytest.raises(TypeError, match="real floating-point dtype, got int64"):
        Standardize.fit(np.arange(3))
    with pytest.raises(ValueError, match="at least one sample"):
        Standardize.fit(np.zeros((0, 3)))
