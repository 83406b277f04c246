"""One battery for all optimizers."""

from __future__ import annotations

import copy
import json
import math
from typing import ClassVar

import numpy as np
import pytest
from support import assert_close, host, needs_torch, put, torch
from xnn.backends import array_namespace

import xnn
from xnn import optim
from xnn.nn import Parameter

SHAPES = [(4, 3), (3,), (), (2, 3, 2)]

# The options of each optimizer that PyTorch has too, alone and together.
OPTIONS = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.5, "maximize": True, "weight_decay": 0.1},
    ],
    "Adam": [
        {},
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
        {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1},
        {"lr": 0.1, "maximize": True, "weight_decay": 0.1},
        {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1},
    ],
    "AdamW": [{}, {"lr": 0.1, "weight_decay": 0.3}, {"lr": 0.1, "amsgrad": True, "maximize": True}],
    "RMSprop": [
        {},
        {"lr": 0.1, "alpha": 0.5, "eps": 1e-3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "centered": True, "momentum": 0.5, "maximize": True, "weight_decay": 0.1, "eps": 1e-3},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True, "eps": 1e-3},
    ],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}, {"maximize": True}],
    "NAdam": [
        {},
        {"lr": 0.1, "weight_decay": 0.1, "momentum_decay": 0.1},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "RAdam": [
        {},
        {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1},
        {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "Muon": [
        {},
        {"lr": 0.1, "nesterov": False, "weight_decay": 0.0, "ns_steps": 3},
        {"lr": 0.1, "adjust_lr_fn": "match_rms_adamw", "momentum": 0.5},
    ],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]
FULL = [(name, several[-1]) for name, several in OPTIONS.items()]
ALL = [*FULL, ("Lion", {"lr": 0.05, "weight_decay": 0.1})]


def shapes_for(name):
    return [(4, 3), (2, 5), (3, 3)] if name == "Muon" else SHAPES


def start(name, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s), dtype=dtype) for s in shapes_for(name)]


def parameters(device, values):
    return [Parameter(device.asarray(v, copy=True)) for v in values]


def gradients(name, step, dtype="float64"):
    """The gradients of a step; every third step leaves one parameter out."""
    rng = np.random.default_rng(100 + step)
    grads = [np.asarray(rng.standard_normal(s), dtype=dtype) for s in shapes_for(name)]
    if step % 3 == 1:
        grads[1] = None
    return grads


def run(device, optimizer, params, name, steps, dtype="float64"):
    for step in steps:
        for p, g in zip(params, gradients(name, step, dtype), strict=True):
            p.grad = None if g is None else put(device, g)
        optimizer.step()


def torch_run(name, options, values, steps, dtype, groups=None):
    params = [torch.tensor(v, requires_grad=True) for v in values]
    torch.set_default_dtype(getattr(torch, dtype))  # of its numbers, such as NAdam's product
    try:
        oracle = getattr(torch.optim, name)(groups(params) if groups else params, **options)
        for step in steps:
            for p, g in zip(params, gradients(name, step, dtype), strict=True):
                p.grad = None if g is None else torch.tensor(g)
            oracle.step()
    finally:
        torch.set_default_dtype(torch.float32)
    return params, oracle


@pytest.fixture
def exact_muon(monkeypatch):
    """PyTorch's Muon iterates in bfloat16; let it keep the dtype, to compare the numbers."""
    if torch is not None:
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


@needs_torch
@pytest.mark.usefixtures("exact_muon")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_torch(name, options, dtype):
    cpu = xnn.device("cpu")
    values = start(name, dtype)
    params = parameters(cpu, values)
    run(cpu, getattr(optim, name)(params, **options), params, name, range(12), dtype)
    expected, _ = torch_run(name, options, values, range(12), dtype)
    tolerance = {"float32": 1e-4, "float64": 1e-10}[dtype]
    for p, q in zip(params, expected, strict=True):
        assert_close(p.data, q, rtol=tolerance, atol=tolerance)


