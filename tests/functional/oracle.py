"""Comparing a function with PyTorch's: the output, the gradient of every input, and the derivative of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from support import assert_close, put, torch

import xnn


def same_as_torch(
    device: xnn.Device,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *inputs: Any,
    dtype: str = "float64",
    differentiate: Sequence[int] = (0,),
    twice: bool = False,
    **tolerance: Any,
) -> None:
    """``inputs`` are NumPy arrays; floating-point ones are cast to ``dtype``. Gradients: of the inputs numbered."""
    inputs = tuple(
        x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs
    )
    tensors = [
        xnn.Tensor(put(device, x), requires_grad=i in differentiate) if isinstance(x, np.ndarray) else x
        for i, x in enumerate(inputs)
    ]
    oracles = [
        torch.tensor(x, requires_grad=i in differentiate) if isinstance(x, np.ndarray) else x
        for i, x in enumerate(inputs)
    ]
    y, want = ours(*tensors), theirs(*oracles)
    assert_close(y, want, device=device, **tolerance)

    plain = ours(*(put(device, x) if isinstance(x, np.ndarray) else x for x in inputs))
    assert not isinstance(plain, xnn.Tensor), "plain arrays in, plain arrays out"
    assert_close(plain, want, device=device, **tolerance)

    if 0 in want.shape:
        dy = np.zeros(tuple(want.shape), dtype)
    else:
        dy = np.random.default_rng(7).standard_normal(tuple(want.shape)).astype(dtype)
    leaves = [oracles[i] for i in differentiate]
    gradients = torch.autograd.grad(want, leaves, torch.tensor(dy), create_graph=twice)
    y.backward(put(device, dy), create_graph=twice)
    for i, gradient in zip(differentiate, gradients, strict=True):
        assert_close(tensors[i].grad, gradient, device=device, **tolerance)
    if not twice:
        return

    # The derivative of a random combination of the gradients.
    rng = np.random.default_rng(8)
    mixes = [rng.standard_normal(tuple(g.shape)).astype(dtype) for g in gradients]
    scalar = sum((g * torch.tensor(m)).sum() for g, m in zip(gradients, mixes, strict=True))
    if scalar.requires_grad:
        second = torch.autograd.grad(scalar, leaves, allow_unused=True, materialize_grads=True)
    else:
        second = tuple(torch.zeros_like(x) for x in leaves)
    second = tuple(torch.zeros(g.shape, dtype=g.dtype) if g._is_zerotensor() else g for g in second)
    mine = [tensors[i].grad for i in differentiate]
    for i in differentiate:
        tensors[i].grad = None
    total = None
    for g, m in zip(mine, mixes, strict=True):
        term = xnn.sum(g * put(device, m))
        total = term if total is None else total + term
    if total.requires_grad:
        total.backward()
    for i, gradient in zip(differentiate, second, strict=True):
        got = tensors[i].grad
        if got is None:
            assert not np.any(np.asarray(gradient.detach()))
        else:
            assert_close(got, gradient, device=device, **tolerance)
