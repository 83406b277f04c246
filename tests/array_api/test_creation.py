from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, is_plain, leaf, put

import xnn


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda d: xnn.zeros((2, 3), device=d), np.zeros((2, 3), dtype="float32")),
        (lambda d: xnn.ones(2, device=d), np.ones(2, dtype="float32")),
        (lambda d: xnn.zeros((0, 2), dtype="int64", device=d), np.zeros((0, 2), dtype="int64")),
        (lambda d: xnn.full((2,), 3, device=d), np.full(2, 3)),
        (lambda d: xnn.full((), 3.5, device=d), np.full((), 3.5, dtype="float32")),
        (lambda d: xnn.full((1,), True, device=d), np.full(1, True)),
        (lambda d: xnn.full((1,), 3, dtype="float64", device=d), np.full(1, 3.0)),
        (lambda d: xnn.arange(4, device=d), np.arange(4)),
        (lambda d: xnn.arange(1, 7, 2, device=d), np.arange(1, 7, 2)),
        (lambda d: xnn.arange(1.0, 2.0, 0.25, device=d), np.arange(1.0, 2.0, 0.25, dtype="float32")),
        (lambda d: xnn.linspace(0, 1, 5, device=d), np.linspace(0, 1, 5, dtype="float32")),
        (
            lambda d: xnn.linspace(0, 1, 4, endpoint=False, dtype="float64", device=d),
            np.linspace(0, 1, 4, endpoint=False),
        ),
        (lambda d: xnn.eye(3, device=d), np.eye(3, dtype="float32")),
        (lambda d: xnn.eye(2, 3, k=1, dtype="float64", device=d), np.eye(2, 3, k=1)),
        (lambda d: xnn.asarray([[1.0, 2.0]], dtype="float64", device=d), np.asarray([[1.0, 2.0]])),
        (lambda d: xnn.asarray([1, 2], device=d), np.asarray([1, 2])),
    ],
)
def test_from_shapes_and_numbers(device, call, expected):
    y = call(device)
    assert isinstance(y, xnn.Tensor)
    assert not y.requires_grad
    assert_close(y, expected, device=device)


def test_empty(device):
    y = xnn.empty((2, 3), dtype="int64", device=device)
    assert_close(xnn.zeros_like(y), np.zeros((2, 3), dtype="int64"), device=device)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "full_like", "empty_like"])
def test_like(device, name):
    value = {"zeros_like": 0.0, "ones_like": 1.0, "full_like": 7.0, "empty_like": None}[name]
    rest = (7.0,) if name == "full_like" else ()
    x = np.asarray([[1.0, 2.0]], dtype="float32")
    for given, tensor in ((put(device, x), False), (leaf(device, x), True)):
        y = getattr(xnn, name)(given, *rest)
        assert isinstance(y, xnn.Tensor) == tensor
        assert is_plain(y) != tensor
        if value is not None:
            assert_close(y, np.full_like(x, value), device=device)
            wide = getattr(xnn, name)(given, *rest, dtype=xnn.float64)
            assert_close(wide, np.full(x.shape, value), device=device)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), xnn.float32])
def test_dtypes_of_any_kind(device, dtype):
    for y in (
        xnn.zeros(2, dtype=dtype, device=device),
        xnn.tensor([0, 0], dtype=dtype, device=device),
        xnn.asarray(np.zeros(2), dtype=dtype, device=device),
        xnn.zeros_like(put(device, [1.0, 2.0]), dtype=dtype),
        put(device, [0, 0], dtype),
        xnn.tensor([0.0, 0.0], device=device).to(dtype=dtype),
    ):
        assert_close(y, np.zeros(2, dtype="float32"), device=device)


@pytest.mark.parametrize("dtype", ["float33", "object", float, "int"])
def test_unknown_dtypes(dtype):
    with pytest.raises(TypeError, match=r"dtype: expected one of bool, int8.*got"):
        xnn.zeros(2, dtype=dtype)


def test_asarray_shares_and_copies():
    x = np.ones(3)
    assert xnn.asarray(x).data is x
    assert xnn.asarray(x, copy=True).data is not x
    t = xnn.Tensor(x, requires_grad=True)
    assert xnn.asarray(t) is t
    assert not np.shares_memory(xnn.asarray(t, copy=True).data, x)


def test_asarray_between_namespaces(device):
    assert_close(xnn.asarray(np.asarray([1.0, 2.0]), device=device), np.asarray([1.0, 2.0]), device=device)
    back = xnn.asarray(put(device, [1.0, 2.0]), device="cpu")
    assert_close(back, np.asarray([1.0, 2.0]), device=xnn.device("cpu"))


def test_from_dlpack(device):
    x = np.asarray([1.0, 2.0])
    assert_close(xnn.from_dlpack(xnn.Tensor(x)), x)
    assert_close(xnn.from_dlpack(x, device=device), x, device=device)

    class Speaker:
        def __dlpack__(self, **options):
            return x.__dlpack__(**options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    assert_close(xnn.from_dlpack(Speaker()), x)
