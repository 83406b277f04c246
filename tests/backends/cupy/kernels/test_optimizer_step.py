from __future__ import annotations

import copy
import gc
import importlib
import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernel_parity import assert_near, kernel_of, wide
from xnn.backends import to_host
from xnn.backends.emulator import emulation, sparse_array
from xnn.backends.emulator.device import EmulatedArray

import xnn
from xnn import optim
from xnn.nn import Parameter
from xnn.optim.adam import adam
from xnn.optim.lion import lion
from xnn.optim.sgd import sgd

module = importlib.import_module("xnn.backends.cupy.kernels.optimizer_step")

# Nothing, one element, ragged vectors, whole vectors, a part and a little more, and several parts.
SHAPES = [(0, 4), (1,), (), (3, 5), (64,), (1, 4097), (2, 3, 700), (8, 1024)]

SGD = {
    "lr": 0.1,
    "momentum": 0.0,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "maximize": False,
}
ADAM = {
    "lr": 0.01,
    "betas": (0.9, 0.999),
    "eps": 1e-3,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
    "decoupled_weight_decay": False,
}
LION = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.0, "maximize": False}

RULES = [
    (sgd, [], SGD),
    (sgd, [], {**SGD, "weight_decay": 0.1, "maximize": True}),
    (sgd, ["momentum_buffer"], {**SGD, "momentum": 0.9}),
    (sgd, ["momentum_buffer"], {**SGD, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (
        sgd,
        ["momentum_buffer"],
        {**SGD, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
    ),
    (adam, ["exp_avg", "exp_avg_sq"], ADAM),
    (adam, ["exp_avg", "exp_avg_sq"], {**ADAM, "weight_decay": 0.1, "maximize": True}),
    (adam, ["exp_avg", "exp_avg_sq"], {**ADAM, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (adam, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"], {**ADAM, "amsgrad": True, "betas": (0.5, 0.6)}),
    (lion, ["exp_avg"], LION),
    (lion, ["exp_avg"], {**LION, "weight_decay": 0.1, "maximize": True}),
]
IDS = [f"{rule}-{i}" for i, (rule, _, _) in enumerate(RULES)]


def make(rng, shapes, names, dtype, state_dtype=None):
    """Parameters, gradients and states of a run that is under way, on the host."""
    state_dtype = state_dtype or dtype
    params, grads = ([np.asarray(rng.normal(size=s), dtype=dtype) for s in shapes] for _ in range(2))
    states = []
    for s in shapes:
        state: dict[str, Any] = {n: np.asarray(rng.normal(size=s), dtype=state_dtype) for n in names}
        for n in names:
            if n.endswith("_sq"):
                np.abs(state[n], out=state[n])
        if "exp_avg_sq" in names:
            state["step"] = 7
        states.append(state)
    return params, grads, states


def placed(device, value):
    """The same on a device."""
    if isinstance(value, np.ndarray):
        return device.asarray(value, copy=True)
    if isinstance(value, list):
        return [placed(device, v) for v in value]
    return {k: placed(device, v) for k, v in value.items()} if isinstance(value, dict) else value


def original(rule, params, grads, states, options, dtype=np.float64):
    """The rule itself, one parameter after another, on copies in ``dtype``."""
    params, grads = ([np.array(x, dtype=dtype) for x in xs] for xs in (params, grads))
    states = [
        {k: np.array(v, dtype=dtype) if isinstance(v, np.ndarray) else v for k, v in s.items()}
        for s in states
    ]
    for p, g, s in zip(params, grads, states, strict=True):
        rule.update(p, g, s, **options)
    return params, states


def launches(monkeypatch):
    """Names of the kernels that are launched from now on."""
    names = []
    launch = importlib.import_module("xnn.backends.cupy.launch")
    real = launch.Kernel.__call__
    monkeypatch.setattr(
        launch.Kernel,
        "__call__",
        lambda self, *args, **kwargs: (names.append(self.name), real(self, *args, **kwargs)),
    )
    return names


@pytest.mark.parametrize(("rule", "names", "options"), RULES, ids=IDS)
def test_parity(gpu, dtype, rule, names, options, rng):
    given = make(rng, SHAPES, names, dtype)
    params, grads, states = placed(gpu, list(given))
    kernel_of(rule)(params, grads, states, **options)
    want, want_states = original(rule, *given, options)
    for p, p0, s, s0 in zip(params, want, states, want_states, strict=True):
        assert_near(p, p0, dtype)
        for n in names:
            assert_near(s[n], s0[n], dtype)
    for g, g0 in zip(grads, given[1], strict=True):
        np.testing.assert_array_equal(wide(g), g0.astype(np.float64))  # left as they are


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(("rule", "names", "options"), RULES, ids=IDS)
def test_the_numbers_of_the_rule(gpu, name, rule, names, options, rng):
    """The same bits, but for products and sums that a GPU rounds once instead of twice."""
    given = make(rng, [(5,), (130,)], names, np.dtype(name))
    params, grads, states = placed(gpu, list(given))
    kernel_of(rule)(params, grads, states, **options)
    want, want_states = original(rule, *given, options, dtype=name)
    ulp = 0.0 if gpu.name == "emulated" else 4 * float(np.finfo(name).eps)
    for p, p0, s, s0 in zip(params, want, states, want_states, strict=True):
        for x, x0 in ((p, p0), *((s[n], s0[n]) for n in names)):
            np.testing.assert_allclose(np.asarray(to_host(x)), x0, rtol=ulp, atol=ulp)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("rule", "names", "options"), [RULES[4], RULES[8], RULES[10]], ids=["sgd", "adam", "lion"]
)
def test_states_in_float32(gpu, half, rule, names, options, rng, monkeypatch):
    dtype = np.dtype(getattr(ml_dtypes, half, half))
    given = make(rng, SHAPES, names, dtype, np.float32)
    params, grads, states = placed(gpu, list(given))
    launched = launches(monkeypatch)
    kernel_of(rule)(params, grads, states, **options)
    assert launched == [f"{rule}_wide"]
    want, want_states = original(rule, *given, options)
    for p, p0, s, s0 in zip(params, want, states, want_states, strict=True):
        assert_near(p, p0, dtype)
        for n in names:
            assert_near(s[n], s0[n], np.dtype(np.float32))


@pytest.mark.parametrize(
    ("rule", "names", "options"), [RULES[4], RULES[8], RULES[10]], ids=["sgd", "adam", "lion"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_arrays_that_begin_between_vectors(gpu, rng, rule, names, options, place):
    """Parameter, gradient or state is a view whose first element lies anywhere."""
    given = make(rng, [(1030,), (17,)], names, np.dtype(np.float32))
    params, grads, states = placed(gpu, list(given))

    def moved(x):
        flat = gpu.xp.zeros((x.size + 1,), dtype=x.dtype, device=gpu.handle)
        flat[1:] = x
        return flat[1:]

    if place == 2:
        states = [{**s, names[-1]: moved(s[names[-1]])} for s in states]
    else:
        xs = (params, grads)[place]
        xs[:] = map(moved, xs)
    kernel_of(rule)(params, grads, states, **options)
    for p, p0 in zip(params, original(rule, *given, options)[0], strict=True):
        assert_near(p, p0, np.dtype(np.float32))


def test_gradients_in_any_layout_and_parameters_for_the_rule(gpu, rng, monkeypatch):
    """Gradients are copied where they have gaps; a parameter that is no C-contiguous array is updated by the rule."""
    rule, names, options = RULES[7]
    given = make(rng, [(6, 5), (6, 5), (6, 5)], names, np.dtype(np.float32))
    params, grads, states = placed(gpu, list(given))
    grads[0] = grads[0].T.copy().T
    grads[1] = gpu.xp.stack([grads[1], grads[1]], axis=-1)[..., 0]
    params[2] = params[2].T.copy().T
    assert not params[2].flags.c_contiguous
    launched = launches(monkeypatch)
    rule.update_group(params, grads, states, options)
    assert launched == ["adam"]
    for p, p0 in zip(params, original(rule, *given, options)[0], strict=True):
        assert_near(p, p0, np.dtype(np.float32))
    assert len(module._plans.get(*_key(rule, params, states, names), find=None).rest) == 1


def _key(rule, params, states, names):
    return (rule.name, False, False, True), [*params, *(s[n] for n in names for s in states)]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (82, 1), (83, 2), (200, 3)])
def test_one_launch_holds_82_parameters_of_adam(gpu, rng, monkeypatch, count, expected):
    rule, names, options = RULES[5]
    given = make(rng, [(1 + i % 7,) for i in range(count)], names, np.dtype(np.float32))
    params, grads, states = placed(gpu, list(given))
    launched = launches(monkeypatch)
    rule.update_group(params, grads, states, options)
    assert launched == ["adam"] * expected
    for p, p0 in zip(params, original(rule, *given, options)[0], strict=True):
        assert_near(p, p0, np.dtype(np.float32))


OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "Lion": lambda p: optim.Lion(p, lr=0.1, weight_decay=0.1),
}


def train(device, make_optimizer, rng, dtype="float32", steps=4):
    params = [Parameter(device.asarray(rng.normal(size=s), dtype=dtype)) for s in [(4, 3), (0,), (), (70,)]]
    optimizer = make_optimizer(params)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (i + 1)
        for p in params:
            p.grad = device.asarray(rng.normal(size=p.shape), dtype=dtype)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_by_their_kernels(gpu, name, monkeypatch):
    """Several steps under a schedule: one launch each, nothing read from the device, nothing planned anew."""

    def read(*_: Any) -> Any:
        raise AssertionError("read from the device")

    gc.collect()
    launched = launches(monkeypatch)
    with monkeypatch.context() as patch:
        if gpu.name == "emulated":
            for method in ("__float__", "__bool__", "__int__", "item", "tolist"):
                patch.setattr(EmulatedArray, method, read, raising=False)
        before = len(module._plans)
        params, optimizer = train(gpu, OPTIMIZERS[name], np.random.default_rng(5))
    assert launched == [name.lower().removesuffix("w")] * 4
    assert len(module._plans) == before + 1
    with xnn.backends.without_kernels():
        others, _ = train(gpu, OPTIMIZERS[name], np.random.default_rng(5))
    for p, q in zip(params, others, strict=True):
        assert_near(p.data, wide(q.data), np.dtype(np.float32))
    # What was found out about arrays is forgotten with them.
    del params, optimizer, p
    gc.collect()
    assert len(module._plans) == before


def test_the_first_step_with_momentum(gpu, rng):
    given = make(rng, [(5, 4), (3,)], [], np.dtype(np.float32))
    params, grads, states = placed(gpu, list(given))
    grads[0] = grads[0].T.copy().T
    options = {**SGD, "momentum": 0.9, "dampening": 0.5}
    sgd.update_group(params, grads, states, options)
    want, want_states = original(sgd, *given, options)
    for p, p0, s, s0 in zip(params, want, states, want_states, strict=True):
        assert s["momentum_buffer"].flags.c_contiguous
        assert_near(p, p0, np.dtype(np.float32))
        assert_near(s["momentum_buffer"], s0["momentum_buffer"], np.dtype(np.float32))
    # The rule makes it where a parameter is not contiguous.
    params[0] = params[0].T.copy().T
    assert kernel_of(sgd)(params, grads, [{}, {}], **options) is NotImplemented
    # Switched off, it stays as it is.
    before = [wide(s["momentum_buffer"]) for s in states]
    sgd.update_group(params, grads, states, SGD)
    for s, b in zip(states, before, strict=True):
        np.testing.assert_array_equal(wide(s["momentum_buffer"]), b)


def test_amsgrad_switched_on_between_steps(gpu, rng):
    given = make(rng, [(9,)], ["exp_avg", "exp_avg_sq"], np.dtype(np.float32))
    params, grads, states = placed(gpu, list(given))
    options = {**ADAM, "amsgrad": True}
    assert kernel_of(adam)(params, grads, states, **options) is NotImplemented
    for _ in range(2):
        adam.update_group(params, grads, states, options)
    want = [np.array(given[0][0], dtype=np.float64)]
    state = {k: np.array(v, dtype=np.float64) if k != "step" else v for k, v in given[2][0].items()}
    for _ in range(2):
        adam.update(want[0], given[1][0].astype(np.float64), state, **options)
    assert_near(params[0], want[0], np.dtype(np.float32))


@pytest.mark.parametrize(
    ("rule", "names", "options"), [RULES[4], RULES[8], RULES[10]], ids=["sgd", "adam", "lion"]
)
def test_what_is_not_finite(gpu, rng, rule, names, options):
    given = make(rng, [(40,)], names, np.dtype(np.float32))
    given[1][0][:4] = np.nan, np.inf, -np.inf, 0
    given[0][0][4:6] = np.nan, np.inf
    params, grads, states = placed(gpu, list(given))
    kernel_of(rule)(params, grads, states, **options)
    with np.errstate(all="ignore"):
        want, want_states = original(rule, *given, options)
    np.testing.assert_allclose(wide(params[0]), want[0], rtol=1e-5)
    for n in names:
        np.testing.assert_allclose(wide(states[0][n]), want_states[0][n], rtol=1e-5)


def test_more_than_two_to_the_31_elements(gpu):
    if gpu.name != "emulated":
        pytest.skip("ci/gpu has its own test of large arrays")
    size = 2**31 + 5003
    param, grad = (sparse_array(size, np.float16).view(EmulatedArray) for _ in range(2))
    plain = grad.view(np.ndarray)
    plain[-5000:] = 1
    with emulation(only_blocks=slice(-1, None)):
        kernel_of(sgd)([param], [grad], [{}], **SGD)
    part = module._PART // 2
    last = size - size // part * part
    assert last > 4000
    np.testing.assert_array_equal(param.view(np.ndarray)[-last:], -np.float16(0.1) * plain[-last:])
    assert not param.view(np.ndarray)[-last - 100 : -last].any()


def test_the_same_bits_whatever_the_order_of_threads(gpu, rng):
    if gpu.name != "emulated":
        pytest.skip("a GPU has its own order")
    rule, names, options = RULES[8]
    given = make(rng, [(33,), (2050,)], names, np.dtype(np.float32))
    results = []
    for order in ("ascending", "descending", "random"):
        params, grads, states = placed(gpu, list(copy.deepcopy(given)))
        with emulation(thread_order=order, block_order=order):
            kernel_of(rule)(params, grads, states, **options)
        results.append(
            [wide(x) for x in itertools.chain(params, *(s.values() for s in states)) if hasattr(x, "shape")]
        )
    for other in results[1:]:
        for x, x0 in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(x, x0)


@pytest.mark.slow
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
@pytest.mark.parametrize(
    ("rule", "names", "options"), [RULES[4], RULES[8], RULES[10]], ids=["sgd", "adam", "lion"]
)
def test_sanitizers_find_nothing(gpu, dtype, rng, sanitize, rule, names, options):
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    given = make(rng, SHAPES[:5], names, dtype)
    params, grads, states = placed(gpu, list(given))
    with emulation(sanitize=sanitize):
        kernel_of(rule)(params, grads, states, **options)
    for p, p0 in zip(params, original(rule, *given, options)[0], strict=True):
        assert_near(p, p0, dtype)
