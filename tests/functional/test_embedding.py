from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, host, is_plain, leaf, needs_torch, put, torch
from xnn.backends.namespaces import reads_are_free

import xnn
import xnn.functional as F

SHAPES = [(), (7,), (2, 5), (2, 3, 4), (0,), (3, 0)]


@needs_torch
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("by_frequency", [False, True])
@pytest.mark.parametrize("padding_idx", [None, 0, -2])
def test_as_torch(device, rng, index, padding_idx, by_frequency):
    options = {"padding_idx": padding_idx, "scale_grad_by_freq": by_frequency}
    table = rng.standard_normal((6, 3))
    for shape in SHAPES:
        indices = np.asarray(rng.integers(0, 6, shape), dtype=index)
        weight, theirs = leaf(device, table), torch.tensor(table, requires_grad=True)
        y = F.embedding(put(device, indices), weight, **options)
        want = torch.nn.functional.embedding(torch.tensor(indices.astype("int64")), theirs, **options)
        assert_close(y, want, device=device)
        dy = rng.standard_normal(want.shape)
        y.backward(put(device, dy))
        want.backward(torch.tensor(dy))
        assert_close(weight.grad, theirs.grad, device=device)


def test_many_duplicates(device, rng):
    """Sums of thousands of terms in float32 are as good as a sum by halves."""
    indices = rng.integers(0, 3, 5000)
    dy = rng.uniform(0, 1, (5000, 2)).astype("float32")
    weight = leaf(device, np.zeros((4, 2), "float32"))
    F.embedding(put(device, indices), weight).backward(put(device, dy))
    want = np.zeros((4, 2))
    np.add.at(want, indices, dy.astype("float64"))
    assert_close(weight.grad, want.astype("float32"), rtol=1e-6, atol=0, device=device)


def test_gradient_and_its_derivative(device, rng):
    indices = put(device, np.asarray([[0, 2], [2, 1]]))
    table = put(device, rng.standard_normal((4, 3)))
    xnn.gradcheck(lambda w: F.embedding(indices, w), table)
    xnn.gradcheck(lambda w: F.embedding(indices, w, scale_grad_by_freq=False) ** 2, table)
    w = leaf(device, host(table))
    xnn.sum(F.embedding(indices, w, 2) ** 3).backward(create_graph=True)
    first, w.grad = w.grad, None
    counts = np.asarray([1, 1, 0, 0])[:, None]
    assert_close(first, 3 * counts * host(table) ** 2)
    xnn.sum(first).backward()
    assert_close(w.grad, 6 * counts * host(table))


def test_small_integers_and_large_tables(device, rng):
    table = rng.standard_normal((300, 2))
    w = leaf(device, table)
    y = F.embedding(put(device, [255, 7, 255], "uint8"), w)
    assert_close(y, table[[255, 7, 255]], device=device)
    y.backward(put(device, np.ones((3, 2))))
    assert host(w.grad)[[255, 7, 0], 0].tolist() == [2.0, 1.0, 0.0]


def test_plain_arrays_and_tensors_of_indices(rng):
    table, indices = rng.standard_normal((5, 2)), np.asarray([1, 4])
    y = F.embedding(indices, table)
    assert is_plain(y)
    assert_close(y, table[indices])
    y, backward = F.embedding.vjp(indices, table)
    assert backward(np.ones((2, 2)), (False, False)) is None
    w = xnn.Tensor(table, requires_grad=True)
    F.embedding(xnn.Tensor(indices), w).backward(np.ones((2, 2)))
    assert host(w.grad)[:, 0].tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(("indices", "wrong"), [([0, 5], 5), ([-1, 2], -1), ([[0, 2**40]], 2**40)])
def test_index_out_of_range(device, indices, wrong):
    if not reads_are_free(put(device, 0.0)):
        y = host(F.embedding(put(device, indices), put(device, np.zeros((5, 2)))))
        outside = (np.asarray(indices) < 0) | (np.asarray(indices) >= 5)
        assert np.array_equal(np.isnan(y).all(axis=-1), outside)
        return
    with pytest.raises(IndexError, match=rf"embedding: expected indices in \[0, 5\), got {wrong}"):
        F.embedding(put(device, indices), put(device, np.zeros((5, 2))))


def test_errors():
    table = np.zeros((5, 2))
    with pytest.raises(TypeError, match="embedding: expected indices of an integer dtype, got float64"):
        F.embedding(np.zeros(2), table)
    with pytest.raises(TypeError, match="embedding: expected indices of an integer dtype, got bool"):
        F.embedding(np.zeros(2, bool), table)
    with pytest.raises(TypeError, match="embedding: expected a real floating-point dtype, got int64"):
        F.embedding(np.zeros(2, int), np.zeros((5, 2), int))
    with pytest.raises(ValueError, match=r"embedding: expected weight of shape .* got \(5,\)"):
        F.embedding(np.zeros(2, int), np.zeros(5))
    for padding_idx in (5, -6):
        with pytest.raises(
            ValueError, match=rf"embedding: expected padding_idx in \[-5, 5\), got {padding_idx}"
        ):
            F.embedding(np.zeros(2, int), table, padding_idx)