@needs_torch
@pytest.mark.usefixtures("exact_muon")
@pytest.mark.parametrize(("name", "options"), FULL)
def test_on_every_device(device, name, options):
    values = start(name)
    params = parameters(device, values)
    arrays = [p.data for p in params]
    run(device, getattr(optim, name)(params, **options), params, name, range(10))
    expected, _ = torch_run(name, options, values, range(10), "float64")
    for p, array, q in zip(params, arrays, expected, strict=True):
        assert p.data is array  # changed in place
        assert_close(p.data, q, rtol=1e-10, atol=1e-10, device=device)


@needs_torch
@pytest.mark.usefixtures("exact_muon")
@pytest.mark.parametrize(("name", "options"), FULL)
def test_groups_have_their_own_options(name, options):
    def groups(params):
        return [{"params": params[:2], "lr": 0.02, "weight_decay": 0.0}, {"params": params[2:]}]

    cpu = xnn.device("cpu")
    values = start(name)
    params = parameters(cpu, values)
    optimizer = getattr(optim, name)(groups(params), **options)
    run(cpu, optimizer, params, name, range(10))
    expected, _ = torch_run(name, options, values, range(10), "float64", groups)
    for p, q in zip(params, expected, strict=True):
        assert_close(p.data, q, rtol=1e-10, atol=1e-10)


def test_lion_is_the_formula_of_the_paper(device):
    theta, m = np.asarray([1.0, -2.0, 0.5]), np.zeros(3)
    p = Parameter(device.asarray(theta, copy=True))
    optimizer = optim.Lion([p], lr=0.02, betas=(0.8, 0.95), weight_decay=0.3)
    rng = np.random.default_rng(0)
    for _ in range(12):
        g = rng.standard_normal(3)
        p.grad = put(device, g)
        optimizer.step()
        update = np.sign(0.8 * m + (1 - 0.8) * g)
        theta = theta - 0.02 * (update + 0.3 * theta)
        m = 0.95 * m + (1 - 0.95) * g
    assert_close(p.data, theta, device=device)


def test_lion_climbs_with_maximize():
    p = Parameter(np.asarray([1.0]))
    p.grad = np.asarray([3.0])
    optim.Lion([p], lr=0.5, maximize=True).step()
    assert_close(p.data, np.asarray([1.5]))


@needs_torch
def test_muon_is_close_to_the_bfloat16_of_torch():
    values = start("Muon", "float32")
    params = parameters(xnn.device("cpu"), values)
    run(xnn.device("cpu"), optim.Muon(params, lr=0.1), params, "Muon", range(5), "float32")
    expected, _ = torch_run("Muon", {"lr": 0.1}, values, range(5), "float32")
    for p, q in zip(params, expected, strict=True):
        assert_close(p.data, q, atol=0.03)


