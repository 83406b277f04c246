"""The losses that compare two arrays of one shape: each against PyTorch, by one battery."""

from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import needs_torch, put, torch

import xnn
import xnn.functional as F


def softmax_mse(x, t, reduction):
    return torch.nn.functional.mse_loss(torch.softmax(x, -1), t, reduction=reduction)


def of_torch(name, **options):
    return lambda x, t, reduction: getattr(torch.nn.functional, name)(x, t, reduction=reduction, **options)


CASES = {
    "mse_loss": (F.mse_loss, {}, of_torch("mse_loss")),
    "l1_loss": (F.l1_loss, {}, of_torch("l1_loss")),
    "smooth_l1_loss": (F.smooth_l1_loss, {}, of_torch("smooth_l1_loss")),
    "smooth_l1_loss 0.3": (F.smooth_l1_loss, {"beta": 0.3}, of_torch("smooth_l1_loss", beta=0.3)),
    "smooth_l1_loss 0": (F.smooth_l1_loss, {"beta": 0.0}, of_torch("smooth_l1_loss", beta=0.0)),
    "huber_loss": (F.huber_loss, {}, of_torch("huber_loss")),
    "huber_loss 2.5": (F.huber_loss, {"delta": 2.5}, of_torch("huber_loss", delta=2.5)),
    "softmax_mse_loss": (F.softmax_mse_loss, {}, softmax_mse),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits,
        {},
        of_torch("binary_cross_entropy_with_logits"),
    ),
    "kl_div": (F.kl_div, {}, of_torch("kl_div")),
    "kl_div log_target": (F.kl_div, {"log_target": True}, of_torch("kl_div", log_target=True)),
}
every = pytest.mark.parametrize("name", CASES)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
pytestmark = pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # PyTorch's kl_div on "mean"


def inputs_of(name, rng, shape):
    x, t = rng.standard_normal(shape) * 2, rng.standard_normal(shape) * 2
    if name in ("binary_cross_entropy_with_logits", "kl_div", "softmax_mse_loss"):
        t = rng.uniform(0.05, 0.95, shape)
    if name.startswith("kl_div"):
        x = -np.abs(x)
    return np.asarray(x), np.asarray(t)


@needs_torch
@every
@reductions
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_torch_once_and_twice_differentiated(device, rng, name, reduction, dtype):
    ours, options, theirs = CASES[name]
    for shape in [(4, 5), (7,), (2, 1, 3), (1, 1), (), (0, 3)]:
        if dtype == "float32" and shape != (4, 5):
            continue
        if (0 in shape and reduction == "mean") or (shape == () and name == "softmax_mse_loss"):
            continue
        same_as_torch(
            device,
            lambda x, t: ours(x, t, reduction=reduction, **options),
            lambda x, t: theirs(x, t, reduction),
            *inputs_of(name, rng, shape),
            dtype=dtype,
            differentiate=(0, 1),
            twice=shape == (4, 5) and dtype == "float64",
        )


@every
@reductions
def test_gradient(device, rng, name, reduction):
    ours, options, _ = CASES[name]
    x, t = inputs_of(name, rng, (3, 4))
    xnn.gradcheck(lambda x, t: ours(x, t, reduction=reduction, **options), put(device, x), put(device, t))


@needs_torch
@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_inputs(device, name, dtype):
    x = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4], [0.0, 100.0, -100.0]])
    t = np.asarray([[0.0, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    if name.startswith("kl_div"):
        x = -np.abs(x)
    if name == "kl_div log_target":
        t = np.asarray([[-1e4, 0.0, -1e4]] * 4)
    # PyTorch has NaN for the gradient of the target of kl_div at 0.
    differentiate = (0,) if name == "kl_div" else (0, 1)
    ours, options, theirs = CASES[name]
    same_as_torch(
        device,
        lambda x, t: ours(x, t, **options),
        lambda x, t: theirs(x, t, "mean"),
        x,
        t,
        dtype=dtype,
        differentiate=differentiate,
    )


@every
def test_only_the_needed_gradients_are_computed(rng, name):
    ours, options, _ = CASES[name]
    x, t = inputs_of(name, rng, (3, 4))
    _, backward = ours.vjp(x, t, **options)
    assert [g is None for g in backward(np.asarray(1.0), (True, False))] == [False, True]
    assert [g is None for g in backward(np.asarray(1.0), (False, True))] == [True, False]


@every
def test_errors(rng, name):
    ours, options, _ = CASES[name]
    op = ours.name
    x, t = inputs_of(name, rng, (2, 3))
    shapes = r"got \(2, 3\) and \(3,\)|got float64 of shape \(3,\)"
    with pytest.raises(ValueError, match=rf"^{op}: .*({shapes})"):
        ours(x, t[0], **options)
    with pytest.raises(
        TypeError, match=rf"^{op}: expected .* of one floating-point dtype, got float64 and float32"
    ):
        ours(x, t.astype("float32"), **options)
    with pytest.raises(TypeError, match=rf"^{op}: expected a real floating-point dtype, got int64"):
        ours(x.astype("int64"), t.astype("int64"), **options)
    with pytest.raises(ValueError, match=rf"^{op}: expected reduction 'mean', .* got 'max'"):
        ours(x, t, reduction="max", **options)
    with pytest.raises(
        ValueError, match=rf"^{op}: the mean over an empty batch is not defined \(shape \(0, 3\)\)"
    ):
        ours(x[:0], t[:0], **options)


def test_thresholds_are_checked():
    x = np.ones(2)
    with pytest.raises(ValueError, match="huber_loss: expected delta > 0, got 0"):
        F.huber_loss(x, x, delta=0.0)
    with pytest.raises(ValueError, match="smooth_l1_loss: expected beta >= 0, got -1"):
        F.smooth_l1_loss(x, x, beta=-1.0)
