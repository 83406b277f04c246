"""TF32 and bfloat16 as CuPy must be told of them, with a stand-in for it."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from xnn.backends.cupy import CudaDevice, precision

import xnn


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.delenv("CUPY_TF32", raising=False)
    fake: Any = types.ModuleType("cupy")
    fake.ndarray = type("ndarray", (), {})  # array-api-compat looks for it as soon as there is a cupy
    core: Any = types.ModuleType("cupy._core")
    products: Any = types.ModuleType("cupy._core._routines_linalg")
    fake.__version__ = "14.2.0"
    fake.dtype = np.dtype
    fake.cuda = types.SimpleNamespace(Device=lambda index: contextlib.nullcontext())
    products.COMPUTE_TYPE_TF32 = 7
    products.chosen = []
    products.set_compute_type = lambda dtype, kind: products.chosen.append((dtype.name, kind))
    fake._core, core._routines_linalg = core, products
    for module in (fake, core, products):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield products
    os.environ.pop("CUPY_TF32", None)


def test_tf32_is_chosen_in_cupy_itself_as_it_has_read_its_variable_already(cupy):
    CudaDevice(0).allow_tf32()
    assert cupy.chosen == [("float32", 7)]
    assert os.environ["CUPY_TF32"] == "1"


def test_where_the_variable_is_set_cupy_knows(cupy, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "1")
    CudaDevice(0).allow_tf32()
    assert cupy.chosen == []


def test_too_late_is_said(cupy):
    del cupy.set_compute_type
    with pytest.raises(
        xnn.DeviceError, match="set the environment variable CUPY_TF32=1 before the program starts"
    ):
        CudaDevice(0).allow_tf32()
    assert "CUPY_TF32" not in os.environ


def test_other_devices_have_no_tf32_and_compute_in_float32():
    assert xnn.training.Precision("tf32", xnn.device("cpu")).dtype is None


def test_bfloat16_is_that_of_ml_dtypes(cupy, monkeypatch):
    monkeypatch.setattr(precision, "teach_bfloat16", lambda: None)
    assert CudaDevice(0).dtype("bfloat16") == np.dtype(ml_dtypes.bfloat16)
    assert CudaDevice(0).dtype(np.dtype(ml_dtypes.bfloat16)) == np.dtype(ml_dtypes.bfloat16)
    sys.modules["cupy"].__version__ = "13.6.0"
    with pytest.raises(TypeError, match=r"bfloat16 needs CuPy 14 or newer, this is 13\.6\.0"):
        CudaDevice(0).dtype("bfloat16")
    sys.modules["cupy"].__version__ = "14.2.0"
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="pip install ml_dtypes"):
        CudaDevice(0).dtype("bfloat16")


def test_isdtype_learns_bfloat16(monkeypatch):
    namespace: Any = types.ModuleType("array_api_compat.cupy")
    namespace.isdtype = np.isdtype
    import array_api_compat

    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
    monkeypatch.setattr(array_api_compat, "cupy", namespace, raising=False)
    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    for _ in range(2):
        precision.teach_bfloat16()
        assert namespace.isdtype(bfloat16, "real floating")
        assert namespace.isdtype(bfloat16, ("integral", "numeric"))
        assert namespace.isdtype(bfloat16, bfloat16)
        assert not namespace.isdtype(bfloat16, ("integral", "bool", "complex floating"))
        assert namespace.isdtype(np.dtype("int8"), "integral")
        assert not namespace.isdtype(np.dtype("int8"), ("real floating", np.dtype("int16")))
    assert namespace.isdtype.__name__ == "knowing"
