from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from support import assert_close, host, is_plain, leaf, needs_torch, put, torch

import xnn

# name: where the function is tried out, away from kinks and poles
ONE = {
    "abs": (0.3, 2.0),
    "acos": (-0.8, 0.8),
    "acosh": (1.2, 3.0),
    "asin": (-0.8, 0.8),
    "asinh": (-2.0, 2.0),
    "atan": (-2.0, 2.0),
    "atanh": (-0.8, 0.8),
    "ceil": (0.1, 0.9),
    "cos": (-2.0, 2.0),
    "cosh": (-2.0, 2.0),
    "exp": (-2.0, 2.0),
    "expm1": (-2.0, 2.0),
    "floor": (0.1, 0.9),
    "log": (0.3, 3.0),
    "log1p": (-0.5, 3.0),
    "log2": (0.3, 3.0),
    "log10": (0.3, 3.0),
    "negative": (-2.0, 2.0),
    "positive": (-2.0, 2.0),
    "reciprocal": (0.3, 3.0),
    "round": (0.6, 1.4),
    "sign": (0.3, 2.0),
    "sin": (-2.0, 2.0),
    "sinh": (-2.0, 2.0),
    "sqrt": (0.3, 3.0),
    "square": (-2.0, 2.0),
    "tan": (-1.0, 1.0),
    "tanh": (-2.0, 2.0),
    "trunc": (0.1, 0.9),
}
TWO = {
    "add": (-2.0, 2.0),
    "atan2": (0.3, 2.0),
    "copysign": (0.3, 2.0),
    "divide": (0.5, 2.0),
    "floor_divide": (0.5, 2.0),
    "hypot": (0.3, 2.0),
    "logaddexp": (-2.0, 2.0),
    "maximum": (-2.0, 2.0),
    "minimum": (-2.0, 2.0),
    "multiply": (-2.0, 2.0),
    "pow": (0.3, 2.0),
    "remainder": (0.5, 2.0),
    "subtract": (-2.0, 2.0),
}
COMPARE = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")
SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 2)), ((1,), ()), ((0, 3), (3,))]


@pytest.mark.parametrize("name", ONE)
def test_one_argument(device, rng, name):
    function = getattr(xnn, name)
    low, high = ONE[name]
    for shape in ((2, 3), (), (0, 2)):
        x = rng.uniform(low, high, shape)
        plain = function(put(device, x))
        assert is_plain(plain)
        assert_close(plain, getattr(np, name)(x), rtol=1e-12, device=device)
        assert_close(function(leaf(device, x)), getattr(np, name)(x), rtol=1e-12, device=device)
    xnn.gradcheck(function, put(device, rng.uniform(low, high, (2, 3))))
    x = leaf(device, rng.uniform(low, high, (2,)), "float32")
    xnn.sum(function(x)).backward()
    assert_close(x.grad, host(x.grad).astype("float32"), device=device)


