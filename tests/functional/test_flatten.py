from __future__ import annotations

import numpy as np
import pytest
from functional.oracle import same_as_torch
from support import needs_torch, torch

import xnn.functional as F


@needs_torch
def test_as_torch(device, rng):
    for shape in [(2, 3, 4, 5), (2, 3), (4,), (), (0, 3, 2), (2, 0)]:
        n = max(len(shape), 1)
        x = np.asarray(rng.standard_normal(shape))
        for start in range(n):
            for end in (*range(start, n), -1):
                same_as_torch(
                    device,
                    lambda x, s=start, e=end: F.flatten(x, s, e),
                    lambda x, s=start, e=end: torch.flatten(x, s, e),
                    x,
                )
    same_as_torch(device, F.flatten, torch.flatten, rng.standard_normal((2, 3)))


@needs_torch
@pytest.mark.parametrize(
    ("dim", "sizes"), [(1, (2, 3)), (-1, (2, -1)), (0, (4,)), (1, (-1,)), (0, (1, 2, 2))]
)
def test_unflatten_as_torch(device, rng, dim, sizes):
    same_as_torch(
        device,
        lambda x: F.unflatten(x, dim, sizes),
        lambda x: torch.unflatten(x, dim, sizes),
        rng.standard_normal((4, 6)),
    )


def test_errors():
    x = np.ones((2, 3, 4))
    with pytest.raises(ValueError, match="flatten: expected start_dim before end_dim, got 2 and 1"):
        F.flatten(x, 2, 1)
    with pytest.raises(IndexError, match=r"flatten: expected a dimension in \[-3, 3\), got 3"):
        F.flatten(x, 0, 3)
    for sizes in [(2, 3), (-1, -1), (), (-1, 3), (-1, 0)]:
        with pytest.raises(
            ValueError, match=r"unflatten: expected sizes whose product is the length of dimension 2"
        ):
            F.unflatten(x, 2, sizes)
