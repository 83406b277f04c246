from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from support import assert_close, host, leaf, put

import xnn

X = np.asarray([[1.5, -2.0, 0.5], [3.0, 0.25, -1.0]])
Y = np.asarray([[2.0, 1.0, -0.5], [1.0, 4.0, 2.0]])
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod")
COMPARISON = ("eq", "ne", "lt", "le", "gt", "ge")


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISON])
def test_operators(device, name):
    function = getattr(operator, name)
    for a, b in ((X, Y), (X, 2), (X, 2.5), (2, Y), (2.5, Y)):
        ours = [leaf(device, v) if isinstance(v, np.ndarray) else v for v in (a, b)]
        y = function(*ours)
        assert isinstance(y, xnn.Tensor)
        assert_close(y, function(a, b), device=device)
        assert y.requires_grad == (name in ARITHMETIC)


def test_power(device):
    x = leaf(device, np.abs(X))
    assert_close(x**2, X**2, device=device)
    assert_close(2.0**x, 2.0 ** np.abs(X), device=device)
    assert_close(x**x, np.abs(X) ** np.abs(X), device=device)


def test_matrix_product_and_signs(device):
    x = leaf(device, X)
    assert_close(x @ x.T, X @ X.T, device=device)
    assert_close(-x, -X, device=device)
    assert_close(+x, X, device=device)
    assert_close(abs(x), np.abs(X), device=device)


@pytest.mark.parametrize("name", ["and_", "or_", "xor", "lshift", "rshift"])
def test_bits(device, name):
    function = getattr(operator, name)
    a, b = np.asarray([5, 6, 7]), np.asarray([1, 2, 3])
    assert_close(
        function(xnn.Tensor(put(device, a)), xnn.Tensor(put(device, b))), function(a, b), device=device
    )
    assert_close(function(xnn.Tensor(put(device, a)), 2), function(a, 2), device=device)
    assert_close(function(200, xnn.Tensor(put(device, b))), function(200, b), device=device)
    assert_close(~xnn.Tensor(put(device, a)), ~a, device=device)


@pytest.mark.parametrize("name", [*ARITHMETIC, *COMPARISON, "matmul", "pow"])
def test_numpy_arrays_on_the_left_give_tensors(name):
    function = getattr(operator, name)
    x = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    y = function(x, xnn.Tensor(x, requires_grad=True))
    assert isinstance(y, xnn.Tensor)
    assert_close(y, function(x, x))
    if name != "matmul":
        for number in (np.float64(2.0), np.float32(2.0), np.int64(2)):
            z = function(number, xnn.Tensor(x, requires_grad=True))
            assert isinstance(z, xnn.Tensor)
            assert_close(z, function(number, x))
            assert_close(function(xnn.Tensor(x), number), function(x, number))


def test_torch_arrays_on_the_left_give_tensors():
    torch = pytest.importorskip("torch")
    x = torch.ones(2, dtype=torch.float64)
    y = x * xnn.Tensor(x, requires_grad=True)
    assert isinstance(y, xnn.Tensor)
    assert y.requires_grad


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ipow", "ifloordiv", "imod"])
def test_operators_in_place_rebind(name):
    data = np.asarray([4.0, 9.0])
    x = xnn.Tensor(data, requires_grad=True)
    y = getattr(operator, name)(x, 2.0)
    assert y is not x
    assert_close(y, getattr(operator, name)(data.copy(), 2.0))
    assert_close(data, np.asarray([4.0, 9.0]))
    xnn.sum(y).backward()
    assert x.grad is not None
    with pytest.raises(TypeError):  # a NumPy array cannot hold the way back
        getattr(operator, name)(data, x)


# --- two devices, two libraries ------------------------------


def pairs():
    strict = pytest.importorskip("array_api_strict")
    one, two = strict.Device("CPU_DEVICE"), strict.Device("device1")
    ours = np.ones((2, 2))
    theirs = strict.ones((2, 2), dtype=strict.float64, device=one)
    other = strict.ones((2, 2), dtype=strict.float64, device=two)
    yield ours, theirs, TypeError
    yield theirs, ours, TypeError
    yield theirs, other, ValueError


