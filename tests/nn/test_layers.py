"""Layers without a state of their own, Linear and LayerNorm, each against PyTorch's of the same name."""

from __future__ import annotations

import numpy as np
import pytest
from nn.oracle import same_step, twins
from support import is_plain, leaf, needs_torch, put, torch

import xnn
from xnn import nn
from xnn.random import Generator

CASES = [
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 3, 5)),
    ("LayerNorm", (5,), {}, (4, 5)),
    ("LayerNorm", ((3, 5),), {"eps": 1e-2}, (4, 3, 5)),
    ("LayerNorm", (5,), {"bias": False}, (4, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (4, 5)),
    ("Identity", (7,), {"anything": 1}, (4, 5)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("Unflatten", (1, (2, -1)), {}, (3, 6)),
    ("ReLU", (), {}, (4, 5)),
    ("LeakyReLU", (), {}, (4, 5)),
    ("LeakyReLU", (0.2,), {}, (4, 5)),
    ("ELU", (), {"alpha": 0.5}, (4, 5)),
    ("GELU", (), {}, (4, 5)),
    ("GELU", (), {"approximate": "tanh"}, (4, 5)),
    ("SiLU", (), {}, (4, 5)),
    ("Sigmoid", (), {}, (4, 5)),
    ("Tanh", (), {}, (4, 5)),
    ("Softplus", (), {}, (4, 5)),
    ("Softplus", (2.0, 1.0), {}, (4, 5)),
    ("Softmax", (), {"dim": 0}, (4, 5)),
    ("LogSoftmax", (-1,), {}, (2, 4, 5)),
    ("Dropout", (0.0,), {}, (4, 5)),
    ("Dropout", (1.0,), {}, (4, 5)),
]


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}{c[1]}{c[2]}")
def test_as_torch(device, rng, case):
    name, args, options, shape = case
    ours, theirs = twins(
        device, getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    )
    x = rng.standard_normal(shape)
    same_step(device, ours, theirs, x)
    ours.eval()
    theirs.eval()
    same_step(device, ours, theirs, x)
    assert is_plain(ours(put(device, x)))
    assert repr(ours).startswith(f"{name}(")


@needs_torch
@pytest.mark.parametrize("name", ["Linear", "LayerNorm"])
def test_float32_as_torch(device, rng, name):
    sizes = (5, 3) if name == "Linear" else (5,)
    ours, theirs = twins(device, getattr(nn, name)(*sizes), getattr(torch.nn, name)(*sizes), "float32")
    same_step(device, ours, theirs, rng.standard_normal((4, 5)), rtol=1e-4, atol=1e-5)


def test_default_dimension_of_softmax_is_the_last(rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(nn.Softmax()(x).sum(-1), 1)
    np.testing.assert_allclose(np.exp(nn.LogSoftmax()(x)).sum(-1), 1)


def test_dropout_only_in_training_from_its_own_generator(device):
    x = put(device, np.ones((20, 20)), "float32")
    layer = nn.Dropout(0.5, generator=Generator(1))
    y = layer(x)
    assert not bool(np.all(np.asarray(xnn.backends.to_host(y)) == 1))
    assert layer.generator.draws == 1
    assert layer.eval()(x) is x
    assert layer.generator.draws == 1
    # In a Sequential in eval mode, a Tensor passes through as well.
    t = leaf(device, np.ones((2, 2)), "float32")
    assert layer(t) is t


def test_linear_starts_as_in_torch():
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for p in (layer.weight, layer.bias):
        assert p.dtype == np.float32
        assert 0.9 * bound < abs(p.data).max() <= bound
    assert abs(layer.weight.data.std() - bound / 3**0.5) < 1e-3
    assert nn.Linear(3, 2, dtype="float64").weight.dtype == np.float64
    assert nn.Linear(0, 2)(np.ones((3, 0), "float32")).shape == (3, 2)
    assert repr(layer) == "Linear(in_features=400, out_features=300, bias=True)"


def test_layer_norm_starts_as_the_identity_map():
    layer = nn.LayerNorm((2, 3))
    assert (layer.weight.data == 1).all()
    assert (layer.bias.data == 0).all()
    assert layer.weight.shape == (2, 3)


def test_errors():
    with pytest.raises(ValueError, match="Linear: expected a non-negative integer for out_features, got -1"):
        nn.Linear(3, -1)
    with pytest.raises(ValueError, match="GELU: expected approximate 'none' or 'tanh', got 'erf'"):
        nn.GELU("erf")
    with pytest.raises(ValueError, match=r"Dropout: expected a probability p in \[0, 1\], got 2"):
        nn.Dropout(2)
    with pytest.raises(ValueError, match="Softplus: expected beta other than 0"):
        nn.Softplus(0)
    with pytest.raises(
        ValueError, match=r"LayerNorm: expected positive integers for normalized_shape, got \(2, 0\)"
    ):
        nn.LayerNorm((2, 0))
    with pytest.raises(
        ValueError, match=r"LayerNorm: expected positive integers for normalized_shape, got \(\)"
    ):
        nn.LayerNorm(())


def test_sizes_may_be_whole_numbers_of_an_array_library():
    for layer in (
        nn.Linear(np.int64(3), np.int32(2)),
        nn.BatchNorm1d(np.int64(3)),
        nn.LayerNorm(np.int64(3)),
    ):
        assert layer.eval()(np.zeros((2, 3), dtype="float32")).shape[0] == 2
    with pytest.raises(ValueError, match="non-negative integer for in_features, got True"):
        nn.Linear(True, 2)
    with pytest.raises(ValueError, match=r"expected positive integers for normalized_shape, got 2\.0"):
        nn.LayerNorm(2.0)
