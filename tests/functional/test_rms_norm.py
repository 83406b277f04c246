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
    ((3, 1), (1,)),
    ((0, 3), (3,)),
]
loose = {"float32": {"rtol": 1e-4, "atol": 3e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [None, 1e-2])
def test_as_torch_once_and_twice_differentiated(device, rng, affine, dtype, eps):
    for shape, over in SHAPES:
        inputs = [rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, over)][: 1 + affine]
        same_as_torch(
            device,
            lambda x, *w, over=over: F.rms_norm(x, over, *w, eps=eps),
            lambda x, *w, over=over: torch.nn.functional.rms_norm(x, over, *w, eps=eps),
            *inputs,
            dtype=dtype,
            differentiate=range(len(inputs)),
            twice=dtype == "float64" and 0 not in shape,
            **loose[dtype],
        )


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_eps_as_torch(device, dtype):
    """Values so small that y is made by ε alone."""
    x = np.asarray([[1.0, -2.0, 3.0]]) * (1e-5 if dtype == "float32" else 1e-9)
    same_as_torch(
        device,
        lambda x: F.rms_norm(x, 3),
        lambda x: torch.nn.functional.rms_norm(x, (3,)),
        x,
        dtype=dtype,
        **loose[dtype],
    )


@needs_torch
def test_default_eps_of_half_precision_is_that_of_float32():
    x = np.full((1, 4), 1e-4, "float16")
    want = torch.nn.functional.rms_norm(torch.tensor(x), (4,)).numpy()
    np.testing.assert_allclose(F.rms_norm(x, 4), want, rtol=0.1)  # squares of 1e-4 have one bit in float16
    np.testing.assert_allclose(F.rms_norm(x, 4), 0.29, rtol=0.1)


def test_gradient(device, rng):
    x, w = (put(device, rng.standard_normal(s)) for s in [(3, 2, 4), (2, 4)])
    xnn.gradcheck(lambda x, w: F.rms_norm(x, (2, 4), w), x, w)
    xnn.gradcheck(lambda x: F.rms_norm(x, 4), x)


def test_the_scale_of_a_sample_does_not_matter(rng):
    x = rng.standard_normal((3, 8))
    np.testing.assert_allclose(F.rms_norm(1000 * x, 8, eps=0.0), F.rms_norm(x, 8, eps=0.0))
    np.testing.assert_allclose((F.rms_norm(x, 8) ** 2).mean(1), 1.0)


def test_only_what_is_needed_is_computed(rng):
    x, w = rng.standard_normal((2, 3)), rng.standard_normal(3)
    _, backward = F.rms_norm.vjp(x, 3, w)
    assert [g is None for g in backward(x, (True, False, False))] == [False, True, True]
    assert [g is None for g in backward(x, (False, False, True))] == [True, True, False]
    _, backward = F.rms_norm.vjp(x, 3)
    assert [g is None for g in backward(x)] == [False, True, True]


def test_errors():
    x, w = np.ones((2, 3)), np.ones(3)
    with pytest.raises(ValueError, match=r"rms_norm: expected x of shape \(..., 4\), got \(2, 3\)"):
        F.rms_norm(x, 4)
    with pytest.raises(ValueError, match=r"rms_norm: expected x of shape \(..., 1, 2, 3\), got \(2, 3\)"):
        F.rms_norm(x, (1, 2, 3))
    with pytest.raises(ValueError, match="rms_norm: expected x of shape"):
        F.rms_norm(x, ())
    with pytest.raises(ValueError, match=r"rms_norm: expected weight of shape \(3,\), got \(2,\)"):
        F.rms_norm(x, 3, np.ones(2))
    with pytest.raises(TypeError, match="rms_norm: expected x and weight of one floating-point dtype"):
        F.rms_norm(x, 3, w.astype("float32"))
    with pytest.raises(TypeError, match="rms_norm: expected a real floating-point dtype, got int64"):
        F.rms_norm(x.astype("int64"), 3)
