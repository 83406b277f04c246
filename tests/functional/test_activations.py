from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import assert_close, host, leaf, needs_torch, put, torch

import xnn
import xnn.functional as F

CASES = {
    "relu": (F.relu, lambda t: t.relu()),
    "leaky_relu": (F.leaky_relu, lambda t: torch.nn.functional.leaky_relu(t)),
    "leaky_relu steep": (lambda x: F.leaky_relu(x, 1.5), lambda t: torch.nn.functional.leaky_relu(t, 1.5)),
    "leaky_relu negative": (
        lambda x: F.leaky_relu(x, negative_slope=-0.3),
        lambda t: torch.nn.functional.leaky_relu(t, -0.3),
    ),
    "elu": (F.elu, lambda t: torch.nn.functional.elu(t)),
    "elu 0.7": (lambda x: F.elu(x, alpha=0.7), lambda t: torch.nn.functional.elu(t, 0.7)),
    "gelu": (F.gelu, lambda t: torch.nn.functional.gelu(t)),
    "gelu tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda t: torch.nn.functional.gelu(t, approximate="tanh"),
    ),
    "silu": (F.silu, lambda t: torch.nn.functional.silu(t)),
    "sigmoid": (F.sigmoid, lambda t: torch.sigmoid(t)),
    "tanh": (F.tanh, lambda t: torch.tanh(t)),
    "softplus": (F.softplus, lambda t: torch.nn.functional.softplus(t)),
    "softplus 2 3": (
        lambda x: F.softplus(x, beta=2.0, threshold=3.0),
        lambda t: torch.nn.functional.softplus(t, 2.0, 3.0),
    ),
    "softplus -1": (lambda x: F.softplus(x, -1.0), lambda t: torch.nn.functional.softplus(t, -1.0)),
    "erf": (F.erf, lambda t: torch.erf(t)),
}
every = pytest.mark.parametrize("name", CASES)
EXTREME = np.asarray([-1e4, -1e3, -745.2, -100.0, -20.1, -1e-6, 0.0, 1e-6, 20.1, 100.0, 745.2, 1e3, 1e4])


@needs_torch
@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_torch_once_and_twice_differentiated(device, rng, name, dtype):
    ours, theirs = CASES[name]
    loose = {"rtol": 1e-4, "atol": 3e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-11}
    for shape in [(4, 5), (2, 3, 4), (7,), (), (0, 3), (1, 1)]:
        x = np.asarray(rng.standard_normal(shape) * 3)
        same_as_torch(device, ours, theirs, x, dtype=dtype, twice=shape == (2, 3, 4), **loose)


@needs_torch
@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_inputs(device, name, dtype):
    ours, theirs = CASES[name]
    # At 0, where some have a kink, the choices of one-sided derivatives agree as well.
    tolerance = {"rtol": 1e-5, "atol": 1e-30} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-300}
    if name.startswith(("gelu", "elu", "erf", "tanh")):  # 1 + erf(-20) and 1 + expm1(-20) are rounded
        tolerance["atol"] = 1e-7 if dtype == "float32" else 1e-15
    if name == "softplus -1":
        tolerance["rtol"] = 1e-5 if dtype == "float32" else 1e-8  # the threshold of 20
    if "silu" in name or "sigmoid" in name:
        tolerance["atol"] = 1e-33 if dtype == "float32" else 1e-300
    same_as_torch(device, ours, theirs, EXTREME, dtype=dtype, **tolerance)


@every
def test_gradient(device, rng, name):
    x = rng.standard_normal((3, 4)) * 2
    xnn.gradcheck(CASES[name][0], put(device, np.where(np.abs(x) < 0.1, 0.5, x)))


@every
def test_nothing_is_lost_by_nan_and_input_is_left_alone(name):
    x = np.asarray([np.nan, 1.0])
    before = x.copy()
    y, backward = (
        CASES[name][0].vjp(x) if isinstance(CASES[name][0], xnn.autodiff.Op) else (CASES[name][0](x), None)
    )
    assert np.isnan(y[0])
    assert np.isfinite(y[1])
    np.testing.assert_array_equal(x, before)
    if backward is not None:
        dy = np.ones(2)
        backward(dy)
        backward(dy)
        np.testing.assert_array_equal(dy, [1, 1])


def test_sigmoid_keeps_digits_where_it_is_small(device):
    x = [-80.0, -50.0, -30.0, -10.0]
    assert_close(F.sigmoid(put(device, x, "float32")), np.exp(x).astype("float32"), rtol=1e-4, atol=0)
    lowest = host(F.sigmoid(put(device, [-1e4], "float32")))[0]
    assert 0 < lowest < 2e-38


@pytest.mark.parametrize("f", [F.leaky_relu, F.elu, F.gelu, F.silu, F.sigmoid, F.softplus])
def test_integers_are_refused(f):
    with pytest.raises(TypeError, match=rf"{f.name}: expected a real floating-point dtype, got int64"):
        f(np.asarray([1, 2]))


def test_options_are_checked():
    x = np.ones(2)
    with pytest.raises(ValueError, match="gelu: expected approximate 'none' or 'tanh', got 'erf'"):
        F.gelu(x, approximate="erf")
    with pytest.raises(ValueError, match="softplus: expected beta other than 0"):
        F.softplus(x, beta=0.0)


def test_relu_takes_integers_as_plain_arrays(device):
    assert host(F.relu(put(device, [-1, 2]))).tolist() == [0, 2]


def test_by_hand(device):
    x = put(device, [[-1.0, 2.0]])
    y, backward = F.leaky_relu.vjp(x, 0.5)
    assert_close(y, np.asarray([[-0.5, 2.0]]), device=device)
    assert_close(backward(put(device, [[1.0, 1.0]])), np.asarray([[0.5, 1.0]]), device=device)
    t = leaf(device, [[-1.0, 2.0]])
    F.leaky_relu(t, negative_slope=0.5).backward(put(device, [[1.0, 1.0]]))
    assert_close(t.grad, np.asarray([[0.5, 1.0]]), device=device)


@pytest.mark.parametrize(("dtype", "largest"), [("float16", 6e4), ("float32", 1e30), ("float64", 1e300)])
def test_gelu_has_finite_gradients_at_extreme_inputs(dtype, largest):
    x = np.asarray([-largest, -300.0, -10.5, 10.5, 300.0, largest], dtype=dtype)
    for approximate in ("none", "tanh"):
        with np.errstate(over="ignore"):
            y, backward = F.gelu.vjp(x, approximate=approximate)
            np.testing.assert_array_equal(y, np.maximum(x, 0))
            np.testing.assert_allclose(backward(np.ones_like(x)), x > 0, rtol=0, atol=1e-20)
