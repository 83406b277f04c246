from __future__ import annotations

import numpy as np
import pytest
from nn.oracle import same_step, twins
from support import is_plain, needs_torch, put, torch

from xnn import nn

CASES = [
    ((5,), {}, (4, 5)),
    ((5,), {"eps": 1e-2}, (2, 3, 5)),
    (((3, 5),), {}, (4, 3, 5)),
    ((5,), {"elementwise_affine": False}, (4, 5)),
]


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_torch(device, rng, case):
    args, options, shape = case
    ours, theirs = twins(device, nn.RMSNorm(*args, **options), torch.nn.RMSNorm(*args, **options))
    x = rng.standard_normal(shape)
    same_step(device, ours, theirs, x)
    ours.eval()
    theirs.eval()
    same_step(device, ours, theirs, x)
    assert is_plain(ours(put(device, x)))


@needs_torch
def test_float32_as_torch(device, rng):
    ours, theirs = twins(device, nn.RMSNorm(5), torch.nn.RMSNorm(5), "float32")
    same_step(device, ours, theirs, rng.standard_normal((4, 5)), rtol=1e-4, atol=1e-5)


def test_it_starts_with_ones_and_says_what_it_is():
    layer = nn.RMSNorm((2, np.int64(3)))
    assert layer.weight.shape == (2, 3)
    assert (layer.weight.data == 1).all()
    assert repr(layer) == "RMSNorm((2, 3), eps=None, elementwise_affine=True)"
    assert nn.RMSNorm(3, elementwise_affine=False).weight is None


def test_errors():
    for wrong in ((2, 0), (), 2.0):
        with pytest.raises(ValueError, match="RMSNorm: expected positive integers for normalized_shape, got"):
            nn.RMSNorm(wrong)
