"""One launch for a step of all parameters: SGD, Adam and AdamW, Lion. Strategy and formulas: optimizer_step.cu."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from xnn.backends.cupy.launch import KernelFile
from xnn.backends.cupy.source import ACCUMULATORS
from xnn.backends.cupy.tables import Layout, Lists, RememberedByArrays
from xnn.backends.namespaces import Array, array_namespace, dtype_name
from xnn.backends.registry import Case, Work, kernel, sample

from xnn.optim.adam import adam
from xnn.optim.lion import lion
from xnn.optim.rule import Rule, State
from xnn.optim.sgd import sgd

kernels = KernelFile("optimizer_step")

_PART = 16 * 1024  # bytes of each array that a block works on: four vectors a thread
_SMALLEST_PART = 4 * 1024  # and one vector a thread, where there are too few parts to keep a GPU busy
_ENOUGH_BLOCKS = 1024


class _Launch(NamedTuple):
    name: str  # of the kernel
    members: list[int]
    layout: Layout


class _Plan(NamedTuple):
    """Which kernel takes which parameters, and what is left to the rule itself."""

    launches: list[_Launch]
    rest: list[int]


_plans: RememberedByArrays[_Plan] = RememberedByArrays()


def _step(
    rule: Rule,
    params: Sequence[Array],
    grads: Sequence[Array],
    states: Sequence[State],
    state_lists: Lists,
    options: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> None:
    present = [arrays for arrays in state_lists.values() if arrays is not None]
    contiguous = [x if x.flags.c_contiguous else array_namespace(x).ascontiguousarray(x) for x in grads]
    lists: Lists = {"params": params, "grads": contiguous, **state_lists}
    plan = _plans.get(
        (rule.name, *(arrays is None for arrays in state_lists.values())),
        [x for arrays in (params, *present) for x in arrays],
        lambda: _planned(rule.name, params, lists, present),
    )
    for name, members, layout in plan.launches:
        chosen = lists if len(members) == len(params) else _chosen(lists, members)
        layout.set("grads", chosen["grads"])
        launch = kernels[name]
        for table in layout.tables(chosen):
            launch((table.blocks,), (kernels.constants["THREADS"],), table=table, **numbers)
    for i in plan.rest:
        rule(params[i], grads[i], states[i], **options)


def _planned(name: str, params: Sequence[Array], lists: Lists, states: Sequence[Sequence[Array]]) -> _Plan:
    members: dict[str, list[int]] = {name: [], f"{name}_wide": []}
    rest: list[int] = []
    for i, param in enumerate(params):
        chosen = _kernel_for(name, param, [xs[i] for xs in states])
        (rest if chosen is None else members[chosen]).append(i)
    launches = []
    for chosen, those in members.items():
        if those:
            layout = Layout(kernels[chosen], _chosen(lists, those), _part([params[i] for i in those]))
            launches.append(_Launch(chosen, those, layout))
    return _Plan(launches, rest)


def _chosen(lists: Lists, members: Sequence[int]) -> Lists:
    return {name: None if xs is None else [xs[i] for i in members] for name, xs in lists.items()}


def _kernel_for(name: str, param: Array, states: Sequence[Array]) -> str | None:
    if not all(x.flags.c_contiguous and x.shape == param.shape for x in (param, *states)):
        return None
    dtypes = {x.dtype for x in states}
    if dtypes <= {param.dtype}:
        return name
    wide = ACCUMULATORS[dtype_name(param.dtype)]
    return f"{name}_wide" if [dtype_name(d) for d in dtypes] == [wide] else None


def _part(params: Sequence[Array]) -> int:
    itemsize = params[0].dtype.itemsize
    enough = sum(x.size for x in params) * itemsize >= _ENOUGH_BLOCKS * _PART
    return (_PART if enough else _SMALLEST_PART) // itemsize


# --- the rules -------------------------------------------------------------------------------------------------------


def _cases(
    names: Sequence[str], bytes_of: int, operations: int, options: dict[str, Any], **state: Any
) -> tuple[Case, ...]:
    """Parameters of a perceptron for digits, of ResNet-50's sizes, and past the cache.

    Args:
        names: of the arrays in the state.
        bytes_of: how many arrays are read or written.
        operations: for each element.
        options: of the rule.
        **state: the rest of the state.
    """

    def case(label: str, shapes: Sequence[tuple[int, ...]]) -> Case:
        def make(device: Any, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
            params, grads = ([sample(device, dtype, s) for s in shapes] for _ in range(2))
            states = [{**state, **{n: device.xp.zeros_like(p) for n in names}} for p in params]
            return (params, grads, states), options

        n = sum(map(math.prod, shapes))
        return Case(label, make, lambda itemsize: Work(bytes_of * n * itemsize, operations * n))

    perceptron = [(512, 784), (512,), (512, 512), (512,), (10, 512), (10,)]
    convolutions = [
        (2 ** (6 + i // 12), 2 ** (6 + i // 12), 3, 3) if i % 3 else (2 ** (6 + i // 12),) for i in range(48)
    ]
    return (
        case("6 arrays, 0.7 M", perceptron),
        case("48 arrays, 25 M", convolutions),
        case("16 arrays, 268 M", [(4096, 4096)] * 16),
    )


_BETAS: dict[str, Any] = {"betas": (0.9, 0.999), "weight_decay": 0.01, "maximize": False}
_ADAM = {**_BETAS, "lr": 1e-4, "eps": 1e-8, "amsgrad": False, "decoupled_weight_decay": True}
_SGD: dict[str, Any] = {
    "momentum": 0.9,
    "dampening": 0.0,
    "weight_decay": 1e-4,
    "nesterov": True,
    "maximize": False,
}


@kernel(sgd, cases=_cases(["momentum_buffer"], 5, 8, {"lr": 1e-3, **_SGD}))
def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    states: Sequence[State],
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """See `xnn.optim.SGD`. The momentum is made here: the rule would give it the layout of the first gradient."""
    buffers = None
    first = bool(momentum) and states[0].get("momentum_buffer") is None
    if first:
        if not all(p.flags.c_contiguous for p in params):
            return NotImplemented
        for param, state in zip(params, states, strict=True):
            state["momentum_buffer"] = array_namespace(param).empty_like(param)
    if momentum:
        buffers = [state["momentum_buffer"] for state in states]
    options = {
        "lr": lr,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    numbers = {
        "lr": lr,
        "momentum": momentum,
        "gain": 1 - dampening,
        "weight_decay": weight_decay,
        "first": first,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    _step(sgd, params, grads, states, {"momentum_buffer": buffers}, options, numbers)
    return None


@kernel(adam, cases=_cases(["exp_avg", "exp_avg_sq"], 7, 14, _ADAM, step=10))
def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    states: Sequence[State],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    """See `xnn.optim.Adam` and `xnn.optim.AdamW`."""
    if amsgrad and "max_exp_avg_sq" not in states[0]:
        return NotImplemented  # switched on just now: the rule makes it
    beta1, beta2 = betas
    t = states[0]["step"]
    root_c2 = math.sqrt(1 - beta2**t)
    options = {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": weight_decay,
        "amsgrad": amsgrad,
        "maximize": maximize,
        "decoupled_weight_decay": decoupled_weight_decay,
    }
    numbers = {
        "rate": lr * root_c2 / (1 - beta1**t),
        "eps": eps * root_c2,
        "maximize": maximize,
        "beta1": beta1,
        "rest1": 1 - beta1,
        "beta2": beta2,
        "rest2": 1 - beta2,
        "weight_decay": 0.0 if decoupled_weight_decay else weight_decay,
        "decay": 1 - lr * weight_decay if decoupled_weight_decay else 1.0,
    }
    state_lists = {
        "exp_avg": [state["exp_avg"] for state in states],
        "exp_avg_sq": [state["exp_avg_sq"] for state in states],
        "max_exp_avg_sq": [state["max_exp_avg_sq"] for state in states] if amsgrad else None,
    }
    _step(adam, params, grads, states, state_lists, options, numbers)
    return None


@kernel(lion, cases=_cases(["exp_avg"], 5, 10, {"lr": 1e-4, **_BETAS}))
def lion_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    states: Sequence[State],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    maximize: bool,
) -> None:
    """See `xnn.optim.Lion`."""
    beta1, beta2 = betas
    options = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
    numbers = {
        "beta1": beta1,
        "rest1": 1 - beta1,
        "beta2": beta2,
        "rest2": 1 - beta2,
        "lr": lr,
        "decay": 1 - lr * weight_decay,
        "maximize": maximize,
    }
    _step(lion, params, grads, states, {"exp_avg": [state["exp_avg"] for state in states]}, options, numbers)
