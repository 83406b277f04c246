from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest
from xnn.backends.cupy.clip import clip_of

CASES = [
    ([-2.0, np.nan, 0.5, np.inf], "float32", -1, 1.0),
    ([-2.0, -0.0, 3.0], "float16", None, 0.0),
    ([-2.0, 3.0], "float64", 0.5, None),
    ([-2.0, 3.0], "float32", None, None),
    ([1, 200, 255], "uint8", 0, 299),
    ([-5, 7], "int64", 0, 3),
    ([[1.0, 2.0], [3.0, 4.0]], "float32", np.asarray([2.0, 3.0]), np.asarray([[2.5], [3.5]])),
    ([], "float32", 0.0, 1.0),
    (3.0, "float32", 0.0, 1.0),
]


@pytest.mark.parametrize(("values", "dtype", "low", "high"), CASES)
def test_as_array_api_compat(values, dtype, low, high):
    x = np.asarray(values, dtype=dtype)
    before = x.copy()
    y = clip_of(xp)(x, low, high)
    want = xp.clip(x, low, high)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, y)


def test_bounds_by_name():
    np.testing.assert_array_equal(clip_of(xp)(np.asarray([-1.0, 2.0]), max=1.0), [-1.0, 1.0])
    np.testing.assert_array_equal(clip_of(xp)(np.asarray([-1.0, 2.0]), min=0.0), [0.0, 2.0])