def test_muon_orthogonalizes(device):
    from xnn.optim.muon import orthogonalize

    for shape in [(6, 6), (8, 3), (3, 8)]:
        g = np.random.default_rng(1).standard_normal(shape)
        o = host(orthogonalize(put(device, g), (3.4445, -4.7750, 2.0315), 5, 1e-7))
        assert o.shape == shape
        s = np.linalg.svd(o, compute_uv=False)
        assert np.all((s > 0.6) & (s < 1.3))
        u, _, vt = np.linalg.svd(g, full_matrices=False)
        inner = u.T @ o @ vt.T  # diagonal: the singular vectors are those of g
        assert np.max(np.abs(inner - np.diag(np.diag(inner)))) < 1e-10
    zero = orthogonalize(put(device, np.zeros((2, 3))), (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert_close(zero, np.zeros((2, 3)), device=device)


FAST = {  # settings with which a few hundred steps suffice
    "SGD": {"lr": 0.05, "momentum": 0.5},
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1, "weight_decay": 0.0},
    "RMSprop": {"lr": 0.03},
    "Adagrad": {"lr": 1.0},
    "Adadelta": {"lr": 50.0, "rho": 0.99},
    "NAdam": {"lr": 0.1},
    "RAdam": {"lr": 0.1},
    "Lion": {"lr": 0.05, "betas": (0.9, 0.9)},
}


@pytest.mark.parametrize("name", FAST)
def test_parabola(device, name):
    target = put(device, [[1.0, -2.0, 3.0]])
    p = Parameter(device.asarray(np.zeros((1, 3))))
    optimizer = getattr(optim, name)([p], **FAST[name])
    steps = 300
    schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        xnn.sum((p - target) ** 2).backward()
        optimizer.step()
        schedule.step()
    assert_close(p.data, host(target), atol=0.05)


ROSENBROCK = {  # settings, and how low they get from f = 29 on: Adagrad and RAdam are slow along the valley
    "SGD": ({"lr": 1e-3, "momentum": 0.9}, 1e-3),
    "Adam": ({"lr": 0.2}, 1e-3),
    "AdamW": ({"lr": 0.2, "weight_decay": 0.0}, 1e-3),
    "RMSprop": ({"lr": 0.02}, 0.01),
    "Adagrad": ({"lr": 0.2}, 0.5),
    "Adadelta": ({"lr": 3.0}, 0.01),
    "NAdam": ({"lr": 0.1}, 0.01),
    "RAdam": ({"lr": 0.003}, 0.2),
    "Lion": ({"lr": 0.02}, 1e-3),
}


@pytest.mark.parametrize("name", ROSENBROCK)
def test_rosenbrock(name):
    options, reached = ROSENBROCK[name]
    p = Parameter(np.asarray([-1.0, 1.5]))
    optimizer = getattr(optim, name)([p], **options)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 2000)
    for _ in range(2000):
        x, y = p.data
        p.grad = np.asarray([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        optimizer.step()
        schedule.step()
    x, y = p.data
    assert (1 - x) ** 2 + 100 * (y - x * x) ** 2 < reached


def test_muon_on_a_parabola(device):
    target = np.random.default_rng(0).standard_normal((4, 3))
    p = Parameter(device.asarray(np.zeros((4, 3))))
    optimizer = optim.Muon([p], lr=0.1, weight_decay=0.0)
    schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=150)
    for _ in range(150):
        p.grad = p.data - put(device, target)
        optimizer.step()
        schedule.step()
    assert_close(p.data, target, atol=0.05)


# --- saving and loading ---


@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_resumed_run_gives_the_same_bits(device, name, options):
    values = start(name, "float32")
    params = parameters(device, values)
    optimizer = getattr(optim, name)(params, **options)
    run(device, optimizer, params, name, range(5), "float32")

    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    json.dumps(saved["param_groups"])
    fresh = parameters(device, [host(p.data) for p in params])
    resumed = getattr(optim, name)(fresh)  # the options come with the state
    resumed.load_state_dict(saved)

    run(device, optimizer, params, name, range(5, 11), "float32")
    run(device, resumed, fresh, name, range(5, 11), "float32")
    for p, q in zip(params, fresh, strict=True):
        assert host(p.data).tobytes() == host(q.data).tobytes()
    for i, state in optimizer.state_dict()["state"].items():
        other = resumed.state_dict()["state"][i]
        assert set(state) == set(other)
        for key, value in state.items():
            assert host(value).tobytes() == host(other[key]).tobytes()
    options = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    assert options == [{k: v for k, v in g.items() if k != "params"} for g in resumed.param_groups]


@needs_torch
@pytest.mark.usefixtures("exact_muon")
@pytest.mark.parametrize(("name", "options"), FULL)
def test_the_state_of_torch_fits(name, options):
    cpu = xnn.device("cpu")
    values = start(name)
    torch_params, oracle = torch_run(name, options, values, range(5), "float64")
    params = parameters(cpu, [host(p) for p in torch_params])
    optimizer = getattr(optim, name)(params)
    optimizer.load_state_dict(copy.deepcopy(oracle.state_dict()))
    run(cpu, optimizer, params, name, range(5, 9))
    expected, _ = torch_run(name, options, values, range(9), "float64")
    for p, q in zip(params, expected, strict=True):
        assert_close(p.data, q, rtol=1e-10, atol=1e-10)


def test_keys_of_the_state_are_those_of_torch():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(3))
    optimizer = optim.Adam([{"params": [p]}, {"params": [q], "lr": 0.5}], amsgrad=True)
    q.grad = np.ones(3)
    optimizer.step()
    saved = optimizer.state_dict()
    assert list(saved["state"]) == [1]
    assert set(saved["state"][1]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
    assert saved["state"][1]["step"] == 1
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in saved["param_groups"]] == [1e-3, 0.5]
    assert saved["param_groups"][0]["betas"] == [0.9, 0.999]


