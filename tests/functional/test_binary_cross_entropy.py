from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import needs_torch, put, torch

import xnn
import xnn.functional as F

WEIGHTS = {
    "weight": {"weight": (4, 3)},
    "weight row": {"weight": (3,)},
    "pos_weight": {"pos_weight": (3,)},
    "both": {"weight": (4, 1), "pos_weight": (3,)},
}


@needs_torch
@pytest.mark.parametrize("which", WEIGHTS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_as_in_torch(device, rng, which, reduction, dtype):
    weights = {name: rng.uniform(0.2, 3, shape).astype(dtype) for name, shape in WEIGHTS[which].items()}
    mine = {name: put(device, w) for name, w in weights.items()}
    theirs = {name: torch.tensor(w) for name, w in weights.items()}
    same_as_torch(
        device,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, **mine, reduction=reduction),
        lambda x, t: torch.nn.functional.binary_cross_entropy_with_logits(
            x, t, **theirs, reduction=reduction
        ),
        rng.standard_normal((4, 3)) * 3,
        rng.uniform(0, 1, (4, 3)),
        dtype=dtype,
        differentiate=(0, 1),
        twice=True,
    )


@needs_torch
def test_extreme_logits_with_weights(device):
    v = np.asarray([2.0, 0.5])
    same_as_torch(
        device,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=put(device, v)),
        lambda x, t: torch.nn.functional.binary_cross_entropy_with_logits(x, t, pos_weight=torch.tensor(v)),
        np.asarray([[1e4, -1e4], [-1e4, 1e4]]),
        np.asarray([[0.0, 0.0], [1.0, 1.0]]),
        differentiate=(0, 1),
    )


def test_gradient(device, rng):
    w, v = put(device, rng.uniform(0.2, 3, (4, 1))), put(device, rng.uniform(0.2, 3, (3,)))
    x, t = put(device, rng.standard_normal((4, 3))), put(device, rng.uniform(0, 1, (4, 3)))
    xnn.gradcheck(lambda x, t: F.binary_cross_entropy_with_logits(x, t, w, v), x, t)


def test_errors():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"pos_weight of a shape that broadcasts to \(2, 3\), got \(2,\)"):
        F.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(2))
    with pytest.raises(ValueError, match=r"weight of a shape that broadcasts to \(2, 3\), got \(4, 2, 3\)"):
        F.binary_cross_entropy_with_logits(x, x, np.ones((4, 2, 3)))
    with pytest.raises(
        TypeError, match="logits and weight of one floating-point dtype, got float64 and float32"
    ):
        F.binary_cross_entropy_with_logits(x, x, np.ones(3, "float32"))
