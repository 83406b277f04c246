"""Adam: steps scaled by running means of the gradient and its square."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, average_square_, decay_, downhill
from xnn.optim._limits import FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["Adam", "adam"]


@rule
def adam(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    maximize: bool,
    decoupled_weight_decay: bool,
) -> None:
    """The formulas of `Adam`, with the corrections of both biases in the numbers: fewer passes over the arrays.

    η m̂ / (√v̂ + ε) = (η √c₂ / c₁) m / (√v + ε √c₂)  where c₁ = 1 - β₁ᵗ, c₂ = 1 - β₂ᵗ.
    """
    xp = array_namespace(param)
    beta1, beta2 = betas
    t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
    if decoupled_weight_decay:
        decay_(param, lr, weight_decay)
        weight_decay = 0.0
    g = downhill(param, grad, weight_decay, maximize)
    average_(m, g, beta1)
    average_square_(v, g, beta2)
    if amsgrad:
        largest = state.get("max_exp_avg_sq", v)  # v alone if the option was switched on after the first step
        v = state["max_exp_avg_sq"] = xp.maximum(largest, v)
    root_c2 = math.sqrt(1 - beta2**t)
    denominator = xp.sqrt(v)
    denominator += eps * root_c2
    step = m / denominator
    step *= lr * root_c2 / (1 - beta1**t)
    param -= step


class Adam(Optimizer):
    """Adam. Kingma and Ba, "Adam: A method for stochastic optimization", 2015, algorithm 1.

        g ← ±∇L(θ) + λ θ
        m ← β₁ m + (1 - β₁) g       v ← β₂ v + (1 - β₂) g²
        m̂ = m / (1 - β₁ᵗ)           v̂ = v / (1 - β₂ᵗ)
        θ ← θ - η m̂ / (√v̂ + ε)

    Args:
        params: see `Optimizer`.
        lr: η.
        betas: (β₁, β₂).
        eps: ε, outside of the root. In float16 the default is rounded to 0: take 1e-4 or more there.
        weight_decay: λ of the penalty ½ λ ‖θ‖². `AdamW` has the form that is usually better.
        amsgrad: divide by the largest v so far (Reddi et al., "On the convergence of Adam and beyond", 2018;
            as in PyTorch the bias is corrected after the maximum). May be switched on between steps.
        maximize: climb instead.
        decoupled_weight_decay: as `AdamW`.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.Adam(model.parameters(), lr=1e-3)
    """

    rule = adam
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "betas": (FRACTION, FRACTION),
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
    }

    optional_state: ClassVar = frozenset({"max_exp_avg_sq"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t, m and v, and the largest v with ``amsgrad``."""
        xp = array_namespace(param)
        state: State = {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = xp.zeros_like(param)
        return state
