import subprocess
import sys

import numpy as np
import pytest

from xnn.data import DATASETS, Dataset, digits, load


def test_shapes_dtypes_and_range():
    data = digits()
    assert isinstance(data, Dataset)
    assert data.train.inputs.shape == (1348, 1, 8, 8)
    assert data.test.inputs.shape == (449, 1, 8, 8)
    assert data.train.inputs.dtype == data.test.inputs.dtype == np.float32
    assert data.train.targets.dtype == data.test.targets.dtype == np.int64
    assert data.train.targets.shape == (1348,)
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0.0, 1.0)
    assert data.classes == tuple("0123456789")
    assert "CC BY" in data.licence
    assert "Alpaydin" in data.source


def test_values_are_those_of_scikit_learn():
    datasets = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn, which has the originals, is not installed"
    )
    theirs = datasets.load_digits()
    data = digits(dtype="uint8")
    images = np.concatenate([data.train.inputs, data.test.inputs])[:, 0]
    labels = np.concatenate([data.train.targets, data.test.targets])
    rows = np.concatenate([images.reshape(-1, 64), labels[:, None]], axis=1)
    expected = np.concatenate([theirs.images.reshape(-1, 64), theirs.target[:, None]], axis=1)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_classes_are_divided_alike():
    data = digits(seed=3)
    inside, outside = (np.bincount(part.targets, minlength=10) for part in (data.train, data.test))
    np.testing.assert_allclose(outside / (inside + outside), 0.25, atol=0.006)


def test_the_seed_decides_the_division():
    first, again, other = digits(), digits(seed=0), digits(seed=1)
    np.testing.assert_array_equal(first.test.inputs, again.test.inputs)
    assert not np.array_equal(first.test.inputs, other.test.inputs)
    assert digits(test=100).test.inputs.shape[0] == 100


def test_normalized_on_the_training_part():
    data, plain = digits(normalize=True, dtype="float64"), digits(dtype="float64")
    assert data.normalized
    assert not plain.normalized
    np.testing.assert_allclose(data.train.inputs.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(data.train.inputs.std(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(data.mean, plain.train.inputs.mean())
    np.testing.assert_allclose(data.std, plain.train.inputs.std())
    np.testing.assert_allclose(data.test.inputs, (plain.test.inputs - plain.mean) / plain.std)


def test_dtypes():
    assert digits(dtype="float16").train.inputs.dtype == np.float16
    assert digits(dtype=np.float64).train.inputs.dtype == np.float64
    assert digits(dtype="uint8").train.inputs.max() == 16
    with pytest.raises(ValueError, match="'uint8' keeps the pixels as they are"):
        digits(dtype="uint8", normalize=True)
    with pytest.raises(TypeError, match="digits: expected a floating-point dtype or 'uint8', got 'int32'"):
        digits(dtype="int32")


def test_by_name():
    assert load("digits", seed=2).test.inputs.shape == (449, 1, 8, 8)
    with pytest.raises(ValueError, match=r"expected one of digits, mnist, .*, got 'imagenet'"):
        load("imagenet")
    assert set(DATASETS) == {"digits", "mnist", "fashion_mnist", "kmnist", "emnist", "cifar10"}


def test_nothing_for_downloads_is_imported_before_one():
    code = (
        "import sys, xnn\nassert 'xnn.data' not in sys.modules\nimport xnn.data\nxnn.data.digits()\n"
        "late = {'pooch', 'tqdm', 'requests', 'sklearn'} & set(sys.modules)\nassert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