def test_state_is_copied_to_device_and_dtype(device):
    p = Parameter(np.ones(3))
    p.grad = np.ones(3)
    optimizer = optim.Adam([p])
    optimizer.step()
    q = Parameter(device.asarray(np.ones(3), dtype="float32"))
    other = optim.Adam([q])
    saved = optimizer.state_dict()
    saved["state"] = {str(k): v for k, v in saved["state"].items()}  # as a JSON file has it
    other.load_state_dict(saved)
    assert_close(other.state[q]["exp_avg"], np.full(3, 0.1, dtype="float32"), device=device)
    optimizer.state[p]["exp_avg"] *= 2
    assert_close(other.state[q]["exp_avg"], np.full(3, 0.1, dtype="float32"))


def _stepped():
    p, q = Parameter(np.ones((2, 3))), Parameter(np.ones(3))
    p.grad, q.grad = np.ones((2, 3)), np.ones(3)
    optimizer = optim.Adam([p, q])
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["param_groups"].append(s["param_groups"][0]), r"groups of \[2\] parameters.*\[2, 2\]"),
        (lambda s: s["param_groups"][0].update(params=[0]), r"groups of \[2\] parameters.*\[1\]"),
        (
            lambda s: s["state"][1].update(exp_avg=np.ones(4)),
            r"parameter 1: exp_avg: expected shape \(3,\).*\(4,\)",
        ),
        (
            lambda s: s["state"][0].update(exp_avg=1.0),
            r"parameter 0: exp_avg: expected shape \(2, 3\), got \(\)",
        ),
        (
            lambda s: s["state"][1].pop("exp_avg"),
            r"expected the entries \['exp_avg', 'exp_avg_sq', 'step'\].*got",
        ),
        (lambda s: s["state"][1].update(momentum_buffer=np.ones(3)), "got .*momentum_buffer"),
        (lambda s: s["state"].update({7: s["state"][1]}), r"parameter 7: expected one of \[0, 1\]"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), r"expected lr >= 0, got -1.0"),
        (lambda s: s["param_groups"][0].update(betas=[0.9]), r"expected 2 numbers as betas, got \(0.9,\)"),
        (lambda s: s["param_groups"][0].update(momentum=0.9), "expected options among .*got momentum"),
        (lambda s: s.pop("state"), "expected a dict with the entries 'state' and 'param_groups'"),
    ],
)
def test_loading_a_wrong_state_changes_nothing(spoil, message):
    optimizer = _stepped()
    before = copy.deepcopy(optimizer.state_dict())
    saved = copy.deepcopy(before)
    saved["param_groups"][0]["lr"] = 0.5
    saved["state"][0]["exp_avg"] = np.full((2, 3), 7.0)
    spoil(saved)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for i, state in before["state"].items():
        for key, value in state.items():
            np.testing.assert_array_equal(after["state"][i][key], value)


