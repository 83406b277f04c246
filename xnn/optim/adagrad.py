"""Adagrad: steps divided by the root of the sum of all squared gradients."""

from __future__ import annotations

from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import downhill
from xnn.optim._limits import NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["Adagrad", "adagrad"]


@rule
def adagrad(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    lr_decay: float,
    weight_decay: float,
    initial_accumulator_value: float,
    eps: float,
    maximize: bool,
) -> None:
    """The formulas of `Adagrad`."""
    xp = array_namespace(param)
    t, s = state["step"], state["sum"]
    g = downhill(param, grad, weight_decay, maximize)
    s += g * g
    denominator = xp.sqrt(s)
    denominator += eps
    step = g / denominator
    step *= lr / (1 + (t - 1) * lr_decay)
    param -= step


class Adagrad(Optimizer):
    """Adagrad. Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning", JMLR 2011.

        g ← ±∇L(θ) + λ θ
        s ← s + g²
        θ ← θ - η / (1 + (t - 1) δ)  g / (√s + ε)

    Args:
        params: see `Optimizer`.
        lr: η.
        lr_decay: δ.
        weight_decay: λ of the penalty ½ λ ‖θ‖².
        initial_accumulator_value: s before the first step.
        eps: ε.
        maximize: climb instead.
    """

    rule = adagrad
    limits: ClassVar = dict.fromkeys(
        ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"), NON_NEGATIVE
    )

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """t and s."""
        xp = array_namespace(param)
        return {"step": 0, "sum": xp.full_like(param, group["initial_accumulator_value"])}
