from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, leaf, put

import xnn


@pytest.mark.parametrize("values", [[[3.0, 1.0], [1.0, 3.0], [2.0, 1.0]], [7.0], [], [np.nan, 1.0, np.nan]])
def test_unique(device, values):
    x = np.asarray(values)
    expected = np.unique_all(x)
    for given in (put(device, x), leaf(device, x)):
        found = xnn.unique_all(given)
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs, device=device)
            assert isinstance(ours, xnn.Tensor) == isinstance(given, xnn.Tensor)
        assert_close(xnn.unique_values(given), expected.values)
        assert [a.shape for a in xnn.unique_counts(given)] == [a.shape for a in (found.values, found.counts)]
        assert xnn.unique_inverse(given)._fields == ("values", "inverse_indices")


def test_unique_of_integers(device):
    assert_close(xnn.unique_counts(put(device, [2, 2, -1])).counts, np.asarray([1, 2]), device=device)


def test_gradient_goes_to_the_first_of_equal_elements(device):
    x = leaf(device, [3.0, 1.0, 3.0])
    xnn.unique_values(x).backward(put(device, [10.0, 20.0]))
    assert_close(x.grad, np.asarray([20.0, 10.0, 0.0]), device=device)