# --- parameters and gradients ---


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradients_are_never_written_into(device, name, options):
    params = parameters(device, start(name))
    optimizer = getattr(optim, name)(params, **options)
    for step in (0, 2, 3):
        grads = gradients(name, step)
        for p, g in zip(params, grads, strict=True):
            p.grad = put(device, g)
        kept = [p.grad for p in params]
        optimizer.step()
        for p, g, mine in zip(params, grads, kept, strict=True):
            assert p.grad is mine
            np.testing.assert_array_equal(host(p.grad), g)


@pytest.mark.parametrize(("name", "options"), ALL)
def test_accumulated_gradients_are_one_gradient(name, options):
    values = start(name)[:1]
    a, b = (parameters(xnn.device("cpu"), values) for _ in range(2))
    x = np.random.default_rng(3).standard_normal((4, 4, 3))
    for params, batches in ((a, [x]), (b, [x[:2], x[2:]])):
        optimizer = getattr(optim, name)(params, **options)
        for _ in range(3):
            optimizer.zero_grad()
            for batch in batches:
                xnn.sum((params[0] * batch) ** 2).backward()
            optimizer.step()
    assert_close(a[0].data, b[0].data)


def test_a_parameter_without_gradient_stays():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = optim.Adam([p, q], weight_decay=0.1)
    p.grad = np.ones(2)
    optimizer.step()
    assert_close(q.data, np.ones(2))
    assert q not in optimizer.state


def test_zero_grad():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    optimizer = optim.SGD([p, q])
    shared = p.grad = np.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert q.grad is None
    assert_close(p.grad, np.zeros(2))
    assert_close(shared, np.ones(2))
    optimizer.zero_grad()
    assert p.grad is None


def test_state_follows_a_moved_parameter(device):
    p = Parameter(np.ones(3))
    optimizer = optim.Adam([p])
    p.grad = np.ones(3)
    optimizer.step()
    p.data = device.asarray(p.data, dtype="float32", copy=True)
    p.grad = put(device, np.ones(3), "float32")
    optimizer.step()
    assert_close(p.data, np.full(3, 0.998, dtype="float32"), device=device)
    assert_close(optimizer.state[p]["exp_avg"], np.full(3, 0.19, dtype="float32"), device=device)


def test_a_closure_is_run_and_its_loss_returned():
    p = Parameter(np.asarray([2.0]))
    optimizer = optim.SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = xnn.sum(p * p)
        loss.backward()
        return loss

    with xnn.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert_close(p.data, np.asarray([1.0]))


def test_a_gradient_that_is_a_tensor():
    p = Parameter(np.asarray([2.0]))
    xnn.sum(p * p).backward(create_graph=True)
    optim.SGD([p], lr=0.25).step()
    assert_close(p.data, np.asarray([1.0]))


def test_float16_stays_float16(device):
    if not hasattr(device.xp, "float16"):
        pytest.skip(f"{device.xp.__name__} has no float16")
    p = Parameter(device.asarray([1.0, 2.0], dtype="float16"))
    p.grad = put(device, [1.0, -1.0], "float16")
    optimizer = optim.Adam([p], lr=0.25, eps=1e-4)
    optimizer.step()
    assert_close(p.data, np.asarray([0.75, 2.25], dtype="float16"), device=device)


def test_numpy_numbers_as_options_do_not_change_the_dtype():
    p = Parameter(np.ones(2, dtype="float32"))
    p.grad = np.ones(2, dtype="float32")
    optimizer = optim.SGD([p], lr=np.float64(0.5), momentum=np.float32(0.5))
    optimizer.step()
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert_close(p.data, np.full(2, 0.5, dtype="float32"))


