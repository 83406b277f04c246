from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import needs_torch, put, torch

import xnn
import xnn.functional as F


def oracle(dim, reduction):
    def loss(z, t):
        if not t.is_floating_point():
            t = torch.nn.functional.one_hot(t, z.shape[dim]).to(z.dtype).movedim(-1, dim)
        return torch.nn.functional.mse_loss(torch.softmax(z, dim), t, reduction=reduction)

    return loss


@needs_torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_along_any_dimension_with_classes_or_probabilities(device, rng, reduction):
    for shape, dim in [((5, 4), 1), ((5, 4), 0), ((2, 4, 3), 1), ((2, 3, 4), -1), ((4,), 0)]:
        z = rng.standard_normal(shape) * 3
        at = dim % len(shape)
        t = np.asarray(rng.integers(0, shape[at], shape[:at] + shape[at + 1 :]))
        ours = lambda z, t, dim=dim: F.softmax_mse_loss(z, t, dim=dim, reduction=reduction)  # noqa: E731
        same_as_torch(device, ours, oracle(at, reduction), z, t, twice=True)
        same_as_torch(device, ours, oracle(at, reduction), z, rng.uniform(0, 1, shape), differentiate=(0, 1))


def test_gradient(device, rng):
    z, t = put(device, rng.standard_normal((2, 4, 3))), put(device, rng.integers(0, 4, (2, 3)))
    xnn.gradcheck(lambda z: F.softmax_mse_loss(z, t, dim=1), z)


def test_errors():
    z = np.ones((2, 3))
    with pytest.raises(
        IndexError, match=r"softmax_mse_loss: expected class indices in \[0, 3\), got 3 for sample 1"
    ):
        F.softmax_mse_loss(z, np.asarray([0, 3]))
    with pytest.raises(IndexError, match=r"softmax_mse_loss: expected a dimension in \[-2, 2\), got 5"):
        F.softmax_mse_loss(z, z, dim=5)
    with pytest.raises(ValueError, match=r"expected class indices of shape \(2,\) or class probabilities"):
        F.softmax_mse_loss(z, np.asarray([0, 1, 2]))
    with pytest.raises(ValueError, match="softmax_mse_loss: expected logits with at least one dimension"):
        F.softmax_mse_loss(np.asarray(1.0), np.asarray(1.0))
