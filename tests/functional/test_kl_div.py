from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import assert_close, host, leaf, needs_torch, put, torch

import xnn
import xnn.functional as F


@needs_torch
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (3,), (2, 3, 4)])
def test_batchmean_as_in_torch(device, rng, shape, log_target):
    q = np.log(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))
    p = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    options = {"reduction": "batchmean", "log_target": log_target}
    same_as_torch(
        device,
        lambda q, p: F.kl_div(q, p, **options),
        lambda q, p: torch.nn.functional.kl_div(q, p, **options),
        q,
        np.log(p) if log_target else p,
        differentiate=(0, 1),
        twice=True,
    )


def test_zero_probability(device):
    q, p = leaf(device, [-np.inf, np.log(0.5), np.log(0.5)]), leaf(device, [0.0, 1.0, 0.0])
    loss = F.kl_div(q, p, reduction="sum")
    assert_close(loss, np.asarray(np.log(2)), device=device)
    loss.backward()
    assert_close(q.grad, np.asarray([0.0, -1.0, 0.0]))
    assert_close(p.grad, np.asarray([0.0, np.log(2) + 1, 0.0]))


def test_same_distribution_has_none(rng):
    p = rng.dirichlet(np.ones(6), 3)
    assert abs(float(host(F.kl_div(np.log(p), p, reduction="batchmean")))) < 1e-15


def test_gradient(device, rng):
    q, p = put(device, np.log(rng.dirichlet(np.ones(4), 3))), put(device, rng.dirichlet(np.ones(4), 3))
    xnn.gradcheck(lambda q, p: F.kl_div(q, p, reduction="batchmean"), q, p, eps=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="kl_div: expected at least one dimension for reduction 'batchmean'"):
        F.kl_div(np.asarray(-1.0), np.asarray(0.5), reduction="batchmean")
    with pytest.raises(
        ValueError, match="expected reduction 'mean', 'batchmean', 'sum' or 'none', got 'max'"
    ):
        F.kl_div(np.ones(2), np.ones(2), reduction="max")
    with pytest.raises(ValueError, match="kl_div: the mean over an empty batch"):
        F.kl_div(np.ones((0, 2)), np.ones((0, 2)), reduction="batchmean")