def test_layers_train(device):
    model = xnn.nn.Sequential(xnn.nn.Linear(3, 8), xnn.nn.Linear(8, 2)).to(device)
    rng = np.random.default_rng(0)
    x = put(device, rng.standard_normal((16, 3)), "float32")
    y = put(device, rng.integers(0, 2, 16))
    optimizer = optim.AdamW(model.named_parameters(), lr=0.05)
    assert optimizer.param_groups[0]["param_names"] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = xnn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@needs_torch
@pytest.mark.parametrize(("name", "options"), ALL)
def test_a_step_never_reads_from_the_device(name, options):
    # PyTorch's meta tensors have shapes and dtypes but no values: reading one is an error.
    # (Without the 0-dimensional one, of which array-api-compat's sign for PyTorch reads whether it is NaN.)
    params = [Parameter(torch.zeros(s, device="meta")) for s in shapes_for(name) if s]
    optimizer = getattr(optim, name)(params, **options)
    for _ in range(7):  # RAdam adapts from its sixth step on
        for p in params:
            p.grad = torch.zeros(tuple(p.shape), device="meta")
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()


# --- groups ---


def test_add_param_group():
    p, q = Parameter(np.ones(2)), Parameter(np.ones(3))
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.add_param_group({"params": q, "lr": 0.25})
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    p.grad, q.grad = np.ones(2), np.ones(3)
    optimizer.step()
    assert_close(p.data, np.full(2, 0.5))
    assert_close(q.data, np.full(3, 0.75))
    assert "lr: 0.25" in repr(optimizer)


def test_options_of_the_caller_are_not_changed():
    p = Parameter(np.ones(2))
    group = {"params": [p], "name": "all"}
    optimizer = optim.SGD([group])
    assert group == {"params": [p], "name": "all"}
    assert optimizer.param_groups[0]["name"] == "all"
    assert optimizer.defaults["lr"] == 1e-3


def test_an_empty_group_among_others():
    p = Parameter(np.ones(2))
    optimizer = optim.SGD([{"params": []}, {"params": [p]}], lr=0.5)
    p.grad = np.ones(2)
    optimizer.step()
    assert_close(p.data, np.full(2, 0.5))


