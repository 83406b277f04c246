from __future__ import annotations

import math

import numpy as np
import pytest
from support import assert_close, host, put

import xnn
import xnn.functional as F


@pytest.mark.parametrize(("dtype", "ulps"), [("float32", 4), ("float64", 4)])
def test_within_a_few_units_in_the_last_place_everywhere(dtype, ulps):
    x = np.concatenate(
        [np.linspace(-12, 12, 200_001), np.logspace(-30, 8, 5_001), -np.logspace(-30, 8, 5_001)]
    )
    x = x.astype(dtype)
    want = np.asarray([math.erf(v) for v in x.tolist()])
    got = F.erf(x)
    assert got.dtype == dtype
    error = np.abs(got - want) / np.spacing(np.abs(want).astype(dtype))
    assert error.max() <= ulps, x[error.argmax()]
    assert np.abs(got).max() == 1


def test_special_values(device):
    x = put(device, [0.0, np.inf, -np.inf, np.nan, 1e30, -1e30], "float32")
    assert_close(F.erf(x), np.asarray([0, 1, -1, np.nan, 1, -1], dtype="float32"), device=device)
    _, backward = F.erf.vjp(x)
    want = np.asarray([2 / math.sqrt(math.pi), 0, 0, np.nan, 0, 0], dtype="float32")
    assert_close(backward(put(device, np.ones(6), "float32")), want, device=device)


def test_half_precision_is_computed_in_float32():
    x = np.linspace(-5, 5, 1001).astype("float16")
    want = np.asarray([math.erf(v) for v in x.tolist()]).astype("float16")
    got = F.erf(x)
    assert got.dtype == np.float16
    np.testing.assert_allclose(host(got), want, rtol=1e-3)


def test_gradient(device, rng):
    xnn.gradcheck(F.erf, put(device, rng.standard_normal((3, 4)) * 2))


def test_integers_are_refused():
    with pytest.raises(TypeError, match="erf: expected a real floating-point dtype, got int64"):
        F.erf(np.asarray([1, 2]))
