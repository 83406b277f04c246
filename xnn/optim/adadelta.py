"""Adadelta: steps in the unit of the parameter, from a running mean of earlier steps."""

from __future__ import annotations

from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_square_, downhill
from xnn.optim._limits import CLOSED_FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["Adadelta", "adadelta"]


@rule
def adadelta(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """The formulas of `Adadelta`."""
    xp = array_namespace(param)
    v, u = state["square_avg"], state["acc_delta"]
    g = downhill(param, grad, weight_decay, maximize)
    average_square_(v, g, rho)
    step = xp.sqrt(u + eps)
    step /= xp.sqrt(v + eps)
    step *= g
    average_square_(u, step, rho)
    step *= lr
    param -= step


class Adadelta(Optimizer):
    """Adadelta. Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1.

        g ← ±∇L(θ) + λ θ
        v ← ρ v + (1 - ρ) g²
        Δ = √(u + ε) / √(v + ε)  g
        u ← ρ u + (1 - ρ) Δ²
        θ ← θ - η Δ

    Args:
        params: see `Optimizer`.
        lr: η, 1 in the paper.
        rho: ρ.
        eps: ε, inside of the roots; it decides how large the first steps are.
        weight_decay: λ of the penalty ½ λ ‖θ‖².
        maximize: climb instead.
    """

    rule = adadelta
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "rho": CLOSED_FRACTION,
        "eps": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t (unused, as in PyTorch), v and u."""
        xp = array_namespace(param)
        return {"step": 0, "square_avg": xp.zeros_like(param), "acc_delta": xp.zeros_like(param)}
