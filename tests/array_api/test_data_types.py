from __future__ import annotations

import numpy as np
import pytest
from support import leaf, put
from xnn.backends import dtype_name

import xnn

NAMES = ("bool", "int8", "int16", "int32", "int64", "uint8", "float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    dtype = getattr(xnn, name)
    assert np.dtype(dtype).name == name
    assert dtype_name(dtype) == dtype_name(np.dtype(name)) == dtype_name(getattr(np, name)) == name


def test_names_of_other_namespaces(device):
    for name in ("bool", "int64", "float32", "float64"):
        assert dtype_name(put(device, [1, 0], name).dtype) == name


def test_isdtype(device):
    x = put(device, [1.0], "float32")
    assert xnn.isdtype(x.dtype, "real floating")
    assert xnn.isdtype(x.dtype, xnn.float32)
    assert xnn.isdtype(x.dtype, ("integral", "float32"))
    assert not xnn.isdtype(x.dtype, ("integral", "bool"))
    assert xnn.isdtype("bool", "bool")
    assert not xnn.isdtype(xnn.int8, "unsigned integer")


def test_limits(device):
    assert xnn.finfo(put(device, [1.0], "float32")).eps == np.finfo("float32").eps
    assert xnn.finfo(leaf(device, [1.0]).dtype).max == np.finfo("float64").max
    assert xnn.iinfo("int8").max == 127
    assert xnn.iinfo(xnn.uint16).max == 65535


def test_result_type(device):
    x32, x64, i8 = (put(device, [1], d) for d in ("float32", "float64", "int8"))

    def name(*values):
        return dtype_name(xnn.result_type(*values))

    assert name(x32, x64) == "float64"
    assert name(x32, 1.5) == "float32"
    assert name(x32, "float64") == "float64"
    assert name(xnn.Tensor(i8), xnn.int32) == "int32"
    assert name("float32", xnn.float64) == "float64"
    assert name(xnn.float32, 2.0) == "float32"
    assert xnn.can_cast(i8, "int16")
    assert xnn.can_cast("float32", xnn.float64)
    assert not xnn.can_cast(xnn.float64, "float32")


def test_result_type_of_two_libraries():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(TypeError, match="expected all arrays on one device"):
        xnn.result_type(np.ones(1), strict.ones(1))
