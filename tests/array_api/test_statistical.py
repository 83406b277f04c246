from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, needs_torch, put, torch

import xnn

AXES = [None, 0, 1, -1, (0, 2), (-1, -3), (0, 1, 2)]
REDUCTIONS = ("sum", "mean", "prod", "max", "min", "var", "std")


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(device, rng, name, keepdims):
    x = rng.uniform(0.5, 2.0, (2, 3, 2))
    for axis in AXES:
        options = {"axis": axis, "keepdims": keepdims}
        expected = np.asarray(getattr(np, name)(x, **options))

        def function(x, options=options):
            return getattr(xnn, name)(x, **options)

        y = function(put(device, x))
        assert is_plain(y)
        assert_close(y, expected, rtol=1e-12, device=device)
        assert_close(function(leaf(device, x)), expected, rtol=1e-12, device=device)
        xnn.gradcheck(function, put(device, x))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_of_no_dimensions_and_of_no_elements(device, name):
    function = getattr(xnn, name)
    xnn.gradcheck(function, put(device, 1.7))
    empty = leaf(device, np.ones((0, 3)))
    if name in ("sum", "prod"):
        y = function(empty, axis=0)
        assert_close(y, np.full(3, float(name == "prod")), device=device)
        xnn.sum(y).backward()
        assert_close(empty.grad, np.ones((0, 3)), device=device)
    if name not in ("var", "std"):  # PyTorch warns of these
        assert_close(function(leaf(device, np.ones((3, 0))), axis=0), np.ones(0), device=device)


@pytest.mark.parametrize("name", ["sum", "prod", "cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("dtype", ["float64", np.float64, xnn.float64])
def test_dtype_of_sums(device, name, dtype):
    x = leaf(device, [1.0, 2.0, 3.0], "float32")
    y = getattr(xnn, name)(x, dtype=dtype)
    oracle = getattr(np, name)(np.asarray([1.0, 2.0, 3.0]))
    assert_close(y, np.asarray(oracle), device=device)
    xnn.sum(y).backward()
    assert x.grad.dtype == x.dtype


def test_sums_of_integers_are_wide(device):
    for name in ("sum", "prod", "cumulative_sum"):
        y = getattr(xnn, name)(put(device, [100, 100], "int8"))
        assert_close(y, np.asarray(getattr(np, name)(np.asarray([100, 100]))), device=device)


@pytest.mark.parametrize("correction", [0.0, 1, 0.5])
@pytest.mark.parametrize("name", ["var", "std"])
def test_correction(device, rng, name, correction):
    if correction == 0.5 and device.name.startswith("torch"):
        pytest.skip("array-api-compat has no fractions here for PyTorch")
    x = rng.standard_normal((3, 4))
    expected = getattr(np, name)(x, axis=1, ddof=correction)
    assert_close(getattr(xnn, name)(put(device, x), axis=1, correction=correction), expected, rtol=1e-12)
    xnn.gradcheck(lambda x: getattr(xnn, name)(x, axis=1, correction=correction), put(device, x))


def test_std_of_equal_elements_has_gradient_zero(device):
    x = leaf(device, [[2.0, 2.0], [1.0, 3.0]])
    xnn.sum(xnn.std(x, axis=1)).backward()
    assert_close(x.grad, np.asarray([[0.0, 0.0], [-0.5, 0.5]]), device=device)


@pytest.mark.parametrize("name", ["max", "min"])
def test_equal_extremes_share_the_gradient(device, name):
    sign = 1.0 if name == "max" else -1.0
    x = leaf(device, sign * np.asarray([[3.0, 1.0, 3.0], [2.0, 1.0, 0.0]]))
    xnn.sum(getattr(xnn, name)(x, axis=1)).backward()
    assert_close(x.grad, np.asarray([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]), device=device)


@pytest.mark.parametrize("zeros", [[], [(0, 1)], [(0, 1), (0, 3)], [(1, 0), (0, 3), (0, 2)]])
@pytest.mark.parametrize("name", ["prod", "cumulative_prod"])
@pytest.mark.parametrize("axis", [0, 1])
def test_products_with_zeros(device, rng, name, zeros, axis):
    x = rng.uniform(0.5, 2.0, (2, 4))
    for place in zeros:
        x[place] = 0.0
    xnn.gradcheck(lambda x: getattr(xnn, name)(x, axis=axis), put(device, x))


@needs_torch
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_against_torch(rng, zeros):
    x = rng.standard_normal((3, 5))
    x[:, :zeros] = 0.0
    w = rng.standard_normal((3, 5))
    for ours, theirs, weight in (
        (lambda x: xnn.prod(x, axis=1), lambda t: t.prod(1), w[:, 0]),
        (lambda x: xnn.cumulative_prod(x, axis=1), lambda t: t.cumprod(1), w),
    ):
        a, t = xnn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ours(a).backward(weight)
        theirs(t).backward(torch.tensor(weight))
        assert_close(a.grad, t.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize("include_initial", [False, True])
def test_cumulative(device, rng, name, include_initial):
    function, oracle = getattr(xnn, name), getattr(np, name)
    x = rng.uniform(0.5, 2.0, (2, 3, 2))
    for axis in (0, 1, -1):
        options = {"axis": axis, "include_initial": include_initial}
        assert_close(function(put(device, x), **options), oracle(x, **options), rtol=1e-12, device=device)
        xnn.gradcheck(lambda x, options=options: function(x, **options), put(device, x))
    assert_close(function(put(device, x[0, :, 0])), oracle(x[0, :, 0]), rtol=1e-12)
    with pytest.raises(ValueError, match=rf"{name}: expected an axis for an array of shape \(2, 3, 2\)"):
        function(put(device, x))
