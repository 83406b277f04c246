from __future__ import annotations

import copy

import numpy as np
import pytest
from nn.oracle import same_step, twins
from support import assert_close, host, is_plain, needs_torch, put, torch

import xnn
from xnn import nn

OPTIONS = {
    "defaults": {},
    "cumulative": {"momentum": None},
    "momentum and eps": {"momentum": 0.3, "eps": 1e-2},
    "not affine": {"affine": False},
    "not tracking": {"track_running_stats": False},
    "neither": {"affine": False, "track_running_stats": False},
}
loose = {"float32": {"rtol": 1e-4, "atol": 3e-5}, "float64": {"rtol": 1e-9, "atol": 1e-10}}


@needs_torch
@pytest.mark.parametrize(
    ("options", "dtype"),
    [*((options, "float64") for options in OPTIONS), ("defaults", "float32"), ("not tracking", "float32")],
)
def test_training_then_evaluating_as_torch(device, rng, options, dtype):
    for name, shapes in [("BatchNorm1d", [(6, 3), (4, 3, 5)]), ("BatchNorm2d", [(2, 3, 4, 5)])]:
        for shape in shapes:
            ours, theirs = twins(
                device,
                getattr(nn, name)(3, **OPTIONS[options]),
                getattr(torch.nn, name)(3, **OPTIONS[options]),
                dtype,
            )
            for _ in range(3):
                same_step(device, ours, theirs, rng.standard_normal(shape) * 2 + 1, **loose[dtype])
            ours.eval()
            theirs.eval()
            same_step(device, ours, theirs, rng.standard_normal(shape), **loose[dtype])


def test_first_state():
    layer = nn.BatchNorm1d(3)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [host(v).tolist() for v in state.values()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3, 0]
    assert state["num_batches_tracked"].dtype == np.int64


def test_evaluation_of_plain_arrays_is_plain_and_changes_nothing(device, rng):
    layer = nn.BatchNorm2d(3).to(device)
    x = put(device, rng.standard_normal((2, 3, 4, 4)), "float32")
    layer(x)
    before = {name: host(v).copy() for name, v in layer.state_dict().items()}
    assert before["num_batches_tracked"] == 1
    y = layer.eval()(x)
    assert is_plain(y)
    for name, v in layer.state_dict().items():
        np.testing.assert_array_equal(host(v), before[name])
    assert is_plain(nn.BatchNorm1d(4, track_running_stats=False).to(device).eval()(x[0, ...]))


def test_statistics_are_plain_and_no_part_of_the_graph(device, rng):
    layer = nn.BatchNorm1d(3).to(device)
    layer(xnn.Tensor(put(device, rng.standard_normal((4, 3)), "float32"), requires_grad=True))
    assert is_plain(layer.running_mean)
    assert is_plain(layer.running_var)


def test_a_copy_goes_on_by_itself(rng):
    layer = nn.BatchNorm1d(3)
    x = rng.standard_normal((4, 3)).astype("float32")
    other = copy.deepcopy(layer)
    layer(x)
    assert other.num_batches_tracked == 0
    assert not other.running_mean.any()
    layer.reset_running_stats()
    assert_close(layer.running_mean, other.running_mean)
    assert layer.num_batches_tracked == 0


def test_errors():
    with pytest.raises(
        ValueError, match=r"BatchNorm1d: expected x of shape .* or \(N, C, L\), got \(2, 3, 4, 5\)"
    ):
        nn.BatchNorm1d(3)(np.ones((2, 3, 4, 5), "float32"))
    with pytest.raises(ValueError, match=r"BatchNorm2d: expected x of shape \(N, C, H, W\), got \(2, 3\)"):
        nn.BatchNorm2d(3)(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match=r"BatchNorm1d: expected x with 3 channels, got shape \(2, 4\)"):
        nn.BatchNorm1d(3)(np.ones((2, 4), "float32"))
    with pytest.raises(
        ValueError, match=r"expected more than 1 value per channel when training, got x of shape"
    ):
        nn.BatchNorm1d(3)(np.ones((1, 3), "float32"))
    assert nn.BatchNorm1d(3).eval()(np.ones((1, 3), "float32")).shape == (1, 3)
    with pytest.raises(ValueError, match="BatchNorm1d: expected a positive integer for num_features, got 0"):
        nn.BatchNorm1d(0)
    with pytest.raises(ValueError, match=r"BatchNorm2d: expected momentum in \[0, 1\] or None, got 2"):
        nn.BatchNorm2d(3, momentum=2)


def test_docstrings_are_filled_in():
    assert nn.BatchNorm1d.__doc__.startswith("Batch normalisation of the channels of (N, C) or (N, C, L)")
    assert repr(nn.BatchNorm2d(3)) == (
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    )
