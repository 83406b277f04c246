from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, needs_torch, put, torch

import xnn

PRODUCTS = [
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
]


@pytest.mark.parametrize(("shape1", "shape2"), PRODUCTS)
def test_matmul(device, rng, shape1, shape2):
    x1, x2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
    y = xnn.matmul(put(device, x1), put(device, x2))
    assert_close(y, np.asarray(x1 @ x2), rtol=1e-12, atol=1e-14, device=device)
    assert is_plain(y)
    assert_close(
        leaf(device, x1) @ leaf(device, x2), np.asarray(x1 @ x2), rtol=1e-12, atol=1e-14, device=device
    )
    xnn.gradcheck(xnn.matmul, put(device, x1), put(device, x2))


@needs_torch
@pytest.mark.parametrize(("shape1", "shape2"), PRODUCTS)
def test_matmul_against_torch(rng, shape1, shape2):
    x1, x2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
    dy = rng.standard_normal(np.asarray(x1 @ x2).shape)
    a1, a2 = xnn.Tensor(x1, requires_grad=True), xnn.Tensor(x2, requires_grad=True)
    t1, t2 = torch.tensor(x1, requires_grad=True), torch.tensor(x2, requires_grad=True)
    xnn.matmul(a1, a2).backward(dy)
    torch.matmul(t1, t2).backward(torch.tensor(dy))
    assert_close(a1.grad, t1.grad, rtol=1e-12, atol=1e-13)
    assert_close(a2.grad, t2.grad, rtol=1e-12, atol=1e-13)


def test_matmul_refuses_shapes_that_do_not_fit(device):
    with pytest.raises((ValueError, RuntimeError)):
        xnn.matmul(put(device, np.ones((2, 3))), put(device, np.ones((2, 3))))


@pytest.mark.parametrize(
    ("shape1", "shape2"), [((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3)), ((0, 3), (3,))]
)
def test_vecdot(device, rng, shape1, shape2):
    x1, x2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
    expected = np.asarray(np.vecdot(x1, x2))
    assert_close(
        xnn.vecdot(put(device, x1), put(device, x2)), expected, rtol=1e-12, atol=1e-14, device=device
    )
    xnn.gradcheck(xnn.vecdot, put(device, x1), put(device, x2))


def test_vecdot_over_another_axis(device, rng):
    x1, x2 = rng.standard_normal((2, 3, 4)), rng.standard_normal((3, 4))
    expected = np.vecdot(x1, x2, axis=-2)
    assert_close(xnn.vecdot(put(device, x1), put(device, x2), axis=-2), expected, rtol=1e-12, atol=1e-14)
    xnn.gradcheck(lambda a, b: xnn.vecdot(a, b, axis=-2), put(device, x1), put(device, x2))


@pytest.mark.parametrize(
    ("shape1", "shape2", "axes"),
    [
        ((2, 3), (3, 4), 1),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (4,), 0),
        ((2, 3, 4), (4, 2, 5), ((0, 2), (1, 0))),
        ((2, 3, 4), (4, 5), ((-1,), (0,))),
        ((2, 0), (0, 3), 1),
    ],
)
def test_tensordot(device, rng, shape1, shape2, axes):
    x1, x2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
    expected = np.tensordot(x1, x2, axes=axes)
    y = xnn.tensordot(put(device, x1), put(device, x2), axes=axes)
    assert_close(y, expected, rtol=1e-12, atol=1e-14, device=device)
    xnn.gradcheck(lambda a, b: xnn.tensordot(a, b, axes=axes), put(device, x1), put(device, x2))


def test_tensordot_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"tensordot: shapes \(2, 3\) and \(2, 3\) do not match over axes 1"):
        xnn.tensordot(np.ones((2, 3)), np.ones((2, 3)), axes=1)


def test_matrix_transpose(device, rng):
    x = rng.standard_normal((2, 3, 4))
    assert_close(leaf(device, x).mT, x.swapaxes(1, 2), device=device)
    assert_close(leaf(device, x[0]).T, x[0].T, device=device)
    with pytest.raises(ValueError, match=r"T: expected 2 dimensions, got shape \(2, 3, 4\); use .mT"):
        leaf(device, x).T  # noqa: B018
