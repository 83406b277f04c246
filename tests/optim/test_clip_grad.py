"""Clipping gradients by their norm and by value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import assert_close, host, is_plain, needs_torch, put, torch

import xnn
from xnn.nn import Parameter
from xnn.optim import clip_grad_norm_, clip_grad_value_

SHAPES = [(4, 3), (5,), (), (2, 2, 2), (0, 3)]


def with_gradients(device, grads, dtype="float64"):
    params = []
    for g in grads:
        p = Parameter(device.asarray(np.zeros(np.shape(g)), dtype=dtype))
        p.grad = put(device, g, dtype)
        params.append(p)
    return params


def of_torch(grads, dtype="float64"):
    params = []
    for g in grads:
        p = torch.zeros(np.shape(g), dtype=getattr(torch, dtype), requires_grad=True)
        p.grad = torch.tensor(g, dtype=getattr(torch, dtype))
        params.append(p)
    return params


@needs_torch
@pytest.mark.parametrize("max_norm", [0.7, 1e3, 0.0])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.0, 0.5, math.inf])
def test_the_norm_of_torch(device, rng, norm_type, max_norm):
    shapes = SHAPES if norm_type != math.inf else SHAPES[:-1]  # PyTorch knows no largest of nothing
    grads = [rng.standard_normal(s) for s in shapes]
    mine, theirs = with_gradients(device, grads), of_torch(grads)
    kept = [p.grad for p in mine]
    total = clip_grad_norm_(mine, max_norm, norm_type)
    assert is_plain(total)
    assert_close(total, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).detach(), device=device)
    for p, q, before, g in zip(mine, theirs, kept, grads, strict=True):
        assert_close(p.grad, q.grad, device=device)
        np.testing.assert_array_equal(host(before), g)  # replaced, not written into


@needs_torch
def test_several_dtypes(device, rng):
    grads = [rng.standard_normal(3), rng.standard_normal(4)]
    mine = [*with_gradients(device, grads[:1], "float32"), *with_gradients(device, grads[1:])]
    theirs = [*of_torch(grads[:1], "float32"), *of_torch(grads[1:])]
    total = clip_grad_norm_(mine, 0.5)
    torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    assert_close(total, np.asarray(np.linalg.norm(np.concatenate(grads))), rtol=1e-6)
    for p, q in zip(mine, theirs, strict=True):
        assert_close(p.grad, q.grad, rtol=1e-6, device=device)


def test_float16_whose_norm_is_larger_than_float16(device):
    if not hasattr(device.xp, "float16"):
        pytest.skip(f"{device.xp.__name__} has no float16")
    (p,) = with_gradients(device, [np.full(16, 3e4)], "float16")
    total = clip_grad_norm_([p], 4.0)
    assert_close(total, np.asarray(1.2e5, dtype="float32"), device=device)
    assert_close(p.grad, np.ones(16, dtype="float16"), device=device)


def test_one_tensor_a_generator_and_parameters_without_gradient():
    p, q = Parameter([3.0, 4.0]), Parameter([1.0])
    p.grad = np.asarray([3.0, 4.0], dtype="float32")
    assert_close(clip_grad_norm_(p, 10.0), np.asarray(5.0, dtype="float32"))
    clip_grad_norm_((t for t in (q, p)), 1.0)
    assert_close(p.grad, np.asarray([0.6, 0.8], dtype="float32"))
    assert q.grad is None
    assert_close(clip_grad_norm_([q], 1.0), np.asarray(0.0, dtype="float32"))
    assert_close(clip_grad_norm_([], 1.0), np.asarray(0.0, dtype="float32"))


def test_gradients_that_are_not_finite(device):
    (p,) = with_gradients(device, [[1.0, math.inf]])
    with pytest.raises(RuntimeError, match="expected gradients with a finite norm, got inf"):
        clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert_close(p.grad, np.asarray([1.0, math.inf]))
    with np.errstate(invalid="ignore"):
        total = clip_grad_norm_([p], 1.0)
    assert math.isinf(float(total))
    assert_close(p.grad, np.asarray([0.0, math.nan]))


@needs_torch
@pytest.mark.parametrize("limit", [0.5, 0, 10.0])
def test_values(device, rng, limit):
    grads = [rng.standard_normal(s) for s in SHAPES]
    mine, theirs = with_gradients(device, grads), of_torch(grads)
    mine.append(Parameter([1.0]))
    clip_grad_value_(mine, limit)
    torch.nn.utils.clip_grad_value_(theirs, limit)
    for p, q in zip(mine[:-1], theirs, strict=True):
        assert_close(p.grad, q.grad, device=device)


def test_a_gradient_that_is_shared_stays():
    p, q = Parameter([1.0]), Parameter([1.0])
    p.grad = q.grad = shared = np.asarray([8.0], dtype="float32")
    clip_grad_value_(p, 2.0)
    clip_grad_norm_(p, 1.0)
    assert_close(p.grad, np.asarray([1.0], dtype="float32"))
    assert q.grad is shared
    assert_close(shared, np.asarray([8.0], dtype="float32"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: clip_grad_norm_([np.ones(1)], 1.0),
            TypeError,
            "clip_grad_norm_: expected Tensors, got ndarray",
        ),
        (lambda: clip_grad_norm_([], -1.0), ValueError, "expected max_norm >= 0, got -1.0"),
        (lambda: clip_grad_norm_([], 1.0, 0.0), ValueError, "expected norm_type > 0, got 0.0"),
        (
            lambda: clip_grad_value_([], -1.0),
            ValueError,
            "clip_grad_value_: expected clip_value >= 0, got -1.0",
        ),
        (lambda: clip_grad_value_([3], 1.0), TypeError, "clip_grad_value_: expected Tensors, got int"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_after_a_backward_pass(device):
    p = Parameter(device.asarray([3.0, 4.0], dtype="float32"))
    (xnn.sum(p * p) / 2).backward()
    clip_grad_norm_([p], 1.0)
    assert_close(p.grad, np.asarray([0.6, 0.8], dtype="float32"), device=device)


@needs_torch
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, math.inf])
def test_nothing_is_read_from_a_device_where_that_waits(monkeypatch, norm_type):
    # PyTorch's meta tensors have shapes and dtypes but no values: reading one is an error.
    monkeypatch.setattr("xnn.optim.clip_grad.reads_are_free", lambda x: False)
    params = [Parameter(torch.zeros(s, device="meta")) for s in ((3, 2), (4,))]
    for p in params:
        p.grad = torch.zeros(tuple(p.shape), device="meta")
    assert clip_grad_norm_(params, 1.0, norm_type).shape == ()
    clip_grad_value_(params, 1.0)
