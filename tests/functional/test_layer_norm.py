from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import needs_torch, put, torch

import xnn
import xnn.functional as F

SHAPES = [
    ((4, 5), (5,)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), (3, 4)),
    ((5,), (5,)),
    ((2, 3, 4), (2, 3, 4)),
    ((0, 3), (3,)),
]
loose = {"float32": {"rtol": 1e-4, "atol": 3e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
def test_as_torch_once_and_twice_differentiated(device, rng, affine, dtype):
    for shape, over in SHAPES:
        inputs = [rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, over), rng.standard_normal(over)]
        inputs = inputs[: {"both": 3, "weight": 2, "none": 1}[affine]]
        same_as_torch(
            device,
            lambda x, *p, over=over: F.layer_norm(x, over, *p, eps=1e-3),
            lambda x, *p, over=over: torch.nn.functional.layer_norm(x, over, *p, eps=1e-3),
            *inputs,
            dtype=dtype,
            differentiate=range(len(inputs)),
            twice=dtype == "float64" and 0 not in shape,
            **loose[dtype],
        )


@needs_torch
def test_one_feature_and_bias_alone(device, rng):
    same_as_torch(
        device,
        lambda x: F.layer_norm(x, 1),
        lambda x: torch.nn.functional.layer_norm(x, (1,)),
        rng.standard_normal((3, 1)),
    )
    same_as_torch(
        device,
        lambda x, b: F.layer_norm(x, [4], bias=b),
        lambda x, b: torch.nn.functional.layer_norm(x, [4], bias=b),
        rng.standard_normal((3, 4)),
        rng.standard_normal(4),
        differentiate=(0, 1),
    )


def test_gradient(device, rng):
    x, w, b = (put(device, rng.standard_normal(s)) for s in [(3, 2, 4), (2, 4), (2, 4)])
    xnn.gradcheck(lambda x, w, b: F.layer_norm(x, (2, 4), w, b), x, w, b)
    xnn.gradcheck(lambda x: F.layer_norm(x, 4), x)


def test_large_mean_loses_no_digits():
    noise = np.random.default_rng(0).standard_normal((4, 256)).astype("float32")
    x = noise * np.float32(0.1) + np.float32(4096)
    exact = x.astype("float64")
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    # float32 resolves numbers near 4096 to 5e-4, which is 5e-3 standard deviations.
    np.testing.assert_allclose(F.layer_norm(x, 256), exact, atol=1e-2)


def test_only_what_is_needed_is_computed(rng):
    x, w = rng.standard_normal((2, 3)), rng.standard_normal(3)
    _, backward = F.layer_norm.vjp(x, 3, w, w)
    assert [g is None for g in backward(x, (True, False, False, False))] == [False, True, True, True]
    assert [g is None for g in backward(x, (False, False, True, True))] == [True, True, False, False]


def test_errors():
    x, w = np.ones((2, 3)), np.ones(3)
    with pytest.raises(ValueError, match=r"layer_norm: expected x of shape \(..., 4\), got \(2, 3\)"):
        F.layer_norm(x, 4)
    with pytest.raises(ValueError, match=r"layer_norm: expected x of shape \(..., 1, 2, 3\), got \(2, 3\)"):
        F.layer_norm(x, (1, 2, 3))
    with pytest.raises(ValueError, match="layer_norm: expected x of shape"):
        F.layer_norm(x, ())
    with pytest.raises(ValueError, match=r"layer_norm: expected bias of shape \(3,\), got \(2,\)"):
        F.layer_norm(x, 3, w, np.ones(2))
    with pytest.raises(TypeError, match="layer_norm: expected x and weight of one floating-point dtype"):
        F.layer_norm(x, 3, w.astype("float32"))
    with pytest.raises(TypeError, match="layer_norm: expected a real floating-point dtype, got int64"):
        F.layer_norm(x.astype("int64"), 3)
