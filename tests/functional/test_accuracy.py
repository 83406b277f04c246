from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, host, is_plain, leaf, needs_torch, put, torch

import xnn.functional as F


def test_top_1(device):
    scores = [[0.1, 0.7, 0.2], [3.0, 2.0, 1.0], [0.0, 0.0, 0.5]]
    for make in (put, leaf):
        got = F.accuracy(make(device, scores, "float32"), put(device, [1, 0, 1]))
        assert is_plain(got)
        assert_close(got, np.asarray(2 / 3, "float32"), device=device)


@needs_torch
@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("shape", [(40, 5), (6, 5, 7), (3, 5, 2, 2)])
def test_top_k_as_in_torch(device, rng, top_k, shape):
    scores, target = rng.standard_normal(shape), rng.integers(0, 5, shape[:1] + shape[2:])
    best = torch.topk(torch.tensor(scores), min(top_k, 5), dim=1).indices
    want = (best == torch.tensor(target)[:, None]).any(1).double().mean()
    assert_close(F.accuracy(put(device, scores), put(device, target), top_k=top_k), want, device=device)


def test_of_equal_scores_the_first_class_is_guessed_first(device):
    scores = put(device, [[1.0, 1.0, 1.0]] * 3)
    target = put(device, [0, 1, 2])
    for top_k, right in [(1, 1 / 3), (2, 2 / 3), (3, 1.0)]:
        assert float(host(F.accuracy(scores, target, top_k))) == pytest.approx(right)


def test_other_integer_dtypes(device):
    scores = put(device, [[1.0, 2.0], [4.0, 3.0]], "float32")
    for top_k in (1, 2):
        assert float(host(F.accuracy(scores, put(device, [1, 0], "int32"), top_k))) == 1.0


def test_errors():
    scores, target = np.ones((2, 3)), np.asarray([0, 1])
    with pytest.raises(
        ValueError, match=r"accuracy: expected scores of shape \(N, C, ...\).* got \(2, 3\) and \(3,\)"
    ):
        F.accuracy(scores, np.asarray([0, 1, 2]))
    with pytest.raises(ValueError, match="accuracy: expected top_k of at least 1, got 0"):
        F.accuracy(scores, target, top_k=0)
    with pytest.raises(ValueError, match="accuracy: the mean over an empty batch"):
        F.accuracy(scores[:0], target[:0])
    with pytest.raises(IndexError, match=r"accuracy: expected class indices in \[0, 3\), got 5 for sample 0"):
        F.accuracy(scores, np.asarray([5, 1]))
    with pytest.raises(TypeError, match="accuracy: expected integer class indices, got float64"):
        F.accuracy(scores, scores[:, 0])
    with pytest.raises(TypeError, match="accuracy: expected a real floating-point dtype, got int64"):
        F.accuracy(scores.astype("int64"), target)
