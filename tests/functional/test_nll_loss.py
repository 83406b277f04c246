from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import host, needs_torch, put, torch
from xnn.backends.namespaces import reads_are_free

import xnn
import xnn.functional as F


def oracle(**options):
    return lambda z, t, *w: torch.nn.functional.nll_loss(z, t, *w, **options)


def ours(**options):
    return lambda z, t, *w: F.nll_loss(z, t, *w, **options)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_as_torch_once_and_twice_differentiated(device, rng, reduction, dtype):
    w = rng.uniform(0.5, 2, 4)
    for shape in [(5, 4), (4,), (2, 4, 3), (2, 4, 3, 2), (1, 4)]:
        z = -rng.uniform(0, 9, shape)
        axis = 1 if len(shape) > 1 else 0
        t = np.asarray(rng.integers(0, 4, shape[:axis] + shape[axis + 1 :]))
        for inputs in [(z, t), (z, t, w)]:
            same_as_torch(
                device,
                ours(reduction=reduction),
                oracle(reduction=reduction),
                *inputs,
                dtype=dtype,
                twice=shape == (5, 4),
            )


@needs_torch
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_options(data):
    draw = data.draw
    classes = draw(st.integers(2, 5))
    shape = (draw(st.integers(1, 4)), classes, *draw(st.lists(st.integers(1, 3), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    ignored = draw(st.sampled_from([-100, 0, classes - 1, -1]))
    t = rng.integers(0, classes, (shape[0], *shape[2:]))
    t[rng.uniform(size=t.shape) < 0.3] = ignored
    t.flat[0] = 0 if ignored != 0 else 1
    options = {"reduction": draw(st.sampled_from(["mean", "sum", "none"])), "ignore_index": ignored}
    inputs = [rng.standard_normal(shape) * 5, t]
    if draw(st.booleans()):
        inputs.append(rng.uniform(0.1, 2, classes))
    same_as_torch(xnn.device("cpu"), ours(**options), oracle(**options), *inputs)


@needs_torch
def test_impossible_other_classes_do_not_matter(device):
    z = np.asarray([[0.0, -np.inf], [-np.inf, -1e4]])
    same_as_torch(device, ours(), oracle(), z, np.asarray([0, 1]))
    same_as_torch(device, ours(), oracle(), z, np.asarray([0, 1]), np.asarray([2.0, 1.0]))
    same_as_torch(device, ours(ignore_index=1), oracle(ignore_index=1), z, np.asarray([0, 1]))


@needs_torch
def test_no_rows(device):
    for reduction in ("sum", "none"):
        same_as_torch(
            device,
            ours(reduction=reduction),
            oracle(reduction=reduction),
            np.ones((0, 3)),
            np.ones(0, "int64"),
        )


def test_gradient(device, rng):
    z, t, w = (
        put(device, rng.standard_normal((5, 4))),
        put(device, [0, 3, 1, -100, 2]),
        put(device, [1.0, 2, 0.5, 3]),
    )
    for reduction in ("mean", "sum", "none"):
        xnn.gradcheck(lambda z, reduction=reduction: F.nll_loss(z, t, w, reduction=reduction), z)


def test_class_out_of_range(device):
    z = put(device, np.zeros((3, 4)))
    if not reads_are_free(put(device, 0.0)):
        assert np.isnan(host(F.nll_loss(z, put(device, [0, 4, 1]))))
        return
    with pytest.raises(
        IndexError, match=r"nll_loss: expected class indices in \[0, 4\) or ignore_index -100, got 4"
    ):
        F.nll_loss(z, put(device, [0, 4, 1]))


def test_errors():
    z, t = np.ones((2, 3)), np.asarray([0, 1])
    with pytest.raises(ValueError, match="nll_loss: the mean over an empty batch is not defined"):
        F.nll_loss(np.ones((0, 3)), np.ones(0, dtype="int64"))
    with pytest.raises(ValueError, match="nll_loss: the mean is not defined: every sample is ignored"):
        F.nll_loss(z, t, np.zeros(3))
    with pytest.raises(
        ValueError, match=r"for log_probs of shape \(2, 3\) expected a target of shape \(2,\)"
    ):
        F.nll_loss(z, np.asarray([0, 1, 2]))
    with pytest.raises(ValueError, match=r"nll_loss: expected log_probs of shape .*got \(\)"):
        F.nll_loss(np.asarray(1.0), np.asarray(0))
    with pytest.raises(ValueError, match=r"expected weight of shape \(3,\), got \(2,\)"):
        F.nll_loss(z, t, np.ones(2))
    with pytest.raises(ValueError, match="expected reduction 'mean', 'sum' or 'none', got 'max'"):
        F.nll_loss(z, t, reduction="max")
    with pytest.raises(TypeError, match="nll_loss: expected integer class indices, got float64"):
        F.nll_loss(z, np.asarray([0.0, 1.0]))
    with pytest.raises(TypeError, match="log_probs and weight of one floating-point dtype"):
        F.nll_loss(z, t, np.ones(3, "float32"))
