"""Exponential moving averages of weights."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, host, needs_torch, put, torch
from xnn.backends import array_namespace

from xnn import nn
from xnn.nn import Parameter
from xnn.optim import SGD, ExponentialMovingAverage


class Counting(nn.Module):
    """A layer with a parameter, an array as buffer, and a number as buffer."""

    def __init__(self):
        super().__init__()
        self.weight = Parameter(np.asarray([1.0, 2.0]))
        self.register_buffer("mean", np.zeros(2))
        self.register_buffer("count", 0)


def change(model, device, step):
    rng = np.random.default_rng(step)
    model.weight.data = put(device, rng.standard_normal(2))
    object.__setattr__(model, "mean", put(device, np.full(2, float(step))))
    object.__setattr__(model, "count", step)


@pytest.mark.parametrize("warmup", [False, True])
def test_the_formula(device, warmup):
    model = Counting().to(device)
    ema = ExponentialMovingAverage(model, decay=0.7, warmup=warmup)
    average = host(model.weight.data)
    for t in range(20):
        change(model, device, t)
        ema.update()
        d = min(0.7, (1 + t) / (10 + t)) if warmup else 0.7
        average = d * average + (1 - d) * host(model.weight.data)
    own = model.weight.data
    with ema.average_parameters():
        assert_close(model.weight.data, average, device=device)
    assert model.weight.data is own


@needs_torch
def test_the_numbers_of_torch():
    theirs = torch.nn.Linear(3, 2).double()
    averaged = torch.optim.swa_utils.AveragedModel(
        theirs, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    )
    averaged.update_parameters(theirs)  # the first one copies
    mine = nn.Linear(3, 2).to(dtype="float64")
    mine.load_state_dict({k: v.detach() for k, v in theirs.state_dict().items()})
    ema = ExponentialMovingAverage(mine, 0.9)
    rng = np.random.default_rng(0)
    for _ in range(10):
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            step = rng.standard_normal(p.shape)
            p.data += step
            q.data += torch.tensor(step)
        ema.update()
        averaged.update_parameters(theirs)
    ema.copy_to_parameters()
    for p, q in zip(mine.parameters(), averaged.module.parameters(), strict=True):
        assert_close(p.data, q)


def test_buffers_are_copied_and_swapped(device):
    model = Counting().to(device)
    ema = ExponentialMovingAverage(model, 0.5)
    change(model, device, 1)
    ema.update()
    change(model, device, 2)
    with ema.average_parameters():
        assert_close(model.mean, np.full(2, 1.0), device=device)
        assert model.count == 1
    assert_close(model.mean, np.full(2, 2.0), device=device)
    assert model.count == 2
    ema.copy_to_parameters()
    assert model.count == 1
    assert array_namespace(model.mean) is device.xp


def test_the_model_gets_its_weights_back_after_an_error():
    p = Parameter([1.0])
    ema = ExponentialMovingAverage([p], 0.5)
    own = p.data

    def fail():
        with ema.average_parameters():
            assert p.data is not own
            raise KeyError("an error of the caller")

    with pytest.raises(KeyError, match="an error of the caller"):
        fail()
    assert p.data is own
    ema.update()


def test_the_averages_do_not_share_memory_with_the_model():
    p = Parameter(np.asarray([2.0]))
    ema = ExponentialMovingAverage([p], 0.5)
    p.grad = np.asarray([1.0])
    SGD([p], lr=1.0).step()
    with ema.average_parameters():
        assert_close(p.data, np.asarray([2.0]))
    ema.copy_to_parameters()
    p.data += 5.0
    with ema.average_parameters():
        assert_close(p.data, np.asarray([2.0]))


def test_a_resumed_average_gives_the_same_bits(device):
    model, other = Counting().to(device), Counting().to(device)
    ema = ExponentialMovingAverage(model, 0.9, warmup=True)
    resumed = ExponentialMovingAverage(other, 0.1)
    for t in range(5):
        change(model, device, t)
        ema.update()
    change(other, device, 4)
    resumed.load_state_dict(ema.state_dict())
    for t in range(5, 9):
        for m, e in ((model, ema), (other, resumed)):
            change(m, device, t)
            e.update()
    a, b = ema.state_dict(), resumed.state_dict()
    assert (b["decay"], b["warmup"], b["updates"]) == (0.9, True, 9)
    assert a["buffers"]["count"] == b["buffers"]["count"] == 8
    for key in a["parameters"]:
        assert host(a["parameters"][key]).tobytes() == host(b["parameters"][key]).tobytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["parameters"].update(weight=np.ones(3)), r"'weight': expected shape \(2,\), got \(3,\)"),
        (
            lambda s: s["parameters"].update(bias=np.ones(3)),
            r"expected parameters \['weight'\], got \['bias'",
        ),
        (lambda s: s["buffers"].pop("mean"), r"expected buffers \['count', 'mean'\], got \['count'\]"),
        (lambda s: s.pop("decay"), "expected the entries .*'decay'"),
    ],
)
def test_loading_a_wrong_state_changes_nothing(spoil, message):
    ema = ExponentialMovingAverage(Counting(), 0.9)
    saved = ema.state_dict()
    saved["updates"] = 7
    spoil(saved)
    with pytest.raises(ValueError, match=message):
        ema.load_state_dict(saved)
    assert ema.updates == 0


def test_errors():
    p = Parameter([1.0])
    with pytest.raises(ValueError, match=r"expected decay in \[0, 1\], got 1.5"):
        ExponentialMovingAverage([p], 1.5)
    with pytest.raises(ValueError, match="at least one parameter, got none"):
        ExponentialMovingAverage([])
    with pytest.raises(TypeError, match="parameter 0: expected a Tensor, got ndarray"):
        ExponentialMovingAverage([np.ones(1)])
    ema = ExponentialMovingAverage([p])
    with (
        ema.average_parameters(),
        pytest.raises(
            RuntimeError, match=r"update: expected the model to have its own weights.*average_parameters"
        ),
    ):
        ema.update()


def test_with_a_model_that_is_evaluated(device):
    model = nn.Sequential(nn.Linear(2, 2)).to(device)
    ema = ExponentialMovingAverage(model, decay=0.0)
    x = put(device, np.ones((1, 2)), "float32")
    before = model.eval()(x)
    for p in model.parameters():
        p.data = p.data + 1.0
    with ema.average_parameters():
        assert_close(model(x), host(before))
        saved = model.state_dict()
    assert_close(model(x), host(before) + 3.0, atol=1e-5)
    assert_close(saved["0.bias"], host(model[0].bias.data) - 1.0, atol=1e-6)