MIXING = {
    **{n: getattr(operator, n) for n in (*ARITHMETIC, *COMPARISON, "matmul", "pow")},
    "maximum": xnn.maximum,
    "atan2": xnn.atan2,
    "linear": xnn.functional.linear,
    "where": lambda a, b: xnn.where(a > 0, a, b),
    "concat": lambda a, b: xnn.concat([a, b]),
    "stack": lambda a, b: xnn.stack([a, b]),
    "take": lambda a, b: xnn.take(a, b, axis=0),
    "clip": lambda a, b: xnn.clip(a, b),
    "vecdot": xnn.vecdot,
    "searchsorted": lambda a, b: xnn.searchsorted(a, b),
}


@pytest.mark.parametrize("name", MIXING)
def test_libraries_and_devices_do_not_mix(name):
    for a, b, error in pairs():
        with pytest.raises(
            error, match=r"expected all arrays on one device, got .*; move them with Tensor\.to"
        ):
            MIXING[name](xnn.Tensor(a, requires_grad=True), xnn.Tensor(b))


def test_message_names_operation_libraries_and_devices():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError) as error:
        xnn.tensor([1.0]) * xnn.Tensor(strict.ones(1))
    message = str(error.value)
    assert message.startswith(
        "multiply: expected all arrays on one device, got numpy.ndarray on cpu, array_api_strict"
    )


# --- attributes, conversions ------------------------------


def test_attributes(device):
    x = leaf(device, X)
    assert (tuple(x.shape), x.ndim, x.size, len(x)) == ((2, 3), 2, 6, 2)
    assert x.device == device
    assert x.dtype == x.data.dtype
    assert x.is_leaf
    assert not (x * 1.0).is_leaf
    assert hash(x) != hash(leaf(device, X))
    assert len({x, x}) == 1


def test_iteration_and_length():
    x = xnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    rows = list(x)
    assert [r.tolist() for r in rows] == [[1.0, 2.0], [3.0, 4.0]]
    xnn.sum(rows[1]).backward()
    assert x.grad.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    with pytest.raises(TypeError, match="Tensor without dimensions"):
        len(xnn.tensor(1.0))
    with pytest.raises(TypeError):
        list(xnn.tensor(1.0))


def test_python_numbers(device):
    x = leaf(device, 2.5)
    assert float(x) == x.item() == 2.5
    assert int(x) == 2
    assert bool(x)
    assert complex(x) == 2.5
    assert operator.index(xnn.Tensor(put(device, 3))) == 3
    assert leaf(device, [[7.0]]).item() == 7.0
    assert x.tolist() == 2.5
    assert leaf(device, X).tolist() == X.tolist()
    with pytest.raises(ValueError, match=r"item: expected a Tensor with one element, got shape \(2, 3\)"):
        leaf(device, X).item()


def test_numpy(device):
    x = leaf(device, X)
    with pytest.raises(
        RuntimeError, match=r"numpy: this Tensor requires a gradient.*use \.detach\(\)\.numpy\(\)"
    ):
        x.numpy()
    y = x.detach().numpy()
    assert isinstance(y, np.ndarray)
    assert y.tolist() == X.tolist()
    assert np.asarray(x.detach()).tolist() == X.tolist()
    assert np.asarray(x.detach(), dtype="float32").dtype == np.float32
    copied = np.array(x.detach(), copy=True)
    copied[0] = 0
    assert host(x).tolist() == X.tolist()


def test_numpy_shares_on_the_cpu():
    data = np.ones(2)
    assert xnn.Tensor(data).numpy() is data or np.shares_memory(xnn.Tensor(data).numpy(), data)


def test_to(device):
    x = leaf(device, X)
    assert x.to() is x
    assert x.to(device) is x
    assert x.to(dtype="float64") is x
    y = x.to("cpu", "float32")
    assert_close(y, X.astype("float32"), device=xnn.device("cpu"))
    xnn.sum(y).backward()
    assert_close(x.grad, np.ones((2, 3)), device=device)
    assert x.to_device("cpu").device == xnn.device("cpu")
    assert x.to_device(x.device).device == device


def test_dlpack():
    x = xnn.tensor([1.0, 2.0])
    assert np.from_dlpack(x).tolist() == [1.0, 2.0]
    assert x.__dlpack_device__() == x.data.__dlpack_device__()