@needs_torch
@pytest.mark.parametrize("name", ONE)
def test_one_argument_gradient_against_torch(rng, name):
    x = rng.uniform(*ONE[name], (4, 5))
    t = torch.tensor(x, requires_grad=True)
    getattr(torch, name)(t).sum().backward()
    a = xnn.Tensor(x, requires_grad=True)
    xnn.sum(getattr(xnn, name)(a)).backward()
    assert_close(a.grad, t.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", TWO)
def test_two_arguments(device, rng, name):
    function, oracle = getattr(xnn, name), getattr(np, name)
    low, high = TWO[name]
    for shape1, shape2 in SHAPES:
        x1, x2 = rng.uniform(low, high, shape1), rng.uniform(low, high, shape2)
        assert_close(function(put(device, x1), put(device, x2)), oracle(x1, x2), rtol=1e-12, device=device)
        y = function(leaf(device, x1), leaf(device, x2))
        assert_close(y, oracle(x1, x2), rtol=1e-12, device=device)
        xnn.gradcheck(function, put(device, x1), put(device, x2))


@given(
    shapes=mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=3, min_side=0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_gradients_of_any_shapes_that_broadcast(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b, c = (rng.uniform(0.5, 2.0, shape) for shape in shapes.input_shapes)
    condition = rng.random(shapes.result_shape) > 0.5
    assert xnn.multiply(a, b).shape == np.broadcast_shapes(a.shape, b.shape)
    xnn.gradcheck(lambda a, b, c: xnn.where(condition, a * b - c, a / b + c**a), a, b, c, directions=1)


@pytest.mark.parametrize("name", TWO)
def test_two_arguments_one_of_them_a_number(device, rng, name):
    function, oracle = getattr(xnn, name), getattr(np, name)
    x = rng.uniform(*TWO[name], (2, 3))
    for y, expected in (
        (function(put(device, x), 1.5), oracle(x, 1.5)),
        (function(1.5, put(device, x)), oracle(1.5, x)),
        (function(put(device, x), 2), oracle(x, 2)),
    ):
        assert_close(y, expected, rtol=1e-12, device=device)
    xnn.gradcheck(lambda x: function(x, 1.5), put(device, x))
    xnn.gradcheck(lambda x: function(1.5, x), put(device, x))
    x32 = put(device, x, "float32")
    assert_close(function(x32, 1.5), host(function(x32, 1.5)).astype("float32"))


@needs_torch
@pytest.mark.parametrize("name", TWO)
def test_two_arguments_gradient_against_torch(rng, name):
    x1, x2 = rng.uniform(*TWO[name], (4, 5)), rng.uniform(*TWO[name], (5,))
    t1, t2 = torch.tensor(x1, requires_grad=True), torch.tensor(x2, requires_grad=True)
    if name == "floor_divide":
        pytest.skip("PyTorch has no gradient for floor_divide")
    getattr(torch, name)(t1, t2).sum().backward()
    a1, a2 = xnn.Tensor(x1, requires_grad=True), xnn.Tensor(x2, requires_grad=True)
    xnn.sum(getattr(xnn, name)(a1, a2)).backward()
    for a, t in ((a1, t1), (a2, t2)):
        assert_close(a.grad, t.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_elements_share_the_gradient(device, name):
    a, b = leaf(device, [1.0, 2.0, 5.0]), leaf(device, [1.0, 3.0, 4.0])
    xnn.sum(getattr(xnn, name)(a, b)).backward()
    first = [0.5, 0.0, 1.0] if name == "maximum" else [0.5, 1.0, 0.0]
    assert_close(a.grad, np.asarray(first))
    assert_close(b.grad, 1 - np.asarray(first))


@pytest.mark.parametrize(
    ("base", "exponent", "d_base", "d_exponent"),
    [
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (3.0, 0.0, 0.0, math.log(3.0)),
        (-2.0, 3.0, 12.0, math.nan),
        (-2.0, 0.0, 0.0, math.nan),
    ],
)
def test_powers_at_the_edges(device, base, exponent, d_base, d_exponent):
    b, e = leaf(device, [base]), leaf(device, [exponent])
    with np.errstate(invalid="ignore"):
        xnn.sum(b**e).backward()
    assert_close(b.grad, np.asarray([d_base]))
    assert_close(e.grad, np.asarray([d_exponent]))
    b.grad = e.grad = None
    xnn.sum(b**exponent).backward()
    assert_close(b.grad, np.asarray([d_base]))
    if base >= 0:
        xnn.sum(base**e).backward()
        assert_close(e.grad, np.asarray([d_exponent]))


@pytest.mark.parametrize("name", COMPARE)
def test_comparisons(device, rng, name):
    x1, x2 = rng.integers(0, 3, (2, 3)).astype(float), rng.integers(0, 3, (3,)).astype(float)
    function, oracle = getattr(xnn, name), getattr(np, name)
    assert_close(function(put(device, x1), put(device, x2)), oracle(x1, x2), device=device)
    assert_close(function(put(device, x1), 1.0), oracle(x1, 1.0), device=device)
    y = function(leaf(device, x1), leaf(device, x2))
    assert_close(y, oracle(x1, x2), device=device)
    assert not y.requires_grad


@pytest.mark.parametrize("name", BITS)
def test_bits(device, rng, name):
    x1, x2 = rng.integers(0, 100, (2, 3)), rng.integers(0, 5, (3,))
    function, oracle = getattr(xnn, name), getattr(np, name)
    assert_close(function(put(device, x1), put(device, x2)), oracle(x1, x2), device=device)
    assert_close(function(xnn.Tensor(put(device, x1)), 3), oracle(x1, 3), device=device)
    if "shift" not in name:
        b1, b2 = x1 > 50, x2 > 2
        assert_close(function(put(device, b1), put(device, b2)), oracle(b1, b2), device=device)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(device, name):
    x1, x2 = np.asarray([True, True, False, False]), np.asarray([True, False, True, False])
    function, oracle = getattr(xnn, name), getattr(np, name)
    assert_close(function(put(device, x1), put(device, x2)), oracle(x1, x2), device=device)
    assert_close(function(xnn.Tensor(put(device, x1)), True), oracle(x1, True), device=device)
    assert_close(xnn.logical_not(put(device, x1)), ~x1, device=device)
    assert_close(xnn.bitwise_invert(put(device, x1)), ~x1, device=device)
    assert_close(xnn.bitwise_invert(put(device, [1, -5])), np.asarray([-2, 4]), device=device)


@pytest.mark.parametrize("name", ["isfinite", "isinf", "isnan", "signbit"])
def test_questions(device, name):
    x = np.asarray([1.0, -1.0, np.nan, np.inf, -np.inf, 0.0, -0.0])
    y = getattr(xnn, name)(leaf(device, x))
    assert_close(y, getattr(np, name)(x), device=device)
    assert not y.requires_grad


def test_nextafter(device):
    x, to = np.asarray([1.0, 1.0]), np.asarray([2.0, 0.0])
    a, b = leaf(device, x), leaf(device, to)
    y = xnn.nextafter(a, b)
    assert_close(y, np.nextafter(x, to), rtol=0, device=device)
    xnn.sum(y).backward()
    assert_close(a.grad, np.ones(2))
    assert_close(b.grad, np.zeros(2))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-0.5, 0.5),
        (None, 0.5),
        (-0.5, None),
        (None, None),
        ("array", 0.5),
        ("array", "array"),
        (None, "array"),
    ],
)
def test_clip(device, low, high):
    x = np.asarray([[-2.0, -0.4, 0.1], [0.4, 0.7, 3.0]])
    lows, highs = np.asarray([-0.7, -0.3, -0.6]), np.asarray([[0.3], [0.8]])
    min_ = lows if isinstance(low, str) else low
    max_ = highs if isinstance(high, str) else high
    expected = x if min_ is None and max_ is None else np.clip(x, min_, max_)
    bounds = [put(device, b) if isinstance(b, np.ndarray) else b for b in (min_, max_)]
    assert_close(xnn.clip(put(device, x), *bounds), expected, device=device)
    xnn.gradcheck(xnn.clip, put(device, x), *bounds)
    x = leaf(device, [-0.5, 0.5, 0.0, 1.0])
    xnn.sum(xnn.clip(x, min=-0.5, max=0.5)).backward()
    assert_close(x.grad, np.asarray([1.0, 1.0, 1.0, 0.0]), device=device)  # on the limits as inside


def test_promotion(device):
    x16, x32, x64 = (put(device, [1, 2], d) for d in ("int16", "float32", "float64"))
    i64 = put(device, [1, 2], "int64")
    assert_close(xnn.add(x32, x64), np.asarray([2.0, 4.0]), device=device)
    assert_close(xnn.multiply(x16, i64), np.asarray([1, 4]), device=device)
    assert_close(xnn.add(x32, 1.5), np.asarray([2.5, 3.5], dtype="float32"), device=device)
    a, b = leaf(device, [1.0, 2.0], "float32"), leaf(device, [3.0, 4.0], "float64")
    xnn.sum(a * b).backward()
    assert_close(a.grad, np.asarray([3.0, 4.0], dtype="float32"), device=device)
    assert_close(b.grad, np.asarray([1.0, 2.0]), device=device)


def test_numbers_do_not_lose_their_fraction(device):
    for function in (xnn.maximum, xnn.atan2, xnn.remainder):
        with pytest.raises(TypeError, match="expected an integer to go with an array of dtype"):
            function(put(device, [1, 2]), 0.5)


@pytest.mark.parametrize("name", [*TWO, *COMPARE, *BITS])
def test_lists_and_numbers_alone_are_refused(name):
    with pytest.raises(TypeError, match="expected an array"):
        getattr(xnn, name)([1, 2], [3, 4])


@pytest.mark.parametrize("name", ONE)
def test_one_argument_must_be_an_array(name):
    with pytest.raises(TypeError, match=r"expected an array.*got list"):
        getattr(xnn, name)([1.0])
