"""RMSprop: steps divided by the root of a running mean of the squared gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, average_square_, downhill
from xnn.optim._limits import CLOSED_FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["RMSprop", "rmsprop"]


@rule
def rmsprop(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
    maximize: bool,
) -> None:
    """The formulas of `RMSprop`."""
    xp = array_namespace(param)
    v = state["square_avg"]
    g = downhill(param, grad, weight_decay, maximize)
    average_square_(v, g, alpha)
    if centered:
        mean = _buffer(state, "grad_avg", param)
        average_(mean, g, alpha)
        variance = mean * mean
        variance *= -1.0
        variance += v
        denominator = xp.sqrt(variance)
    else:
        denominator = xp.sqrt(v)
    denominator += eps
    step = g / denominator
    if momentum:
        b = _buffer(state, "momentum_buffer", param)
        b *= momentum
        b += step
        param -= lr * b
    else:
        step *= lr
        param -= step


def _buffer(state: State, name: str, param: Array) -> Array:
    """An entry of the state; it starts at 0 where its option was switched on after the first step."""
    if name not in state:
        state[name] = array_namespace(param).zeros_like(param)
    return state[name]


class RMSprop(Optimizer):
    """RMSprop. Tieleman and Hinton, Coursera lecture 6.5, 2012; centered by Graves 2013, eq. 38-45.

        g ← ±∇L(θ) + λ θ
        v ← α v + (1 - α) g²
        d = √v + ε,  or with ``centered``  ḡ ← α ḡ + (1 - α) g,  d = √(v - ḡ²) + ε
        θ ← θ - η g / d,  or with momentum  b ← μ b + g / d,  θ ← θ - η b

    Args:
        params: see `Optimizer`.
        lr: η.
        alpha: α.
        eps: ε, outside of the root (TensorFlow has it inside).
        weight_decay: λ of the penalty ½ λ ‖θ‖².
        momentum: μ.
        centered: divide by an estimate of the standard deviation of the gradient.
        maximize: climb instead.

    ``momentum`` and ``centered`` may be switched on and off between steps.
    """

    rule = rmsprop
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "alpha": CLOSED_FRACTION,
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
    }

    optional_state: ClassVar = frozenset({"momentum_buffer", "grad_avg"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t (unused, as in PyTorch), v, and b and ḡ where they are needed."""
        xp = array_namespace(param)
        state: State = {"step": 0, "square_avg": xp.zeros_like(param)}
        if group["momentum"]:
            state["momentum_buffer"] = xp.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = xp.zeros_like(param)
        return state
