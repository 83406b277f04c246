from __future__ import annotations

import math

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import assert_close, host, leaf, needs_torch, put, torch

import xnn
import xnn.functional as F

SHAPES = [(6, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 1, 1), (1, 3, 2), (2, 1)]
loose = {"float32": {"rtol": 1e-4, "atol": 3e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
def test_training_as_torch_once_and_twice_differentiated(device, rng, affine, dtype):
    for shape in SHAPES:
        c = shape[1]
        inputs = [rng.standard_normal(shape) * 2 + 1, rng.uniform(0.5, 2, c), rng.standard_normal(c)]
        inputs = inputs[: {"both": 3, "weight": 2, "none": 1}[affine]]
        same_as_torch(
            device,
            lambda x, *p: F.batch_norm_training(x, *p, eps=1e-3)[0],
            lambda x, *p: torch.nn.functional.batch_norm(x, None, None, *p, training=True, eps=1e-3),
            *inputs,
            dtype=dtype,
            differentiate=range(len(inputs)),
            twice=dtype == "float64" and shape in [(6, 3), (2, 3, 4, 5)],
            **loose[dtype],
        )


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False])
def test_given_statistics_as_torch_once_and_twice_differentiated(device, rng, affine, dtype):
    for shape in [*SHAPES, (0, 3), (1, 3)]:
        c = shape[1]
        mean, var = rng.standard_normal(c), rng.uniform(0.2, 3, c)
        inputs = [rng.standard_normal(shape) * 2, mean, var]
        if affine:
            inputs += [rng.uniform(0.5, 2, c), rng.standard_normal(c)]
        same_as_torch(
            device,
            lambda *a: F.batch_norm(*a),
            lambda *a: torch.nn.functional.batch_norm(*a),
            *inputs,
            dtype=dtype,
            differentiate=(0, 3, 4) if affine else (0,),
            twice=dtype == "float64" and shape in [(6, 3), (2, 3, 4, 5)],
            **loose[dtype],
        )


def test_statistics_of_the_batch(device, rng):
    x = rng.standard_normal((4, 3, 5))
    _, mean, var = F.batch_norm_training(put(device, x))
    assert_close(mean, x.mean((0, 2)), device=device)
    assert_close(var, x.var((0, 2)), device=device)


def test_gradient_of_all_results(device, rng):
    x, w, b = (put(device, rng.standard_normal(s)) for s in [(3, 2, 4), (2,), (2,)])
    xnn.gradcheck(F.batch_norm_training, x, w, b)
    xnn.gradcheck(lambda x: F.batch_norm_training(x)[1:], x)
    xnn.gradcheck(lambda x: F.batch_norm_training(x)[2], x)
    mean, var = put(device, [0.5, -1.0]), put(device, [2.0, 0.3])
    xnn.gradcheck(lambda x, w, b: F.batch_norm(x, mean, var, w, b), x, w, b)


def test_large_mean_loses_no_digits():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((256, 4)).astype("float32")
    x = noise * np.float32(0.1) + np.float32(4096)
    y, _, var = F.batch_norm_training(x)
    exact = x.astype("float64")
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    # float32 resolves numbers near 4096 to 5e-4, which is 5e-3 standard deviations.
    np.testing.assert_allclose(y, exact, atol=1e-2)
    np.testing.assert_allclose(var, x.astype("float64").var(0), rtol=1e-3)


def test_constant_channel_gives_zeros(device):
    x = leaf(device, np.full((5, 2), 3.0), "float32")
    y, _, var = F.batch_norm_training(x)
    assert not host(y).any()
    assert not host(var).any()
    xnn.sum(y * y).backward()
    assert not host(x.grad).any()


def test_small_variance_meets_eps_inside_the_root():
    x = np.asarray([[1e-3], [-1e-3]])
    y, _, _ = F.batch_norm_training(x, eps=1e-5)
    np.testing.assert_allclose(y[0, 0], 1e-3 / math.sqrt(1e-6 + 1e-5))


def test_errors():
    x, one = np.ones((4, 3)), np.ones(3)
    with pytest.raises(
        ValueError, match=r"expected more than 1 value per channel when training, got x of shape \(1, 3\)"
    ):
        F.batch_norm_training(x[:1])
    with pytest.raises(ValueError, match="expected more than 1 value per channel"):
        F.batch_norm_training(x[:0])
    with pytest.raises(ValueError, match=r"batch_norm_training: expected x of shape \(N, C\) .* got \(4,\)"):
        F.batch_norm_training(x[:, 0])
    with pytest.raises(
        ValueError, match=r"batch_norm_training: expected weight of shape \(3,\) .* got \(4,\)"
    ):
        F.batch_norm_training(x, np.ones(4))
    with pytest.raises(ValueError, match=r"batch_norm: expected running_var of shape \(3,\)"):
        F.batch_norm(x, one, np.ones(2))
    with pytest.raises(TypeError, match="batch_norm: expected x and bias of one floating-point dtype"):
        F.batch_norm(x, one, one, one, one.astype("float32"))
    with pytest.raises(
        TypeError, match="batch_norm_training: expected a real floating-point dtype, got int64"
    ):
        F.batch_norm_training(x.astype("int64"))
