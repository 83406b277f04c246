"""RAdam: Adam that waits until its estimate of the variance is worth something."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, average_square_, decay_, downhill
from xnn.optim._limits import FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["RAdam", "radam"]


@rule
def radam(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool,
) -> None:
    """The formulas of `RAdam`."""
    xp = array_namespace(param)
    beta1, beta2 = betas
    t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
    if decoupled_weight_decay:
        decay_(param, lr, weight_decay)
        weight_decay = 0.0
    g = downhill(param, grad, weight_decay, maximize)
    average_(m, g, beta1)
    average_square_(v, g, beta2)
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / c2
    if rho > 5:
        r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        denominator = xp.sqrt(v)
        denominator += eps
        step = m / denominator
        step *= lr * r * math.sqrt(c2) / c1
    else:
        step = (lr / c1) * m
    param -= step


class RAdam(Optimizer):
    """RAdam. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2.

        g ← ±∇L(θ) + λ θ
        m ← β₁ m + (1 - β₁) g       v ← β₂ v + (1 - β₂) g²       m̂ = m / (1 - β₁ᵗ)
        ρ∞ = 2 / (1 - β₂) - 1       ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        θ ← θ - η m̂ r √(1 - β₂ᵗ) / (√v + ε)  if ρ > 5, with r² = (ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ)
        θ ← θ - η m̂                          else: the first steps are not adapted

    ε is added before the bias of v is corrected and the limit is 5 (4 in the paper), both as in PyTorch.

    Args:
        params: see `Optimizer`.
        lr: η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ of the penalty ½ λ ‖θ‖², or, with ``decoupled_weight_decay``, as in `AdamW`.
        decoupled_weight_decay: let the weights decay apart from the gradient.
        maximize: climb instead.
    """

    rule = radam
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "betas": (FRACTION, FRACTION),
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
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
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t, m and v."""
        xp = array_namespace(param)
        return {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}
