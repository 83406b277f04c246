"""Every schedule against PyTorch, step by step, also resumed and combined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support import needs_torch, torch

from xnn import optim
from xnn.nn import Parameter
from xnn.optim import lr_scheduler


class Halving:
    """A callable with a state, as LambdaLR may be given."""

    def __init__(self, every):
        self.every = every

    def __call__(self, t):
        return 0.5 ** (t // self.every)


# Each makes a schedule of the module that it is given: xnn's or PyTorch's.
SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, step_size=7, gamma=0.5),
    "step, 1": lambda m, o: m.StepLR(o, 1, 0.95),
    "milestones": lambda m, o: m.MultiStepLR(o, milestones=[30, 5, 12, 12], gamma=0.3),
    "constant": lambda m, o: m.ConstantLR(o),
    "constant, 20": lambda m, o: m.ConstantLR(o, factor=0.25, total_iters=20),
    "linear": lambda m, o: m.LinearLR(o),
    "linear, down": lambda m, o: m.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=40),
    "linear, warm-up": lambda m, o: m.LinearLR(o, start_factor=1e-3, total_iters=25),
    "exponential": lambda m, o: m.ExponentialLR(o, gamma=0.93),
    "polynomial": lambda m, o: m.PolynomialLR(o),
    "polynomial, 50": lambda m, o: m.PolynomialLR(o, total_iters=50, power=2.5),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, T_max=64),
    "cosine, up again": lambda m, o: m.CosineAnnealingLR(o, T_max=10, eta_min=0.01),
    "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, T_0=9),
    "restarts, longer": lambda m, o: m.CosineAnnealingWarmRestarts(o, T_0=5, T_mult=2, eta_min=0.01),
    "one cycle": lambda m, o: m.OneCycleLR(o, max_lr=1.0, total_steps=64),
    "one cycle, beyond": lambda m, o: m.OneCycleLR(o, max_lr=1.0, total_steps=64, cycle_momentum=False),
    "one cycle, linear": lambda m, o: m.OneCycleLR(
        o, max_lr=[1.0, 0.5], epochs=8, steps_per_epoch=8, anneal_strategy="linear", pct_start=0.4
    ),
    "one cycle, three phases": lambda m, o: m.OneCycleLR(
        o,
        max_lr=0.7,
        total_steps=70,
        three_phase=True,
        base_momentum=[0.8, 0.7],
        max_momentum=0.9,
        div_factor=10.0,
        final_div_factor=50.0,
    ),
    "lambda": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + 0.1 * t)),
    "lambdas": lambda m, o: m.LambdaLR(o, [Halving(5), lambda t: 1 + math.cos(t)]),
    "sequence": lambda m, o: m.SequentialLR(
        o,
        [m.LinearLR(o, start_factor=0.01, total_iters=10), m.CosineAnnealingLR(o, T_max=50)],
        milestones=[10],
    ),
    "sequence of three": lambda m, o: m.SequentialLR(
        o,
        [m.ConstantLR(o, 0.1, 8), m.ExponentialLR(o, 0.9), m.CosineAnnealingWarmRestarts(o, T_0=7)],
        milestones=[8, 30],
    ),
    "sequence that begins with the second": lambda m, o: m.SequentialLR(
        o, [m.ExponentialLR(o, 0.9), m.StepLR(o, 5)], milestones=[0]
    ),
    "chain": lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 20), m.ExponentialLR(o, 0.9)]),
    "chain of three": lambda m, o: m.ChainedScheduler(
        [m.LinearLR(o, total_iters=12), m.CosineAnnealingLR(o, T_max=64), m.StepLR(o, 15)], optimizer=o
    ),
}
STEPS = 64  # the last one is one step beyond the phases of a cycle of that length


def optimizers(kind="SGD"):
    """An optimizer with two groups, twice: xnn's and PyTorch's."""
    options = {"lr": 0.1, "momentum": 0.9} if kind == "SGD" else {"lr": 0.1}
    groups = [{"params": [Parameter(np.ones(1))]}, {"params": [Parameter(np.ones(1))], "lr": 0.02}]
    mine = getattr(optim, kind)(groups, **options)
    if torch is None:
        return mine, None
    groups = [{"params": [torch.ones(1, requires_grad=True)]}, {"params": [torch.ones(1)], "lr": 0.02}]
    return mine, getattr(torch.optim, kind)(groups, **options)


def numbers(optimizer):
    """What a schedule sets: the learning rates, and momentum or β₁."""
    return [
        (g["lr"], g.get("momentum", g.get("betas", (0.0,))[0] if "betas" in g else 0.0))
        for g in optimizer.param_groups
    ]


@needs_torch
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "SGD") for name in SCHEDULES]
    + [(name, "Adam") for name in SCHEDULES if name.startswith("one cycle")],
)
def test_the_numbers_of_torch(name, kind):
    mine, oracle = optimizers(kind)
    a, b = SCHEDULES[name](lr_scheduler, mine), SCHEDULES[name](torch.optim.lr_scheduler, oracle)
    for _ in range(STEPS):
        np.testing.assert_allclose(numbers(mine), numbers(oracle), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-12, atol=1e-15)
        assert a.get_last_lr() == [g["lr"] for g in mine.param_groups]
        oracle.step()
        mine.step()
        a.step()
        b.step()
    np.testing.assert_allclose(numbers(mine), numbers(oracle), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("stop", [1, 9, 10, 30])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_gives_the_same_numbers(name, stop):
    first, _ = optimizers()
    scheduler = SCHEDULES[name](lr_scheduler, first)
    for _ in range(stop):
        scheduler.step()
    saved = json.loads(json.dumps({"schedule": scheduler.state_dict(), "optimizer": first.state_dict()}))

    second, _ = optimizers()
    resumed = SCHEDULES[name](lr_scheduler, second)
    second.load_state_dict(saved["optimizer"])
    resumed.load_state_dict(saved["schedule"])
    for _ in range(STEPS - stop):
        assert numbers(first) == numbers(second)
        assert scheduler.get_last_lr() == resumed.get_last_lr()
        scheduler.step()
        resumed.step()
    assert numbers(first) == numbers(second)
    assert scheduler.state_dict() == resumed.state_dict()


@needs_torch
@pytest.mark.parametrize(
    "name",
    [
        "step",
        "milestones",
        "linear",
        "exponential",
        "polynomial, 50",
        "cosine, up again",
        "lambda",
        "restarts",
    ],
)
def test_last_epoch_begins_in_the_middle(name):
    classes = {
        "step": lambda m, o: m.StepLR(o, 7, 0.5, 13),
        "milestones": lambda m, o: m.MultiStepLR(o, [5, 14, 20], 0.5, 13),
        "linear": lambda m, o: m.LinearLR(o, total_iters=30, last_epoch=13),
        "exponential": lambda m, o: m.ExponentialLR(o, 0.9, 13),
        "polynomial, 50": lambda m, o: m.PolynomialLR(o, 50, 1.5, 13),
        "cosine, up again": lambda m, o: m.CosineAnnealingLR(o, 20, 0.01, 13),
        "lambda": lambda m, o: m.LambdaLR(o, lambda t: 1 / (1 + t), 13),
        "restarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 0.0, 3),
    }
    mine, oracle = optimizers()
    for group in (*mine.param_groups, *oracle.param_groups):
        group["initial_lr"] = group["lr"]
    a, b = classes[name](lr_scheduler, mine), classes[name](torch.optim.lr_scheduler, oracle)
    for _ in range(30):
        np.testing.assert_allclose(numbers(mine), numbers(oracle), rtol=1e-12)
        oracle.step()
        a.step()
        b.step()


PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"mode": "max", "patience": 1, "threshold": 0.05},
    {"threshold_mode": "abs", "patience": 0, "threshold": 0.1, "cooldown": 3},
    {"mode": "max", "threshold_mode": "abs", "patience": 1, "min_lr": [0.01, 0.001], "eps": 1e-4},
]


@needs_torch
@pytest.mark.parametrize("options", PLATEAUS)
def test_plateau(options):
    mine, oracle = optimizers()
    a = lr_scheduler.ReduceLROnPlateau(mine, **options)
    b = torch.optim.lr_scheduler.ReduceLROnPlateau(oracle, **options)
    rng = np.random.default_rng(0)
    metrics = np.concatenate([np.linspace(2, 1, 20), 1 + 0.2 * rng.standard_normal(60), [math.nan, math.inf]])
    for i, metric in enumerate(metrics):
        if i == 30:
            saved = json.loads(json.dumps(a.state_dict(), allow_nan=False))
            a = lr_scheduler.ReduceLROnPlateau(mine, **options)
            a.load_state_dict(saved)
        a.step(metric)
        b.step(metric)
        np.testing.assert_allclose(numbers(mine), numbers(oracle), rtol=1e-12)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=1e-12)
    assert (a.num_bad_epochs, a.cooldown_counter, a.best) == (b.num_bad_epochs, b.cooldown_counter, b.best)
    assert (
        json.loads(json.dumps(lr_scheduler.ReduceLROnPlateau(mine).state_dict(), allow_nan=False))["best"]
        is None
    )


@needs_torch
def test_restarts_at_fractions_of_epochs():
    mine, oracle = optimizers()
    a = lr_scheduler.CosineAnnealingWarmRestarts(mine, T_0=3, T_mult=2)
    b = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(oracle, T_0=3, T_mult=2)
    for i in range(100):
        a.step(i / 4)
        b.step(i / 4)
        np.testing.assert_allclose(numbers(mine), numbers(oracle), rtol=1e-12)
    a.step(0.5)
    assert a.T_i == 3


@needs_torch
def test_a_chain_in_a_sequence():
    def make(m, o):
        chain = m.ChainedScheduler([m.LinearLR(o, total_iters=5), m.ExponentialLR(o, 0.9)])
        return chain, m.StepLR(o, 3)

    mine, _ = optimizers()
    chain, step = make(lr_scheduler, mine)
    scheduler = lr_scheduler.SequentialLR(mine, [chain, step], [10])
    alone, _ = optimizers()
    reference, _ = make(lr_scheduler, alone)
    alone.param_groups[0]["lr"], alone.param_groups[1]["lr"] = 0.1 / 3, 0.02 / 3
    for _ in range(9):
        np.testing.assert_allclose(
            scheduler.get_last_lr(), reference.get_last_lr() if scheduler.last_epoch else [0.1 / 3, 0.02 / 3]
        )
        scheduler.step()
        reference.step()
    scheduler.step()
    np.testing.assert_allclose(scheduler.get_last_lr(), [0.1, 0.02])


def test_a_rate_changed_by_hand_stays_changed():
    optimizer, _ = optimizers()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] = 8.0
    scheduler.step()
    assert scheduler.get_last_lr() == [4.0, 0.01]


def test_what_is_returned_belongs_to_the_caller():
    optimizer, _ = optimizers()
    scheduler = lr_scheduler.MultiStepLR(optimizer, [3])
    scheduler.get_last_lr()[0] = 7.0
    scheduler.state_dict()["milestones"].append(1)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.1, 0.02]
    assert scheduler.milestones == [3]


O = optimizers()[0]  # noqa: E741
S = lr_scheduler


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: S.StepLR("sgd", 3), TypeError, "StepLR: expected an Optimizer, got str"),
        (lambda: S.StepLR(O, 0), ValueError, "step_size to be an integer >= 1, got 0"),
        (lambda: S.StepLR(optimizers()[0], 3, last_epoch=4), KeyError, "expected 'initial_lr' in group 0"),
        (lambda: S.ConstantLR(O, factor=2), ValueError, r"factor in \(0, 1\], got 2"),
        (lambda: S.LinearLR(O, start_factor=0), ValueError, r"start_factor in \(0, 1\], got 0"),
        (lambda: S.LinearLR(O, end_factor=2), ValueError, r"end_factor in \[0, 1\], got 2"),
        (lambda: S.LinearLR(O, total_iters=0), ValueError, "total_iters to be an integer >= 1, got 0"),
        (lambda: S.PolynomialLR(O, total_iters=0), ValueError, "total_iters to be an integer >= 1, got 0"),
        (lambda: S.CosineAnnealingLR(O, 0), ValueError, "T_max to be an integer >= 1, got 0"),
        (lambda: S.CosineAnnealingWarmRestarts(O, 1.5), ValueError, "T_0 to be an integer >= 1, got 1.5"),
        (lambda: S.CosineAnnealingWarmRestarts(O, 2, 0), ValueError, "T_mult to be an integer >= 1, got 0"),
        (lambda: S.CosineAnnealingWarmRestarts(O, 2).step(-1), ValueError, "epoch >= 0, got -1"),
        (lambda: S.OneCycleLR(O, 1.0), ValueError, "expected total_steps, or epochs and steps_per_epoch"),
        (lambda: S.OneCycleLR(O, 1.0, 0), ValueError, "total_steps to be an integer >= 1, got 0"),
        (lambda: S.OneCycleLR(O, 1.0, 5, pct_start=1.5), ValueError, r"pct_start in \[0, 1\], got 1.5"),
        (lambda: S.OneCycleLR(O, 1.0, 5, anneal_strategy="x"), ValueError, "'cos' or 'linear', got 'x'"),
        (lambda: S.OneCycleLR(O, [1.0], 5), ValueError, "max_lr: expected 2 values, one per group, got 1"),
        (
            lambda: S.OneCycleLR(optim.Adagrad([Parameter([1.0])]), 1.0, 5),
            ValueError,
            "an optimizer with the option momentum or betas, got Adagrad",
        ),
        (lambda: S.ReduceLROnPlateau(O, factor=1.0), ValueError, r"factor in \[0, 1\), got 1.0"),
        (lambda: S.ReduceLROnPlateau(O, mode="less"), ValueError, "mode 'min' or 'max', got 'less'"),
        (lambda: S.ReduceLROnPlateau(O, threshold_mode="x"), ValueError, "'rel' or 'abs', got 'x'"),
        (lambda: S.ReduceLROnPlateau(O, min_lr=[0.1]), ValueError, "min_lr: expected 2 values"),
        (lambda: S.LambdaLR(O, [abs]), ValueError, "lr_lambda: expected 2 values, one per group, got 1"),
        (lambda: S.SequentialLR(O, [], []), ValueError, "at least one schedule, got none"),
        (
            lambda: S.SequentialLR(O, [S.StepLR(O, 1)], [3]),
            ValueError,
            r"0 increasing milestones for 1 schedules",
        ),
        (lambda: S.ChainedScheduler([]), ValueError, "at least one schedule, got none"),
        (lambda: S.ChainedScheduler([S.ReduceLROnPlateau(O)]), ValueError, "schedule 0: .*ReduceLROnPlateau"),
        (
            lambda: S.ChainedScheduler([S.StepLR(O, 1), 3]),
            TypeError,
            "schedule 1: expected a schedule, got int",
        ),
        (
            lambda: S.ChainedScheduler([S.StepLR(O, 1), S.StepLR(optimizers()[0], 1)]),
            ValueError,
            "schedule 1: expected the same optimizer",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_one_cycle_ends():
    optimizer, _ = optimizers()
    scheduler = S.OneCycleLR(optimizer, 1.0, total_steps=3)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="at most 3 steps in all, got step 4"):
        scheduler.step()


def test_a_group_added_later_is_noticed():
    optimizer, _ = optimizers()
    scheduler = S.StepLR(optimizer, 3)
    cosine = S.LambdaLR(optimizer, lambda t: 1.0)
    optimizer.add_param_group({"params": [Parameter([1.0])]})
    scheduler.step()
    with pytest.raises(RuntimeError, match="as many groups in the optimizer as at construction, 2, got 3"):
        cosine.step()


def test_states_that_do_not_fit():
    optimizer, _ = optimizers()
    step, cosine = S.StepLR(optimizer, 3), S.CosineAnnealingLR(optimizer, 3)
    with pytest.raises(ValueError, match=r"StepLR state: expected the entries .*'gamma'.*got .*'T_max'"):
        step.load_state_dict(cosine.state_dict())
    with pytest.raises(ValueError, match="expected 2 learning rates, one per group of the optimizer, got 1"):
        step.load_state_dict({**step.state_dict(), "_last_lr": [0.1]})
    chain = S.ChainedScheduler([step, cosine])
    state = chain.state_dict()
    state["_schedulers"][0]["gamma"] = 7.0
    state["_schedulers"][1].pop("T_max")
    with pytest.raises(ValueError, match="CosineAnnealingLR state"):
        chain.load_state_dict(state)
    assert step.gamma == 0.1
    with pytest.raises(ValueError, match="expected 2 schedules, got 1"):
        chain.load_state_dict({**chain.state_dict(), "_schedulers": [step.state_dict()]})


def test_the_base_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="LRScheduler defines no get_lr"):
        S.LRScheduler(O)