def test_requires_grad_(device):
    x = xnn.Tensor(put(device, X))
    assert x.requires_grad_() is x
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match="requires_grad_: only a leaf can be switched"):
        (leaf(device, X) * 2.0).requires_grad_(False)
    with pytest.raises(TypeError, match="requires_grad: expected a real floating-point dtype, got int64"):
        xnn.Tensor(put(device, [1])).requires_grad_()


def test_methods(device):
    x = leaf(device, X)
    assert_close(x.sum(0), X.sum(0), device=device)
    assert_close(x.mean(axis=1, keepdims=True), X.mean(1, keepdims=True), device=device)
    assert_close(x.max(), np.asarray(X.max()), device=device)
    assert_close(x.min(1), X.min(1), device=device)
    assert_close(x.reshape(3, 2), X.reshape(3, 2), device=device)
    assert_close(x.reshape((3, -1)), X.reshape(3, 2), device=device)
    assert_close(x.reshape(-1), X.reshape(-1), device=device)
    assert x.__array_namespace__() is xnn.array_api


def test_repr():
    x = xnn.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor(array([1., 2.], dtype=float32), requires_grad=True)"
    assert repr(x.detach()) == "tensor(array([1., 2.], dtype=float32))"
    assert repr(x * 2.0) == "tensor(array([2., 4.], dtype=float32), requires_grad=True, made by multiply)"
    assert repr(xnn.unstack(x)[0]).endswith("made by unstack)")


# --- tensor() ------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, "int64"),
        (1.5, "float32"),
        ([1, 2], "int64"),
        ([1, 2.5], "float32"),
        ([True, False], "bool"),
        ([[]], "float32"),
        (np.asarray([1.0]), "float64"),
        (np.asarray([1], dtype="int8"), "int8"),
        (np.float64(1.5), "float64"),
    ],
)
def test_tensor_chooses_a_dtype(data, dtype):
    t = xnn.tensor(data)
    assert_close(t, np.asarray(data).astype(dtype))


def test_tensor_copies(device):
    data = device.asarray(np.ones(2), copy=True)
    for given in (data, xnn.Tensor(data)):
        t = xnn.tensor(given, requires_grad=True)
        assert t.data is not data
        assert t.device == device
        assert t.requires_grad
        assert t.is_leaf
    x = np.ones(2)
    assert not np.shares_memory(xnn.tensor(x).data, x)
    assert math.isclose(xnn.tensor(x, dtype=xnn.float32).data.itemsize, 4)


def test_tensor_of_integers_requires_no_gradient():
    with pytest.raises(TypeError, match="requires_grad: expected a real floating-point dtype, got int64"):
        xnn.tensor([1, 2], requires_grad=True)


def test_a_single_element_is_formatted_as_a_number():
    loss = xnn.tensor(1.23456, requires_grad=True)
    assert f"{loss:.3f}" == "1.235"
    assert f"{loss}" == str(loss)
    with pytest.raises(ValueError, match="expected a Tensor with one element"):
        format(xnn.tensor([1.0, 2.0]), ".3f")


def test_a_missing_method_points_to_the_function():
    x = xnn.tensor([1.0])
    with pytest.raises(AttributeError, match=r"no attribute 'exp'; use xnn.exp\(tensor\)"):
        x.exp()
    with pytest.raises(AttributeError, match=r"use xnn.functional.softmax\(tensor\)"):
        x.softmax(dim=0)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        _ = x.nonsense


@pytest.mark.parametrize("data", ["abc", None, ["a", "b"], {"a": 1}])
def test_a_tensor_holds_numbers(data):
    with pytest.raises(TypeError, match="tensor: expected numbers"):
        xnn.tensor(data)


def test_an_operation_names_itself_where_it_gets_no_array():
    with pytest.raises(TypeError, match=r"linear: expected an array .*, got list"):
        xnn.functional.linear([[1.0]], xnn.tensor([[1.0]]))
    with pytest.raises(TypeError, match=r"cross_entropy: expected an array .*, got list"):
        xnn.functional.cross_entropy(xnn.tensor([[1.0]]), [0])