P = Parameter(np.ones(2))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([]), ValueError, "at least one parameter, got an empty list"),
        (lambda: optim.SGD([{"params": []}]), ValueError, "got groups that are all empty"),
        (lambda: optim.SGD(P), TypeError, "expected a list of Tensors or of groups, got one Parameter"),
        (
            lambda: optim.SGD([np.ones(2)]),
            TypeError,
            "parameter 0 of group 0: expected a Tensor, got ndarray",
        ),
        (lambda: optim.SGD([P * 2]), ValueError, "expected a leaf, got the result of an operation"),
        (
            lambda: optim.SGD([P, P]),
            ValueError,
            r"parameter 1 of group 0, shape \(2,\), is in this optimizer",
        ),
        (
            lambda: optim.SGD([{"params": [P]}, {"params": [P]}]),
            ValueError,
            "parameter 0 of group 1, .* already",
        ),
        (lambda: optim.SGD([{"params": {P}}]), TypeError, "expected parameters in an order, got a set"),
        (lambda: optim.SGD([{"parameters": [P]}]), TypeError, "a dict with the entry 'params'"),
        (lambda: optim.SGD([P, ("b", Parameter([1.0]))]), ValueError, "names for all parameters or for none"),
        (
            lambda: optim.SGD([{"params": [P], "learning_rate": 1}]),
            ValueError,
            "among lr, .*got learning_rate",
        ),
        (lambda: optim.SGD([xnn.Tensor(np.ones(2, dtype="int64"))]), TypeError, "real floating-point.*int64"),
        (lambda: optim.SGD([P], lr=-1), ValueError, "SGD: expected lr >= 0, got -1"),
        (lambda: optim.SGD([P], lr=float("nan")), ValueError, "SGD: expected lr >= 0, got nan"),
        (lambda: optim.SGD([P], lr="fast"), ValueError, "SGD: expected lr >= 0, got 'fast'"),
        (lambda: optim.SGD([P], momentum=-0.1), ValueError, "expected momentum >= 0, got -0.1"),
        (lambda: optim.SGD([P], weight_decay=-0.1), ValueError, "expected weight_decay >= 0, got -0.1"),
        (
            lambda: optim.SGD([P], nesterov=True),
            ValueError,
            "nesterov=True: expected momentum > 0 .* momentum 0.0",
        ),
        (
            lambda: optim.SGD([P], momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
            "dampening 0, got .* 0.1",
        ),
        (lambda: optim.SGD([{"params": [P], "lr": -2.0}]), ValueError, "expected lr >= 0, got -2.0"),
        (
            lambda: optim.Adam([P], betas=(1.0, 0.9)),
            ValueError,
            r"Adam: expected betas\[0\] in \[0, 1\), got 1.0",
        ),
        (lambda: optim.Adam([P], betas=(0.9, -0.1)), ValueError, r"betas\[1\] in \[0, 1\), got -0.1"),
        (lambda: optim.Adam([P], betas=0.9), ValueError, "expected 2 numbers as betas, got 0.9"),
        (lambda: optim.AdamW([P], eps=-1.0), ValueError, "AdamW: expected eps >= 0, got -1.0"),
        (lambda: optim.RMSprop([P], alpha=1.5), ValueError, r"RMSprop: expected alpha in \[0, 1\], got 1.5"),
        (lambda: optim.Adagrad([P], lr_decay=-1), ValueError, "Adagrad: expected lr_decay >= 0, got -1"),
        (lambda: optim.Adadelta([P], rho=2), ValueError, r"Adadelta: expected rho in \[0, 1\], got 2"),
        (
            lambda: optim.NAdam([P], momentum_decay=-1),
            ValueError,
            "NAdam: expected momentum_decay >= 0, got -1",
        ),
        (
            lambda: optim.RAdam([P], betas=(2, 0)),
            ValueError,
            r"RAdam: expected betas\[0\] in \[0, 1\), got 2",
        ),
        (lambda: optim.Lion([P], betas=(0, 1)), ValueError, r"Lion: expected betas\[1\] in \[0, 1\), got 1"),
        (
            lambda: optim.Muon([P]),
            ValueError,
            r"Muon: expected parameters with 2 dimensions, got shape \(2,\)",
        ),
        (lambda: optim.Muon([Parameter([[1.0]])], adjust_lr_fn="x"), ValueError, "adjust_lr_fn .*got 'x'"),
        (
            lambda: optim.Muon([Parameter([[1.0]])], ns_steps=100),
            ValueError,
            r"ns_steps .*\[0, 100\), got 100",
        ),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_group_that_is_refused_is_not_added():
    optimizer = optim.SGD([Parameter([1.0])])
    with pytest.raises(ValueError, match="lr"):
        optimizer.add_param_group({"params": [P], "lr": -1})
    assert len(optimizer.param_groups) == 1


def test_gradients_that_do_not_fit():
    p = Parameter(np.ones((2, 2)))
    optimizer = optim.SGD([p])
    p.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"SGD: expected a gradient of shape \(2, 2\), .*got \(2,\)"):
        optimizer.step()
    p.grad = np.ones((2, 2), dtype="float32")
    with pytest.raises(TypeError, match=r"SGD: expected a gradient of dtype float64, .*got float32"):
        optimizer.step()


def test_a_read_only_parameter():
    p = Parameter(np.ones(2))
    p.data.flags.writeable = False
    p.grad = np.ones(2)
    with pytest.raises(ValueError, match=r"expected a parameter whose array can be changed in place.*\(2,\)"):
        optim.Adam([p]).step()


# --- rules of one's own, and kernels ---


@optim.rule
def sign_descent(param, grad, state, *, lr):
    param -= lr * array_namespace(grad).sign(grad)


