from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, host, is_plain, needs_torch, put, torch

import xnn
from xnn import nn


@needs_torch
@pytest.mark.parametrize(
    "options", [{}, {"padding_idx": -1}, {"padding_idx": 0, "scale_grad_by_freq": True}], ids=str
)
def test_as_torch(device, rng, options):
    ours, theirs = nn.Embedding(7, 4, **options).to(device), torch.nn.Embedding(7, 4, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs).replace(", scale_grad_by_freq=True", "")
    ours.load_state_dict(theirs.state_dict())
    indices = rng.integers(0, 7, (3, 5))
    y, want = ours(put(device, indices)), theirs(torch.tensor(indices))
    assert_close(y, want, device=device)
    dy = rng.standard_normal((3, 5, 4)).astype("float32")
    y.backward(put(device, dy))
    want.backward(torch.tensor(dy))
    assert_close(ours.weight.grad, theirs.weight.grad, device=device)


def test_first_values():
    layer = nn.Embedding(2000, 5, padding_idx=3)
    w = host(layer.weight)
    assert w.shape == (2000, 5)
    assert w.dtype == np.float32
    assert not w[3].any()
    assert abs(w.mean()) < 0.03
    assert abs(w.std() - 1) < 0.03
    xnn.manual_seed(0)
    assert_close(nn.Embedding(2000, 5, padding_idx=3, device="cpu").weight, w)


def test_the_padding_row_stays(rng):
    layer = nn.Embedding(5, 2, padding_idx=1)
    optimizer = xnn.optim.SGD(layer.parameters(), lr=0.5)
    before = host(layer.weight).copy()
    xnn.sum(layer(np.asarray([0, 1, 1, 4]))).backward()
    optimizer.step()
    assert (before != host(layer.weight)).any(axis=1).tolist() == [True, False, False, False, True]


def test_eval_mode_on_plain_arrays():
    layer = nn.Embedding(5, 2).eval()
    y = layer(np.asarray([4, 0]))
    assert is_plain(y)
    assert_close(y, host(layer.weight)[[4, 0]])


def test_from_pretrained(rng):
    table = rng.standard_normal((5, 2))
    draws = xnn.random.default_generator.draws
    layer = nn.Embedding.from_pretrained(table, padding_idx=-1)
    assert xnn.random.default_generator.draws == draws
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (5, 2, 4)
    assert not layer.weight.requires_grad
    assert_close(layer(np.asarray([3, 4])), table[[3, 4]])
    assert nn.Embedding.from_pretrained(xnn.Tensor(table), freeze=False).weight.requires_grad
    with pytest.raises(
        ValueError, match=r"Embedding.from_pretrained: expected embeddings of shape .* got \(5,\)"
    ):
        nn.Embedding.from_pretrained(table[:, 0])


def test_errors():
    for bad in (-1, 2.0, "3"):
        with pytest.raises(
            ValueError, match="Embedding: expected a non-negative integer for num_embeddings, got"
        ):
            nn.Embedding(bad, 2)
        with pytest.raises(
            ValueError, match="Embedding: expected a non-negative integer for embedding_dim, got"
        ):
            nn.Embedding(2, bad)
    with pytest.raises(ValueError, match=r"Embedding: expected padding_idx in \[-3, 3\), got 3"):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(NotImplementedError, match=r"Embedding: max_norm is not supported yet, .* got 1.0"):
        nn.Embedding(3, 2, max_norm=1.0)
    with pytest.raises(NotImplementedError, match="Embedding: sparse gradients are not supported"):
        nn.Embedding(3, 2, sparse=True)
