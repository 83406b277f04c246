"""First values of parameters: distributions, and the same numbers everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import assert_close, host, needs_torch, torch

import xnn
from xnn import init
from xnn.nn import Parameter
from xnn.random import Generator


def parameter(shape, dtype="float32", device="cpu"):
    return Parameter(init.empty(shape, dtype=dtype, device=device))


def drawn(function, shape, *args, dtype="float64", **kwargs):
    return host(function(parameter(shape, dtype), *args, generator=Generator(3), **kwargs).data)


WEIGHT = (300, 40, 2, 3)  # fan_in 240, fan_out 1800
FAN_IN, FAN_OUT = 240, 1800
NORMAL = {
    "normal": (lambda t, **k: init.normal_(t, 0.5, 2.0, **k), 0.5, 2.0),
    "xavier": (lambda t, **k: init.xavier_normal_(t, 1.5, **k), 0.0, 1.5 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "kaiming": (init.kaiming_normal_, 0.0, math.sqrt(2 / FAN_IN)),
    "kaiming, fan_out": (
        lambda t, **k: init.kaiming_normal_(t, 0.2, "fan_out", **k),
        0.0,
        math.sqrt(2 / 1.04 / FAN_OUT),
    ),
    "kaiming, tanh": (
        lambda t, **k: init.kaiming_normal_(t, nonlinearity="tanh", **k),
        0.0,
        5 / 3 / math.sqrt(FAN_IN),
    ),
    "lecun": (init.lecun_normal_, 0.0, 1 / math.sqrt(FAN_IN)),
}
UNIFORM = {
    "uniform": (lambda t, **k: init.uniform_(t, -1.0, 3.0, **k), -1.0, 3.0),
    "xavier": (lambda t, **k: init.xavier_uniform_(t, 2.0, **k), 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "kaiming": (init.kaiming_uniform_, math.sqrt(6 / FAN_IN)),
    "kaiming, √5": (lambda t, **k: init.kaiming_uniform_(t, math.sqrt(5), **k), 1 / math.sqrt(FAN_IN)),
    "kaiming, fan_out": (
        lambda t, **k: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="linear", **k),
        math.sqrt(3 / FAN_OUT),
    ),
    "lecun": (init.lecun_uniform_, math.sqrt(3 / FAN_IN)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NORMAL)
def test_normal_distributions(name, dtype):
    function, mean, std = NORMAL[name]
    z = (drawn(function, WEIGHT, dtype=dtype).astype("float64").ravel() - mean) / std
    n = z.size
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert abs((np.abs(z) < 1).mean() - 0.6826895) < 4 * math.sqrt(0.22 / n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_distributions(name, dtype):
    function, *bounds = UNIFORM[name]
    low, high = bounds if len(bounds) == 2 else (-bounds[0], bounds[0])
    x = drawn(function, WEIGHT, dtype=dtype).ravel()
    n = x.size
    assert x.min() >= np.asarray(low, dtype=dtype)
    assert x.max() <= np.asarray(high, dtype=dtype)
    u = (x.astype("float64") - low) / (high - low)
    assert u.min() < 10 / n
    assert u.max() > 1 - 10 / n
    counts = np.histogram(u, 16, (0, 1))[0]
    chi_square = ((counts - n / 16) ** 2 / (n / 16)).sum()
    assert chi_square < 45  # of 15 degrees of freedom: 1e-4


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (1.0, 2.0, 4.0, 6.0),
        (0.0, 1.0, 3.0, math.inf),
        (0.5, 1.0, -0.1, 0.1),
    ],
)
def test_truncated_normal(mean, std, a, b):
    x = drawn(init.trunc_normal_, (200, 250), mean, std, a, b)
    assert x.min() >= a
    assert x.max() <= b
    # Mean and variance of the truncated distribution, by the midpoint rule.
    low, high = max(a, mean - 12 * std), min(b, mean + 12 * std)
    grid = low + (high - low) * (np.arange(100_000) + 0.5) / 100_000
    weight = np.exp(-0.5 * ((grid - mean) / std) ** 2)
    expected = np.average(grid, weights=weight)
    variance = np.average((grid - expected) ** 2, weights=weight)
    n = x.size
    assert abs(x.mean() - expected) < 4 * math.sqrt(variance / n)
    assert abs(x.var() / variance - 1) < 4 * math.sqrt(8 / n)


def test_float64_has_53_random_bits():
    for function in (init.uniform_, init.normal_, init.kaiming_uniform_, init.trunc_normal_):
        x = drawn(function, (50, 40))
        assert np.mean(x.astype("float32").astype("float64") == x) < 0.01


FILLS = {
    "uniform": init.uniform_,
    "normal": init.normal_,
    "trunc_normal": init.trunc_normal_,
    "xavier_uniform": init.xavier_uniform_,
    "xavier_normal": init.xavier_normal_,
    "kaiming_uniform": init.kaiming_uniform_,
    "kaiming_normal": init.kaiming_normal_,
    "lecun_uniform": init.lecun_uniform_,
    "lecun_normal": init.lecun_normal_,
    "orthogonal": init.orthogonal_,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FILLS)
def test_one_seed_gives_the_same_values_on_every_device(device, name, dtype):
    here = parameter((5, 4, 3), dtype, device)
    assert FILLS[name](here, generator=Generator(7)) is here
    there = FILLS[name](parameter((5, 4, 3), dtype), generator=Generator(7))
    assert_close(here.data, there.data, rtol=0, atol=0, device=device)


@pytest.mark.parametrize("name", FILLS)
def test_the_default_generator_goes_on(name):
    xnn.manual_seed(5)
    a, b = (host(FILLS[name](parameter((4, 4))).data) for _ in range(2))
    assert not np.array_equal(a, b)
    xnn.manual_seed(5)
    np.testing.assert_array_equal(a, host(FILLS[name](parameter((4, 4))).data))


def test_constants(device):
    for function, value in ((init.zeros_, 0.0), (init.ones_, 1.0), (lambda t: init.constant_(t, 0.25), 0.25)):
        p = parameter((2, 3), "float64", device)
        assert function(p) is p
        assert_close(p.data, np.full((2, 3), value), device=device)
    assert_close(
        init.eye_(parameter((2, 3), device=device)).data, np.eye(2, 3, dtype="float32"), device=device
    )


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (4, 2, 3), (2, 3, 2, 2), (1, 5), (5, 1)])
def test_orthogonal(shape):
    w = drawn(init.orthogonal_, shape, gain=1.5).reshape(shape[0], -1) / 1.5
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_is_uniform_over_the_group():
    generator = Generator(3)
    matrices = [init.orthogonal_(parameter((3, 3), "float64"), generator=generator).data for _ in range(600)]
    w = np.stack(matrices)
    assert np.all(np.abs(w.mean(axis=0)) < 4 * math.sqrt(1 / 3 / 600))
    # Without the signs of R, LAPACK's Q would have one sign of the determinant only.
    assert abs((np.linalg.det(w) > 0).mean() - 0.5) < 4 * math.sqrt(0.25 / 600)


@needs_torch
@pytest.mark.parametrize(
    "name",
    [
        *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("sigmoid", "tanh", "relu", "leaky_relu", "selu"),
    ],
)
def test_gains_of_torch(name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


@needs_torch
@pytest.mark.parametrize("slope", [0, 0.2, math.sqrt(5)])
def test_the_gain_of_a_leaky_relu(slope):
    want = torch.nn.init.calculate_gain("leaky_relu", slope)
    assert init.calculate_gain("leaky_relu", slope) == pytest.approx(want, rel=1e-15)


@needs_torch
@pytest.mark.parametrize(
    "shape", [(3, 4), (1, 7), (8, 4, 3), (8, 4, 3, 5), (2, 3, 4, 5, 6), (0, 3), (5, 2, 0)]
)
def test_fans_of_torch(shape):
    assert init.fans(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


@pytest.mark.parametrize("name", FILLS)
def test_tensors_without_elements(name):
    for shape in ((0, 3), (3, 0)):
        assert FILLS[name](parameter(shape)).shape == shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.xavier_uniform_(parameter((3,))), r"2 or more dimensions, got shape \(3,\)"),
        (lambda: init.kaiming_normal_(parameter(())), r"2 or more dimensions, got shape \(\)"),
        (
            lambda: init.kaiming_uniform_(parameter((3, 3)), mode="fan"),
            "mode 'fan_in' or 'fan_out', got 'fan'",
        ),
        (lambda: init.calculate_gain("gelu"), "expected 'leaky_relu' or one of .*'relu'.*, got 'gelu'"),
        (lambda: init.eye_(parameter((2, 2, 2))), r"eye_: expected 2 dimensions, got shape \(2, 2, 2\)"),
        (
            lambda: init.orthogonal_(parameter((2,))),
            r"orthogonal_: expected 2 or more dimensions, got shape \(2,\)",
        ),
        (lambda: init.trunc_normal_(parameter((2,)), a=1.0, b=1.0), "expected a < b, got a=1.0, b=1.0"),
        (lambda: init.trunc_normal_(parameter((2,)), std=0.0), "expected std > 0, got 0.0"),
        (lambda: init.normal_(parameter((2,)), std=-1.0), "expected std >= 0, got -1.0"),
        (lambda: init.uniform_(parameter((2,)), 1.0, 0.0), "expected low <= high, got low=1.0 and high=0.0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float16_and_bfloat16(device):
    for dtype in ("float16", "bfloat16"):
        if hasattr(device.xp, dtype):
            p = init.normal_(parameter((3, 2), dtype, device), generator=Generator(1))
            q = init.normal_(parameter((3, 2)), generator=Generator(1))
            assert p.dtype == device.dtype(dtype)
            np.testing.assert_allclose(host(p.to(dtype="float32").data), host(q.data), rtol=1e-2)


@pytest.mark.parametrize(
    "fill", [init.normal_, init.xavier_uniform_, init.zeros_, init.orthogonal_, init.eye_]
)
def test_what_cannot_be_filled_in_place_is_named(fill):
    with pytest.raises(TypeError, match="init: expected a Parameter or another Tensor, got ndarray"):
        fill(np.zeros((2, 2)))