class SignDescent(optim.Optimizer):
    rule = sign_descent
    limits: ClassVar = {"lr": optim.NON_NEGATIVE}

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})


def test_an_optimizer_of_ones_own(device):
    p = Parameter(device.asarray([1.0, 2.0], dtype="float32"))
    p.grad = put(device, [3.0, -3.0], "float32")
    SignDescent([p], lr=0.5).step()
    assert_close(p.data, np.asarray([0.5, 2.5], dtype="float32"), device=device)


def test_a_kernel_updates_parameters_that_are_alike_at_once(monkeypatch):
    from xnn.optim.adam import adam

    calls = []

    def kernel(params, grads, states, **options):
        calls.append([p.dtype.name for p in params])
        assert len({s["step"] for s in states}) == 1
        for triple in zip(params, grads, states, strict=True):
            adam.update(*triple, **options)

    def train():
        dtypes = ["float32", "float32", "float64", "float32"]
        params = [Parameter(np.ones(i + 1, dtype=d)) for i, d in enumerate(dtypes)]
        optimizer = optim.Adam(params, lr=0.1)
        for step in range(2):
            for p in params:
                p.grad = None if step == 0 and p is params[3] else np.ones_like(p.data)
            optimizer.step()
        return params

    plain = train()
    monkeypatch.setitem(adam.kernels, np.ndarray, kernel)
    fused = train()
    assert calls == [["float32"] * 2, ["float64"], ["float32"] * 2, ["float64"], ["float32"]]
    for p, q in zip(plain, fused, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_kernel_for_another_type_is_not_used(monkeypatch):
    def kernel(*args, **options):
        raise AssertionError

    monkeypatch.setitem(sign_descent.kernels, int, kernel)
    p = Parameter(np.ones(2))
    p.grad = np.full(2, math.pi)
    SignDescent([p], lr=0.5).step()
    assert_close(p.data, np.full(2, 0.5))


@pytest.mark.parametrize(
    ("make", "change", "entry"),
    [
        (optim.RMSprop, {"momentum": 0.9}, "momentum_buffer"),
        (optim.RMSprop, {"centered": True}, "grad_avg"),
        (optim.Adam, {"amsgrad": True}, "max_exp_avg_sq"),
        (optim.SGD, {"momentum": 0.9}, "momentum_buffer"),
    ],
)
def test_options_can_be_switched_on_and_off_between_steps(make, change, entry):
    """PyTorch raises a KeyError for the first three. What the option remembers begins with the step that needs it."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 4))

    def steps(optimizer, p, numbers):
        for i in numbers:
            p.grad = gradients[i].copy()
            optimizer.step()

    p = Parameter(np.zeros(4))
    optimizer = make([p], lr=0.1)
    before = {name: optimizer.param_groups[0][name] for name in change}
    steps(optimizer, p, range(2))
    assert entry not in optimizer.state.get(p, {})
    optimizer.param_groups[0].update(change)

    other = make([Parameter(p.data.copy())], lr=0.1)
    q = other.param_groups[0]["params"][0]
    other.load_state_dict(optimizer.state_dict())  # switched on, but nothing remembered yet
    steps(optimizer, p, range(2, 4))
    steps(other, q, range(2, 4))
    assert entry in optimizer.state[p]
    np.testing.assert_array_equal(p.data, q.data)

    optimizer.param_groups[0].update(before)
    steps(optimizer, p, [4])
    other.load_state_dict(optimizer.state_dict())  # switched off, with what was remembered
    q.data = p.data.copy()
    steps(optimizer, p, [5])
    steps(other, q, [5])
    np.testing.assert_array_equal(p.data, q.data)


def test_a_module_in_place_of_its_parameters_is_named():
    with pytest.raises(TypeError, match=r"got Linear; pass its parameters\(\)"):
        optim.SGD(xnn.nn.Linear(2, 2), lr=0.1)
