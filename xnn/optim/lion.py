"""Lion: steps of one size, in the direction of the signs."""

from __future__ import annotations

from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import average_, decay_, downhill
from xnn.optim._limits import FRACTION, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["Lion", "lion"]


@rule
def lion(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    maximize: bool,
) -> None:
    """The formulas of `Lion`."""
    xp = array_namespace(param)
    beta1, beta2 = betas
    m = state["exp_avg"]
    g = downhill(param, grad, 0.0, maximize)
    c = beta1 * m
    c += (1 - beta1) * g
    step = xp.sign(c)
    step *= lr
    decay_(param, lr, weight_decay)
    param -= step
    average_(m, g, beta2)


class Lion(Optimizer):
    """Lion. Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

        g = ±∇L(θ)
        c = β₁ m + (1 - β₁) g
        θ ← θ - η (sign(c) + λ θ)
        m ← β₂ m + (1 - β₂) g

    It remembers one array a parameter, half of what Adam does. Every step has the same size, so it wants a
    learning rate 3 to 10 times smaller than AdamW's and a weight decay larger by as much (section 5 of the
    paper).

    Args:
        params: see `Optimizer`.
        lr: η.
        betas: (β₁, β₂).
        weight_decay: λ, apart from the gradient as in `AdamW`.
        maximize: climb instead.

    PyTorch has no Lion; names and defaults are those of the authors' code.
    """

    rule = lion
    limits: ClassVar = {"lr": NON_NEGATIVE, "betas": (FRACTION, FRACTION), "weight_decay": NON_NEGATIVE}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

    def new_state(self, param: Array, group: dict[str, Any]) -> State:
        """m."""
        return {"exp_avg": array_namespace(param).zeros_like(param)}
