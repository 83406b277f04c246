from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import assert_close, host, needs_torch, put, torch

import xnn
import xnn.functional as F

BOTH = {"softmax": F.softmax, "log_softmax": F.log_softmax}
both = pytest.mark.parametrize("name", BOTH)


@needs_torch
@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_torch_once_and_twice_differentiated(device, rng, name, dtype):
    theirs = getattr(torch.nn.functional, name)
    for shape, dim in [
        ((4, 5), -1),
        ((4, 5), 0),
        ((2, 3, 4), 1),
        ((7,), 0),
        ((3, 1), 1),
        ((0, 3), 1),
        ((), 0),
    ]:
        same_as_torch(
            device,
            lambda x, dim=dim: BOTH[name](x, dim=dim),
            lambda t, dim=dim: theirs(t, dim=dim),
            np.asarray(rng.standard_normal(shape) * 3),
            dtype=dtype,
            twice=0 not in shape and shape != (),
        )


@needs_torch
@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits(device, name, dtype):
    x = np.asarray([[1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4 + 1], [88.0, -88.0, 89.0]])
    theirs = getattr(torch.nn.functional, name)
    same_as_torch(device, BOTH[name], lambda t: theirs(t, dim=-1), x, dtype=dtype)
    masked = np.asarray([[0.0, -np.inf, 1.0]])
    same_as_torch(device, F.softmax, lambda t: torch.softmax(t, -1), masked, dtype=dtype)


@both
def test_gradient(device, rng, name):
    x = put(device, rng.standard_normal((3, 4)) * 2)
    xnn.gradcheck(BOTH[name], x)
    xnn.gradcheck(lambda x: BOTH[name](x, dim=0), x)


def test_sums_to_one(device, rng):
    p = F.softmax(put(device, rng.standard_normal((5, 6)) * 10, "float32"), dim=0)
    np.testing.assert_allclose(host(p).sum(0), np.ones(6), rtol=1e-6)


@both
def test_errors(name):
    with pytest.raises(IndexError, match=rf"{name}: expected a dimension in \[-2, 2\), got 2"):
        BOTH[name](np.ones((2, 3)), dim=2)
    with pytest.raises(TypeError, match=f"{name}: expected a real floating-point dtype, got int64"):
        BOTH[name](np.ones((2, 3), dtype="int64"))


def test_log_softmax_is_the_logarithm(rng):
    x = rng.standard_normal((4, 5))
    assert_close(F.log_softmax(x), np.log(F.softmax(x)))
