from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import assert_close, is_plain, needs_torch, put, torch

import xnn
import xnn.functional as F

CASES = {
    "gelu": (F.bias_gelu, lambda x, b: torch.nn.functional.gelu(x + b)),
    "gelu tanh": (
        lambda x, b: F.bias_gelu(x, b, approximate="tanh"),
        lambda x, b: torch.nn.functional.gelu(x + b, approximate="tanh"),
    ),
    "silu": (F.bias_silu, lambda x, b: torch.nn.functional.silu(x + b)),
}
every = pytest.mark.parametrize("name", CASES)


@needs_torch
@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_torch_once_and_twice_differentiated(device, rng, name, dtype):
    ours, theirs = CASES[name]
    loose = {"rtol": 1e-4, "atol": 3e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-11}
    for shape in [(4, 5), (2, 3, 4), (7,), (0, 3), (1, 1), (2, 0)]:
        x, bias = rng.standard_normal(shape) * 3, rng.standard_normal(shape[-1:])
        twice = shape == (2, 3, 4)
        same_as_torch(device, ours, theirs, x, bias, dtype=dtype, differentiate=(0, 1), twice=twice, **loose)


@every
def test_gradient(device, rng, name):
    x, bias = put(device, rng.standard_normal((3, 4))), put(device, rng.standard_normal(4))
    xnn.gradcheck(CASES[name][0], x, bias)


def test_only_what_is_needed(rng):
    x, bias, dy = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal((3, 4))
    y, backward = F.bias_silu.vjp(x, bias)
    assert is_plain(y)
    dx, dbias = backward(dy)
    assert_close(dbias, dx.sum(0))
    assert backward(dy, (False, True))[0] is None
    assert_close(backward(dy, (False, True))[1], dbias)
    assert backward(dy, (True, False))[1] is None
    assert_close(backward(dy, (True, False))[0], dx)


@pytest.mark.parametrize("f", [F.bias_gelu, F.bias_silu], ids=str)
def test_errors(f):
    x, bias = np.zeros((2, 3)), np.zeros(3)
    with pytest.raises(
        ValueError, match=rf"{f.name}: expected x of shape \(..., C\) .* got \(2, 3\) and \(2,\)"
    ):
        f(x, np.zeros(2))
    with pytest.raises(ValueError, match=rf"{f.name}: expected x of shape"):
        f(np.asarray(1.0), np.asarray(1.0))
    with pytest.raises(TypeError, match=rf"{f.name}: expected x and bias of one floating-point dtype"):
        f(x, bias.astype("float32"))
    with pytest.raises(TypeError, match=f"{f.name}: expected a real floating-point dtype, got int64"):
        f(np.zeros((2, 3), int), np.zeros(3, int))


def test_unknown_approximation():
    with pytest.raises(ValueError, match="bias_gelu: expected approximate 'none' or 'tanh', got 'erf'"):
        F.bias_gelu(np.zeros((2, 3)), np.zeros(3), approximate="erf")
