"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, average_square_, decay_, downhill
from xnn.optim._limits import FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["NAdam", "nadam"]


@rule
def nadam(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool,
) -> None:
    """The formulas of `NAdam`, with the correction of v in the numbers as in `adam`."""
    xp = array_namespace(param)
    beta1, beta2 = betas
    t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
    if decoupled_weight_decay:
        decay_(param, lr, weight_decay)
        weight_decay = 0.0
    g = downhill(param, grad, weight_decay, maximize)
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    product = state["mu_product"] = state["mu_product"] * mu
    average_(m, g, beta1)
    average_square_(v, g, beta2)
    root_c2 = math.sqrt(1 - beta2**t)
    denominator = xp.sqrt(v)
    denominator += eps * root_c2
    step = (lr * root_c2 * mu_next / (1 - product * mu_next)) * m
    step += (lr * root_c2 * (1 - mu) / (1 - product)) * g
    step /= denominator
    param -= step


class NAdam(Optimizer):
    """NAdam. Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 8.

        g ← ±∇L(θ) + λ θ
        μₜ = β₁ (1 - ½ 0.96^(t ψ))
        m ← β₁ m + (1 - β₁) g       v ← β₂ v + (1 - β₂) g²       v̂ = v / (1 - β₂ᵗ)
        m̂ = μₜ₊₁ m / (1 - Π_{i ≤ t+1} μᵢ) + (1 - μₜ) g / (1 - Π_{i ≤ t} μᵢ)
        θ ← θ - η m̂ / (√v̂ + ε)

    Args:
        params: see `Optimizer`.
        lr: η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ of the penalty ½ λ ‖θ‖², or, with ``decoupled_weight_decay``, as in `AdamW`.
        momentum_decay: ψ.
        decoupled_weight_decay: let the weights decay apart from the gradient.
        maximize: climb instead.

    PyTorch keeps Π μᵢ in float32, here it is a Python float: the steps agree to that accuracy.
    """

    rule = nadam
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "betas": (FRACTION, FRACTION),
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "momentum_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t, Π μᵢ, m and v."""
        xp = array_namespace(param)
        return {
            "step": 0,
            "mu_product": 1.0,
            "exp_avg": xp.zeros_like(param),
            "exp_avg_sq": xp.zeros_like(param),
        }
