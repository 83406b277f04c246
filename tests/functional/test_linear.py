from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs_torch, put, torch

import xnn
import xnn.functional as F


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 5), (5,), (2, 3, 5), (1, 5), (0, 5), (2, 1, 3, 5)])
def test_as_torch_once_and_twice_differentiated(device, rng, shape, bias, dtype):
    x, w, b = rng.standard_normal(shape), rng.standard_normal((3, 5)), rng.standard_normal(3)
    inputs = (x, w, b) if bias else (x, w)
    same_as_torch(
        device,
        F.linear,
        torch.nn.functional.linear,
        *inputs,
        dtype=dtype,
        differentiate=range(len(inputs)),
        twice=dtype == "float64" and 0 not in shape,
    )


@needs_torch
@settings(max_examples=25, deadline=None, derandomize=True)
@given(lead=st.lists(st.integers(0, 4), max_size=3), n_in=st.integers(1, 6), n_out=st.integers(1, 6))
def test_any_shape(lead, n_in, n_out):
    rng = np.random.default_rng(0)
    inputs = (
        rng.standard_normal((*lead, n_in)),
        rng.standard_normal((n_out, n_in)),
        rng.standard_normal(n_out),
    )
    same_as_torch(xnn.device("cpu"), F.linear, torch.nn.functional.linear, *inputs, differentiate=(0, 1, 2))


def test_gradient(device, rng):
    x, w, b = (put(device, rng.standard_normal(s)) for s in [(2, 3, 4), (5, 4), (5,)])
    xnn.gradcheck(F.linear, x, w, b)


def test_only_what_is_needed_is_computed(rng):
    x, w, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)
    _, backward = F.linear.vjp(x, w, b)
    assert [g is None for g in backward(np.ones((2, 4)), (True, False, False))] == [False, True, True]
    assert [g is None for g in backward(np.ones((2, 4)), (False, True, True))] == [True, False, False]


def test_errors():
    x, w, b = np.ones((2, 3)), np.ones((4, 3)), np.ones(4)
    with pytest.raises(ValueError, match=r"linear: expected x of shape .*got \(2, 5\) and \(4, 3\)"):
        F.linear(np.ones((2, 5)), w, b)
    with pytest.raises(ValueError, match=r"linear: expected x of shape .*got \(\) and \(4, 3\)"):
        F.linear(np.asarray(1.0), w)
    with pytest.raises(ValueError, match=r"linear: expected bias of shape \(4,\).*got \(3,\)"):
        F.linear(x, w, np.ones(3))
    with pytest.raises(
        TypeError, match="linear: expected x and weight of one floating-point dtype, got float32 and"
    ):
        F.linear(x.astype("float32"), w)
    with pytest.raises(TypeError, match="linear: expected x and bias of one floating-point dtype"):
        F.linear(x, w, b.astype("float32"))
    with pytest.raises(TypeError, match="linear: expected a real floating-point dtype, got int64"):
        F.linear(x.astype("int64"), w.astype("int64"))
