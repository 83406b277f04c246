from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_close, host, leaf, needs_torch, put, torch
from xnn.backends.namespaces import reads_are_free

import xnn
import xnn.functional as F


def oracle(**options):
    return lambda z, t, *w: torch.nn.functional.cross_entropy(z, t, *w, **options)


def ours(**options):
    return lambda z, t, *w: F.cross_entropy(z, t, *w, **options)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_as_torch_once_and_twice_differentiated(device, rng, reduction, dtype):
    w = rng.uniform(0.5, 2, 4)
    for shape in [(5, 4), (4,), (2, 4, 3), (2, 4, 3, 2), (1, 4)]:
        z = rng.standard_normal(shape) * 3
        axis = 1 if len(shape) > 1 else 0
        samples = shape[:axis] + shape[axis + 1 :]
        t = np.asarray(rng.integers(0, 4, samples))
        q = np.moveaxis(rng.dirichlet(np.ones(4), samples), -1, axis)
        if dtype == "float32" and shape != (2, 4, 3):
            continue
        for smoothing in (0.0, 0.1):
            options = {"reduction": reduction, "label_smoothing": smoothing}
            twice = shape == (5, 4) and dtype == "float64"
            for inputs in [(z, t), (z, t, w)]:
                same_as_torch(device, ours(**options), oracle(**options), *inputs, dtype=dtype, twice=twice)
            for inputs in [(z, q), (z, q, w)]:
                same_as_torch(
                    device,
                    ours(**options),
                    oracle(**options),
                    *inputs,
                    dtype=dtype,
                    differentiate=(0, 1),
                    twice=twice,
                )


@needs_torch
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_options(data):
    draw = data.draw
    classes = draw(st.integers(1, 5))
    shape = (draw(st.integers(1, 4)), classes, *draw(st.lists(st.integers(1, 3), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    ignored = draw(st.sampled_from([-100, 0, classes - 1, -1]))
    t = rng.integers(0, classes, (shape[0], *shape[2:]))
    t[rng.uniform(size=t.shape) < 0.3] = ignored
    if np.all(t == ignored):
        t.flat[0] = 0 if ignored != 0 else classes - 1
    options = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.2, 1.0])),
        "ignore_index": ignored,
    }
    inputs = [rng.standard_normal(shape) * 5, t]
    if draw(st.booleans()):
        inputs.append(rng.uniform(0.1, 2, classes))
    if np.all(t == ignored) and options["reduction"] == "mean":
        return
    same_as_torch(xnn.device("cpu"), ours(**options), oracle(**options), *inputs)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits(device, dtype):
    z = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0.0, 100.0, -100.0]])
    same_as_torch(device, ours(), oracle(), z, np.asarray([1, 2, 0, 2]), dtype=dtype)
    q = np.asarray([[0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    same_as_torch(device, ours(), oracle(), z, q, dtype=dtype, differentiate=(0, 1))


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
    z, t, w = rng.standard_normal((5, 4)) * 2, put(device, [0, 3, 1, 1, 2]), put(device, [1.0, 2.0, 0.5, 1.5])
    q = rng.dirichlet(np.ones(4), 5)
    for reduction in ("mean", "sum", "none"):
        options = {"reduction": reduction, "label_smoothing": 0.1}
        xnn.gradcheck(lambda z, options=options: F.cross_entropy(z, t, w, **options), put(device, z))
        xnn.gradcheck(
            lambda z, q, options=options: F.cross_entropy(z, q, w, **options), put(device, z), put(device, q)
        )


def test_other_integer_dtypes(device):
    z = put(device, [[1.0, 2.0], [3.0, 1.0]])
    want = F.cross_entropy(z, put(device, [0, 1]))
    for dtype in ("int32", "uint8"):
        assert_close(F.cross_entropy(z, put(device, [0, 1], dtype)), host(want), device=device)


def test_class_out_of_range(device):
    z = leaf(device, np.zeros((3, 4)))
    message = r"cross_entropy: expected class indices in \[0, 4\) or ignore_index -100, got {} for sample {}"
    if not reads_are_free(put(device, 0.0)):
        assert np.isnan(host(F.cross_entropy(z, put(device, [0, 4, 1]))))
        return
    for target, wrong, sample in [([0, 4, 1], 4, 1), ([0, -100, -1], -1, 2), ([-7, 2, 9], -7, 0)]:
        with pytest.raises(IndexError, match=message.format(wrong, sample)):
            F.cross_entropy(z, put(device, target))


def test_a_mean_over_nothing():
    with pytest.raises(ValueError, match=r"cross_entropy: the mean over an empty batch is not defined"):
        F.cross_entropy(np.ones((0, 3)), np.ones(0, dtype="int64"))
    with pytest.raises(ValueError, match="cross_entropy: the mean is not defined: every sample is ignored"):
        F.cross_entropy(np.ones((2, 3)), np.asarray([-100, -100]))
    loss = F.cross_entropy(np.ones((2, 3)), np.asarray([-100, -100]), reduction="sum")
    assert loss == 0


def test_errors():
    z, t = np.ones((2, 3)), np.asarray([0, 1])
    with pytest.raises(
        ValueError, match=r"for logits of shape \(2, 3\) expected class indices of shape \(2,\)"
    ):
        F.cross_entropy(z, np.asarray([0, 1, 2]))
    with pytest.raises(ValueError, match=r"got float64 of shape \(2,\)"):
        F.cross_entropy(z, np.asarray([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"cross_entropy: expected logits of shape .*got \(\)"):
        F.cross_entropy(np.asarray(1.0), np.asarray(0))
    with pytest.raises(ValueError, match=r"expected weight of shape \(3,\), got \(2,\)"):
        F.cross_entropy(z, t, np.ones(2))
    with pytest.raises(ValueError, match=r"expected label_smoothing in \[0, 1\], got 1.5"):
        F.cross_entropy(z, t, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"expected reduction 'mean', 'sum' or 'none', got 'batchmean'"):
        F.cross_entropy(z, t, reduction="batchmean")
    with pytest.raises(TypeError, match="cross_entropy: expected a real floating-point dtype, got int64"):
        F.cross_entropy(t, t)
    with pytest.raises(
        TypeError, match="logits and weight of one floating-point dtype, got float64 and float32"
    ):
        F.cross_entropy(z, t, np.ones(3, "float32"))
    with pytest.raises(TypeError, match="logits and target probabilities of one floating-point dtype"):
        F.cross_entropy(z, z.astype("float32"))


@needs_torch
def test_impossible_other_classes_do_not_matter(device):
    z, t, w = (
        np.asarray([[0.0, -np.inf, 1.0], [2.0, -np.inf, -np.inf]]),
        np.asarray([2, 0]),
        np.asarray([1.0, 2, 3]),
    )
    same_as_torch(device, ours(), oracle(), z, t)
    same_as_torch(device, ours(), oracle(), z, t, w)
