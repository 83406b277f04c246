from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, put

import xnn

SHAPE = (2, 3, 4)
# name: the call, and what NumPy says
CALLS = {
    "reshape": (lambda F, x: F.reshape(x, (4, 6)), None),
    "reshape with -1": (lambda F, x: F.reshape(x, (-1, 2)), None),
    "reshape to a scalar's shape": (lambda F, x: F.reshape(F.sum(x), ()), None),
    "permute_dims": (lambda F, x: F.permute_dims(x, (2, 0, 1)), None),
    "permute_dims from the end": (lambda F, x: F.permute_dims(x, (-1, 0, -2)), None),
    "moveaxis": (lambda F, x: F.moveaxis(x, 0, -1), None),
    "moveaxis of two": (lambda F, x: F.moveaxis(x, (0, 2), (1, 0)), None),
    "expand_dims": (lambda F, x: F.expand_dims(x, axis=1), None),
    "expand_dims at the end": (lambda F, x: F.expand_dims(x, axis=-1), None),
    "squeeze": (lambda F, x: F.squeeze(F.expand_dims(x, axis=1), axis=1), None),
    "broadcast_to": (lambda F, x: F.broadcast_to(x, (5, 2, 3, 4)), None),
    "flip": (lambda F, x: F.flip(x), None),
    "flip one": (lambda F, x: F.flip(x, axis=-1), None),
    "flip two": (lambda F, x: F.flip(x, axis=(0, 2)), None),
    "roll": (lambda F, x: F.roll(x, 5), None),
    "roll one": (lambda F, x: F.roll(x, -1, axis=1), None),
    "roll two": (lambda F, x: F.roll(x, (1, 2), axis=(0, -1)), None),
    "repeat": (lambda F, x: F.repeat(x, 3), None),
    "repeat one": (lambda F, x: F.repeat(x, 2, axis=-2), None),
    "tile": (lambda F, x: F.tile(x, (2, 1, 3)), None),
    "tile more dimensions": (lambda F, x: F.tile(x, (2, 1, 1, 2)), None),
    "tile fewer dimensions": (lambda F, x: F.tile(x, (2,)), None),
    "concat": (lambda F, x: F.concat([x, x * 2.0], axis=1), None),
    "concat flat": (lambda F, x: F.concat([x, x * 2.0], axis=None), None),
    "stack": (lambda F, x: F.stack([x, x * 2.0], axis=-1), None),
    "unstack": (lambda F, x: F.unstack(x, axis=1)[2], None),
    "matrix_transpose": (lambda F, x: F.matrix_transpose(x), None),
    "tril": (lambda F, x: F.tril(x, k=1), None),
    "triu": (lambda F, x: F.triu(x, k=-1), None),
    "diff": (lambda F, x: F.diff(x), None),
    "diff twice": (lambda F, x: F.diff(x, axis=1, n=2), None),
    "diff with ends": (lambda F, x: F.diff(x, axis=0, prepend=x[:1, ...], append=x[:1, ...]), None),
    "diff not at all": (lambda F, x: F.diff(x, n=0), None),
    "sort": (lambda F, x: F.sort(x, axis=1), None),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(device, rng, name):
    function = CALLS[name][0]
    x = rng.standard_normal(SHAPE)
    expected = np.asarray(function(np, x))
    y = function(xnn, put(device, x))
    assert is_plain(y)
    assert_close(y, expected, device=device)
    assert_close(function(xnn, leaf(device, x)), expected, device=device)
    xnn.gradcheck(lambda x: function(xnn, x), put(device, x))


@pytest.mark.parametrize("name", ["flip", "repeat", "concat", "reshape", "roll"])
def test_no_elements(device, name):
    calls = {
        "flip": lambda x: xnn.flip(x),
        "repeat": lambda x: xnn.repeat(x, 2),
        "concat": lambda x: xnn.concat([x, x]),
        "reshape": lambda x: xnn.reshape(x, (3, 0)),
        "roll": lambda x: xnn.roll(x, 1, axis=0),
    }
    x = leaf(device, np.ones((0, 3)))
    xnn.sum(calls[name](x)).backward()
    assert_close(x.grad, np.ones((0, 3)), device=device)


def test_repeat_zero_times(device):
    x = leaf(device, [1.0, 2.0])
    y = xnn.repeat(x, 0)
    assert tuple(y.shape) == (0,)
    xnn.sum(y).backward()
    assert_close(x.grad, np.zeros(2), device=device)
    with pytest.raises(TypeError, match="repeat: expected an int for repeats, got list"):
        xnn.repeat(x, [1, 2])


def test_negative_repetitions_of_diff():
    with pytest.raises(ValueError, match="diff: expected n >= 0, got -1"):
        xnn.diff(np.ones(3), n=-1)


def test_concat_and_stack_give_each_its_part(device):
    a, b, c = leaf(device, [[1.0, 2.0]]), leaf(device, [[3.0, 4.0]]), put(device, [[5.0, 6.0]])
    w = put(device, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    xnn.concat([a, c, b]).backward(w)
    assert_close(a.grad, np.asarray([[1.0, 2.0]]), device=device)
    assert_close(b.grad, np.asarray([[5.0, 6.0]]), device=device)
    a.grad = None
    xnn.stack([c, a])[1, ...].backward(w[:1, :])
    assert_close(a.grad, np.asarray([[1.0, 2.0]]), device=device)


def test_concat_promotes(device):
    a, b = leaf(device, [1.0], "float32"), leaf(device, [2.0])
    y = xnn.concat([a, b])
    assert_close(y, np.asarray([1.0, 2.0]), device=device)
    xnn.sum(y).backward()
    assert a.grad.dtype == a.dtype


def test_nothing_to_join():
    for function in (xnn.concat, xnn.stack):
        with pytest.raises(TypeError, match=r"expected an array.*got nothing"):
            function([])


def test_unstack_parts_may_stay_unused(device, rng):
    x = leaf(device, rng.standard_normal((3, 2)))
    _, middle, _ = xnn.unstack(x)
    middle.backward(put(device, [1.0, 2.0]))
    assert_close(x.grad, np.asarray([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]), device=device)
    assert [is_plain(part) for part in xnn.unstack(put(device, np.ones((2, 2))))] == [True, True]


def test_broadcast_arrays_and_meshgrid(device, rng):
    x, y = rng.standard_normal((2, 1)), rng.standard_normal((3,))
    for ours, theirs in zip(
        xnn.broadcast_arrays(put(device, x), leaf(device, y)), np.broadcast_arrays(x, y), strict=True
    ):
        assert_close(ours, theirs, device=device)
    with pytest.raises(ValueError, match=r"broadcast_arrays: shapes .* do not broadcast together"):
        xnn.broadcast_arrays(np.ones((2, 3)), np.ones(2))
    for indexing in ("xy", "ij"):
        axes = [np.arange(2.0), np.arange(3.0), np.arange(4.0)]
        for ours, theirs in zip(
            xnn.meshgrid(*(put(device, a) for a in axes), indexing=indexing),
            np.meshgrid(*axes, indexing=indexing),
            strict=True,
        ):
            assert_close(ours, theirs, device=device)
    with pytest.raises(ValueError, match="expected indexing 'xy' or 'ij', got 'zz'"):
        xnn.meshgrid(np.ones(2), indexing="zz")
    xnn.gradcheck(lambda a, b: xnn.meshgrid(a, b)[1] * xnn.meshgrid(a, b)[0], put(device, y), put(device, y))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_astype(device, dtype):
    x = leaf(device, [0.0, 1.0, 2.0], "float64")
    for given in (dtype, getattr(xnn, dtype), getattr(np, dtype), np.dtype(dtype), device.dtype(dtype)):
        y = xnn.astype(x, given)
        assert_close(y, np.asarray([0.0, 1.0, 2.0]).astype(dtype), device=device)
        assert y.requires_grad == dtype.startswith("float")
        assert_close(xnn.astype(x.data, given), np.asarray([0.0, 1.0, 2.0]).astype(dtype), device=device)
    if dtype.startswith("float"):
        xnn.sum(xnn.astype(x, dtype)).backward()
        assert_close(x.grad, np.ones(3), device=device)


def test_to_device_and_back(device, rng):
    x = leaf(device, rng.standard_normal((2, 3)))
    y = xnn.to_device(x, "cpu")
    assert y.device == xnn.device("cpu")
    xnn.sum(y * y).backward()
    assert_close(x.grad, 2 * y.detach().numpy(), device=device)


def test_astype_with_a_device(device):
    x = leaf(device, [1.0, 2.0], "float32")
    y = xnn.astype(x, "float64", device="cpu")
    assert_close(y, np.asarray([1.0, 2.0]), device=xnn.device("cpu"))
    xnn.sum(y * y).backward()
    assert_close(x.grad, np.asarray([2.0, 4.0], dtype="float32"), device=device)


def test_second_derivative_across_devices(device):
    x = leaf(device, [1.0, 2.0])
    xnn.sum(xnn.to_device(x, "cpu") ** 3).backward(create_graph=True)
    first, x.grad = x.grad, None
    xnn.sum(first).backward()
    assert_close(x.grad, np.asarray([6.0, 12.0]), device=device)
