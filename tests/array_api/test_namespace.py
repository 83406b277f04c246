"""The namespace as a whole: it is the standard's, and on plain arrays every function is plain."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from support import put

import xnn
from xnn import array_api

# The main namespace of version 2024.12, chapter by chapter.
# fmt: off
STANDARD = [
    "e", "inf", "nan", "newaxis", "pi", "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack",
    "full", "full_like", "linspace", "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
    "astype", "broadcast_arrays", "broadcast_to", "can_cast", "finfo", "iinfo", "isdtype", "result_type",
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
    "complex64", "complex128", "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh",
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "clip", "copysign", "cos", "cosh", "divide", "equal", "exp", "expm1", "floor", "floor_divide",
    "greater", "greater_equal", "hypot", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p",
    "log2", "log10", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum",
    "minimum", "multiply", "negative", "nextafter", "not_equal", "positive", "pow", "reciprocal", "remainder",
    "round", "sign", "signbit", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "trunc", "take",
    "take_along_axis", "matmul", "matrix_transpose", "tensordot", "vecdot", "concat", "expand_dims", "flip",
    "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "tile", "unstack", "argmax",
    "argmin", "count_nonzero", "nonzero", "searchsorted", "where", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "argsort", "sort", "cumulative_prod", "cumulative_sum", "max", "mean",
    "min", "prod", "std", "sum", "var", "all", "any", "diff", "__array_namespace_info__",
]
# fmt: on
COMPLEX = ("conj", "imag", "real")

# How each function is called: on a matrix x of floats in (0.1, 0.9), unless named here.
SPECIAL = {
    "astype": lambda F, x: F.astype(x, "float32"),
    "bitwise_invert": lambda F, x: F.bitwise_invert(F.astype(x, "int64")),
    "broadcast_arrays": lambda F, x: F.broadcast_arrays(x, x[:1, :]),
    "broadcast_to": lambda F, x: F.broadcast_to(x, (2, 3, 3)),
    "clip": lambda F, x: F.clip(x, 0.2, 0.5),
    "concat": lambda F, x: F.concat([x, x]),
    "cumulative_prod": lambda F, x: F.cumulative_prod(x, axis=0),
    "cumulative_sum": lambda F, x: F.cumulative_sum(x, axis=0),
    "full_like": lambda F, x: F.full_like(x, 2.0),
    "getitem": lambda F, x: F.getitem(x, (0, ...)),
    "logical_not": lambda F, x: F.logical_not(x > 0.5),
    "meshgrid": lambda F, x: F.meshgrid(x[0, :], x[1, :]),
    "moveaxis": lambda F, x: F.moveaxis(x, 0, 1),
    "permute_dims": lambda F, x: F.permute_dims(x, (1, 0)),
    "repeat": lambda F, x: F.repeat(x, 2),
    "reshape": lambda F, x: F.reshape(x, (-1,)),
    "roll": lambda F, x: F.roll(x, 1),
    "searchsorted": lambda F, x: F.searchsorted(F.sort(x[0, :]), x[1, :]),
    "squeeze": lambda F, x: F.squeeze(x[:1, :], axis=0),
    "stack": lambda F, x: F.stack([x, x]),
    "take": lambda F, x: F.take(x, F.argsort(x[0, :]), axis=0),
    "take_along_axis": lambda F, x: F.take_along_axis(x, F.argsort(x, axis=0), axis=0),
    "tensordot": lambda F, x: F.tensordot(x, x, axes=1),
    "tile": lambda F, x: F.tile(x, (2, 1)),
    "to_device": lambda F, x: F.to_device(x, xnn.backends.device_of(x)),
    "where": lambda F, x: F.where(x > 0.5, x, -x),
    "acosh": lambda F, x: F.acosh(x + 1.0),
    **{
        name: lambda F, x, name=name: getattr(F, name)(F.astype(x > 0.5, "int64"), F.astype(x > 0.3, "int64"))
        for name in array_api.__all__
        if name.startswith("bitwise") and name != "bitwise_invert"
    },
    **{
        name: lambda F, x, name=name: getattr(F, name)(x > 0.5, x > 0.3)
        for name in ("logical_and", "logical_or", "logical_xor")
    },
}
# fmt: off
TWO = [
    "add", "atan2", "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot",
    "less", "less_equal", "logaddexp", "matmul", "maximum", "minimum", "multiply", "nextafter", "not_equal",
    "pow", "remainder", "subtract", "vecdot",
]
# fmt: on
# Make Tensors from numbers, or answer with something that is no array.
# fmt: off
NO_ARRAYS = [
    "arange", "asarray", "can_cast", "e", "empty", "eye", "finfo", "from_dlpack", "full", "iinfo", "inf",
    "isdtype", "linspace", "nan", "newaxis", "ones", "pi", "result_type", "zeros",
]
# fmt: on
# Whose results carry no gradient.
# fmt: off
WITHOUT = [
    "all", "any", "argmax", "argmin", "argsort", "count_nonzero", "empty_like", "equal", "full_like",
    "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal", "nonzero", "not_equal",
    "ones_like", "searchsorted", "signbit", "zeros_like",
]
# fmt: on
FUNCTIONS = [name for name in array_api.__all__ if name not in NO_ARRAYS]


def arrays_in(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def call(name, x):
    if name in SPECIAL:
        return SPECIAL[name](xnn, x)
    function = getattr(xnn, name)
    return function(x, x) if name in TWO else function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_arrays_in_plain_arrays_out(device, rng, name):
    x = put(device, rng.uniform(0.1, 0.9, (3, 3)))
    for y in arrays_in(call(name, x)):
        assert not isinstance(y, xnn.Tensor), f"{name} made a Tensor of a plain array"
        assert xnn.backends.device_of(y) == device
    for y in arrays_in(call(name, xnn.Tensor(x))):
        assert isinstance(y, xnn.Tensor), f"{name} lost the Tensor"
        assert y.is_leaf, f"{name} recorded without a gradient to compute"
    with xnn.no_grad():
        for y in arrays_in(call(name, xnn.Tensor(x, requires_grad=True))):
            assert not y.requires_grad
            assert y.is_leaf


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_differentiable_function_gives_a_gradient(rng, name):
    x = xnn.Tensor(rng.uniform(0.1, 0.9, (3, 3)), requires_grad=True)
    results = [y for y in arrays_in(call(name, x)) if y.requires_grad]
    if name in WITHOUT or name.startswith(("bitwise", "logical_")):
        assert not results
        return
    assert results
    for y in results:
        x.grad = None
        xnn.sum(y).backward(retain_graph=True)
        assert x.grad.shape == (3, 3)


def test_everything_of_the_standard_is_there():
    missing = [name for name in STANDARD if not hasattr(array_api, name)]
    assert missing == []
    assert array_api.__array_api_version__ == "2024.12"
    assert [n for n in STANDARD if n not in (*xnn.array_api.data_types.NAMES,) and not hasattr(xnn, n)] == [
        "__array_namespace_info__"
    ]


def test_what_is_exported_is_the_standard_and_two_more():
    dtypes = array_api.data_types.NAMES
    assert set(array_api.__all__) - set(STANDARD) == {"getitem", "to_device"}
    assert set(STANDARD) - set(array_api.__all__) == {*dtypes, "__array_namespace_info__"}


def test_parameters_are_the_standard_s():
    strict = pytest.importorskip("array_api_strict")
    skip = {"from_dlpack", "asarray", *NO_ARRAYS}
    for name in STANDARD:
        ours, theirs = getattr(array_api, name), getattr(strict, name, None)
        if name in skip or not callable(ours) or not inspect.isfunction(theirs):
            continue
        expected = {p.name: p.kind for p in inspect.signature(theirs).parameters.values()}
        got = {p.name: p.kind for p in inspect.signature(getattr(ours, "forward", ours)).parameters.values()}
        for parameter, kind in expected.items():
            if kind is inspect.Parameter.KEYWORD_ONLY:
                assert parameter in got, f"{name} lacks {parameter}"


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_are_refused(name):
    with pytest.raises(AttributeError, match=f"{name}: complex numbers are not supported yet"):
        getattr(array_api, name)
    with pytest.raises(TypeError, match="expected a real floating-point dtype, got complex128"):
        xnn.tensor([1j], requires_grad=True)


def test_unknown_names():
    for module in (xnn, array_api):
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            module.nonsense  # noqa: B018


def test_info():
    info = array_api.__array_namespace_info__()
    assert info.default_device() == xnn.device("cpu")
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == np.float32
    assert set(info.dtypes(kind="integral")) >= {"int64", "uint8"}
    assert "float64" in info.dtypes()
    assert info.capabilities()["boolean indexing"]


def test_code_for_the_standard_differentiates_unchanged(device):
    def softmax(x):
        xp = x.__array_namespace__()
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    xnn.gradcheck(softmax, put(device, [[1.0, 2.0, 4.0]]))
