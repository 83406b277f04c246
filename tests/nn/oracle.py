"""Comparing a layer with PyTorch's: state, output, gradients of the input and of all parameters, buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from support import assert_close, host, put, torch

import xnn


def twins(device: xnn.Device, ours: xnn.nn.Module, theirs: Any, dtype: str = "float64") -> tuple[Any, Any]:
    """Both on their devices in ``dtype``, with the same random parameters and float buffers."""
    theirs = theirs.to(getattr(torch, dtype))
    rng = np.random.default_rng(3)
    state = {
        name: torch.tensor(rng.uniform(0.5, 1.5, value.shape)).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in theirs.state_dict().items()
    }
    theirs.load_state_dict(state)
    ours = ours.to(device, dtype)
    assert list(ours.state_dict()) == list(state), "the names of PyTorch, in its order"
    ours.load_state_dict(state)
    return ours, theirs


def same_step(device: xnn.Device, ours: Any, theirs: Any, x: np.ndarray, **tolerance: Any) -> None:
    """One forward and backward pass of twins: everything agrees afterwards."""
    floats = [v.dtype for v in theirs.state_dict().values() if v.is_floating_point()]
    dtype = str(floats[0] if floats else torch.float64).split(".")[1]
    x = x.astype(dtype)
    mine, their_x = xnn.Tensor(put(device, x), requires_grad=True), torch.tensor(x, requires_grad=True)
    y, want = ours(mine), theirs(their_x)
    assert_close(y, want, device=device, **tolerance)
    dy = np.random.default_rng(4).standard_normal(tuple(want.shape)).astype(dtype)
    ours.zero_grad()
    theirs.zero_grad()
    want.backward(torch.tensor(dy))
    y.backward(put(device, dy))
    assert_close(mine.grad, their_x.grad, device=device, **tolerance)
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    for name, p in theirs.named_parameters():
        assert_close(gradients.pop(name), p.grad, device=device, **tolerance)
    assert not gradients
    buffers = dict(ours.named_buffers())
    for name, b in theirs.named_buffers():
        value = buffers.pop(name)
        if isinstance(value, int):
            assert value == int(b)
        else:
            assert_close(value, host(b), device=device, **tolerance)
    assert not buffers
