from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, put

from xnn.training import confusion_matrix


def test_confusion_matrix_counts_every_pair(device, rng):
    target, predicted = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    expected = np.zeros((4, 4), dtype="int64")
    np.add.at(expected, (target, predicted), 1)
    assert_close(confusion_matrix(put(device, predicted), put(device, target), 4), expected, device=device)


def test_confusion_matrix_wants_one_shape():
    with pytest.raises(ValueError, match=r"one shape \(N,\), got \(2,\) and \(3,\)"):
        confusion_matrix(np.zeros(2, dtype=int), np.zeros(3, dtype=int), 2)
