from __future__ import annotations

import numpy as np
import pytest

from xnn import nn


def test_runs_in_order_by_number_or_name(rng):
    x = rng.standard_normal((4, 3)).astype("float32")
    a, b = nn.Linear(3, 5), nn.Linear(5, 2)
    want = b(nn.ReLU()(a(x))).data
    for model, names in [
        (nn.Sequential(a, nn.ReLU(), b), ["0", "1", "2"]),
        (nn.Sequential({"first": a, "bend": nn.ReLU(), "last": b}), ["first", "bend", "last"]),
        (nn.Sequential(a, nn.ReLU()).append(b), ["0", "1", "2"]),
    ]:
        np.testing.assert_array_equal(model(x).data, want)
        assert [name for name, _ in model.named_children()] == names


def test_length_iteration_and_indices():
    layers = [nn.Linear(3, 3), nn.ReLU(), nn.Tanh()]
    model = nn.Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[0] is layers[0]
    assert model[-1] is layers[2]
    part = model[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part) == layers[1:]
    with pytest.raises(IndexError):
        model[3]


def test_empty_is_the_identity():
    x = np.ones(3)
    assert nn.Sequential()(x) is x


def test_only_modules():
    with pytest.raises(TypeError, match="Sequential: expected a Module as '1', got function"):
        nn.Sequential(nn.ReLU(), lambda x: x)
