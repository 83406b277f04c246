from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, needs_torch, put, torch

import xnn


@pytest.mark.parametrize(
    ("shape", "shape1", "shape2"),
    [
        ((2, 3), (2, 3), (2, 3)),
        ((2, 1), (3,), (2, 3)),
        ((3,), (), (2, 1)),
        ((), (2,), (2,)),
        ((0, 2), (2,), ()),
    ],
)
def test_where(device, rng, shape, shape1, shape2):
    c, x1, x2 = rng.random(shape) > 0.5, rng.standard_normal(shape1), rng.standard_normal(shape2)
    condition = put(device, c)
    y = xnn.where(condition, put(device, x1), put(device, x2))
    assert is_plain(y)
    assert_close(y, np.where(c, x1, x2), device=device)
    xnn.gradcheck(lambda a, b: xnn.where(condition, a, b), put(device, x1), put(device, x2))


def test_where_with_numbers(device):
    x = leaf(device, [1.0, -2.0, 3.0])
    xnn.sum(xnn.where(x > 0, x, 0.0) + xnn.where(x > 2, 1.0, x)).backward()
    assert_close(x.grad, np.asarray([2.0, 1.0, 1.0]), device=device)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sort_and_argsort(device, rng, axis, descending):
    x = rng.permutation(12).reshape(3, 4).astype(float)
    order = np.argsort(-x if descending else x, axis=axis, kind="stable")
    assert_close(xnn.argsort(put(device, x), axis=axis, descending=descending), order, device=device)
    expected = np.take_along_axis(x, order, axis=axis)
    assert_close(xnn.sort(put(device, x), axis=axis, descending=descending), expected, device=device)
    xnn.gradcheck(lambda x: xnn.sort(x, axis=axis, descending=descending), put(device, x))
    assert not xnn.argsort(leaf(device, x)).requires_grad


@needs_torch
def test_sort_of_equal_elements_against_torch(rng):
    x = rng.integers(0, 3, (4, 6)).astype(float)
    w = rng.standard_normal((4, 6))
    a, t = xnn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    xnn.sort(a, axis=1).backward(w)
    torch.sort(t, dim=1, stable=True).values.backward(torch.tensor(w))
    assert_close(a.grad, t.grad)


@pytest.mark.parametrize("name", ["argmax", "argmin", "count_nonzero", "all", "any"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_reductions_without_gradient(device, rng, name, axis, keepdims):
    x = rng.integers(-1, 2, (3, 4)).astype(float)
    y = getattr(xnn, name)(leaf(device, x), axis=axis, keepdims=keepdims)
    assert_close(y, np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims)), device=device)
    assert not y.requires_grad
    assert is_plain(getattr(xnn, name)(put(device, x)))


def test_nonzero(device):
    x = np.asarray([[0.0, 2.0], [3.0, 0.0]])
    for i, j in zip(xnn.nonzero(leaf(device, x)), np.nonzero(x), strict=True):
        assert isinstance(i, xnn.Tensor)
        assert_close(i, j, device=device)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(device, side):
    x, v = np.asarray([1.0, 2.0, 2.0, 5.0]), np.asarray([2.0, 0.0, 9.0])
    y = xnn.searchsorted(put(device, x), put(device, v), side=side)
    assert_close(y, np.searchsorted(x, v, side=side), device=device)
