from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, needs_torch, put, torch

import xnn

BASIC = [
    0,
    -1,
    (slice(None), 1),
    slice(1, None),
    slice(None, None, 2),
    (..., 0),
    (0, ...),
    (slice(0, 2), slice(1, 3), slice(None, None, 2)),
    (None, ..., None),
    (1, 2, 0),
    (slice(2, 2), ...),
    (..., slice(None, None, -1)),
]


@pytest.mark.parametrize("key", BASIC, ids=str)
def test_basic_keys(device, rng, key):
    x = rng.standard_normal((3, 4, 2))
    strict = "strict" in device.name
    if strict and (
        not isinstance(key, tuple) or (len([k for k in key if k is not ...]) < 3 and ... not in key)
    ):
        key = (*(key if isinstance(key, tuple) else (key,)), ...)
    if device.name.startswith("torch") and -1 in [
        getattr(k, "step", None) for k in np.atleast_1d(key) if k is not ...
    ]:
        pytest.skip("PyTorch has no negative steps")
    y = xnn.getitem(put(device, x), key)
    assert is_plain(y)
    assert_close(y, np.asarray(x[key]), device=device)
    assert_close(leaf(device, x)[key], np.asarray(x[key]), device=device)
    xnn.gradcheck(lambda x: x[key], put(device, x))


ROWS, COLUMNS = np.asarray([2, 0, 2, -1]), np.asarray([1, 1, 3, 1])
MASK = np.asarray([True, False, True])
FANCY = {
    "integers": (ROWS,),
    "pairs": (ROWS, COLUMNS),
    "triples": (ROWS, COLUMNS, np.asarray([0, 1, 0, 0])),
    "matrix of integers": (np.asarray([[0, 2], [2, 2]]),),
    "mask of rows": (MASK,),
    "mixed with slice": (slice(None), COLUMNS),
    "slice then integers": (slice(1, None), COLUMNS, 0),
    "integers then slice": (ROWS, slice(0, 3, 2)),
    "around a slice": (ROWS, slice(None), np.asarray([0, 1, 1, 0])),
    "with None": (None, ROWS),
    "ellipsis": (..., np.asarray([1, 1, 0])),
    "broadcast": (np.asarray([[0], [2]]), np.asarray([[1, 1, 3]])),
    "empty": (np.asarray([], dtype="int64"),),
}


@pytest.mark.parametrize("name", FANCY)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_fancy_keys_with_duplicates(request, rng, name, kind):
    from support import DEVICES

    device = DEVICES[kind]()
    key = tuple(device.asarray(k) if isinstance(k, np.ndarray) else k for k in FANCY[name])
    x = rng.standard_normal((3, 4, 2))
    assert_close(leaf(device, x)[key], x[FANCY[name]], device=device)
    xnn.gradcheck(lambda x: x[key], put(device, x))
    wrapped = tuple(xnn.Tensor(k) if xnn.backends.is_array(k) else k for k in key)
    assert_close(leaf(device, x)[wrapped], x[FANCY[name]], device=device)


def test_integer_arrays_for_every_axis_and_masks_are_in_the_standard(device, rng):
    x = rng.standard_normal((3, 4))
    i, j = put(device, [2, 0, 2]), put(device, [1, 1, 1])
    assert_close(leaf(device, x)[i, j], x[[2, 0, 2], [1, 1, 1]], device=device)
    xnn.gradcheck(lambda x: x[i, j], put(device, x))
    mask = x > 0
    assert_close(leaf(device, x)[put(device, mask)], x[mask], device=device)
    xnn.gradcheck(lambda x: x[put(device, mask)], put(device, x))
    a = leaf(device, x)
    assert_close(a[a > 0], x[mask], device=device)


@needs_torch
@pytest.mark.parametrize("name", FANCY)
def test_fancy_keys_against_torch(rng, name):
    x = rng.standard_normal((3, 4, 2))
    y = x[FANCY[name]]
    w = rng.standard_normal(y.shape)
    a, t = xnn.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    a[FANCY[name]].backward(w)
    t[tuple(torch.tensor(k) if isinstance(k, np.ndarray) else k for k in FANCY[name])].backward(
        torch.tensor(w)
    )
    assert_close(a.grad, t.grad, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [[0, 1, 1, 0, 1], [1], [], [-1, 0, -2]])
def test_take(device, rng, axis, indices):
    if indices and min(indices) < 0 and device.name not in ("cpu", "cuda:0"):
        pytest.skip("only NumPy and CuPy count from the end")
    x, i = rng.standard_normal((2, 3, 2)), np.asarray(indices, dtype="int64")
    assert_close(xnn.take(put(device, x), put(device, i), axis=axis), np.take(x, i, axis=axis), device=device)
    xnn.gradcheck(lambda x: xnn.take(x, put(device, i), axis=axis), put(device, x))


def test_take_from_one_dimension(device):
    x, i = leaf(device, [1.0, 2.0, 3.0]), put(device, [2, 2, 0])
    xnn.sum(xnn.take(x, i)).backward()
    assert_close(x.grad, np.asarray([1.0, 0.0, 2.0]), device=device)
    with pytest.raises(ValueError, match=r"take: expected an axis for an array of shape \(2, 2\)"):
        xnn.take(put(device, np.ones((2, 2))), i)
    with pytest.raises(ValueError, match=r"take: expected indices of one dimension, got shape \(1, 1\)"):
        xnn.take(x, put(device, [[0]]), axis=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_along_axis(device, rng, axis):
    x, i = rng.standard_normal((2, 3)), rng.integers(0, 2, (2, 3))
    expected = np.take_along_axis(x, i, axis=axis)
    assert_close(xnn.take_along_axis(put(device, x), put(device, i), axis=axis), expected, device=device)
    xnn.gradcheck(lambda x: xnn.take_along_axis(x, put(device, i), axis=axis), put(device, x))


def test_many_duplicates_add_up_exactly(device):
    x = leaf(device, np.zeros(3), "float32")
    i = put(device, np.arange(3000) % 3)
    xnn.sum(xnn.take(x, i)).backward()
    assert_close(x.grad, np.full(3, 1000.0, dtype="float32"), rtol=0, device=device)


def test_out_of_range():
    with pytest.raises(IndexError):
        xnn.tensor([1.0])[3]


def test_assignment_is_refused():
    x = xnn.tensor([1.0])
    with pytest.raises(TypeError, match=r"cannot be changed in place.*xnn\.where"):
        x[0] = 1.0
