"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from xnn.backends.namespaces import Array, array_namespace
from xnn.optim._arithmetic import downhill
from xnn.optim._limits import ANY, NON_NEGATIVE
from xnn.optim.optimizer import Optimizer
from xnn.optim.rule import State, rule

__all__ = ["SGD", "sgd"]


@rule
def sgd(
    param: Array,
    grad: Array,
    state: State,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """The formulas of `SGD`."""
    g = downhill(param, grad, weight_decay, maximize)
    if not momentum:
        param -= lr * g
        return
    b = state.get("momentum_buffer")
    if b is None:
        b = state["momentum_buffer"] = array_namespace(g).asarray(g, copy=True)
    else:
        b *= momentum
        b += (1 - dampening) * g if dampening else g
    if nesterov:
        step = momentum * b
        step += g
        step *= lr
    else:
        step = lr * b
    param -= step


class SGD(Optimizer):
    """θ ← θ - η g, with g the gradient or, with momentum μ, a running sum b of gradients.

        g ← ±∇L(θ) + λ θ
        b ← g in the first step, then  b ← μ b + (1 - τ) g
        θ ← θ - η b,  or with ``nesterov``  θ ← θ - η (g + μ b)

    The learning rate is outside of b, as in PyTorch and unlike Sutskever et al. ("On the importance of
    initialization and momentum in deep learning", 2013), so a change of η acts at once on the whole of the
    momentum.

    Args:
        params: see `Optimizer`.
        lr: η, the learning rate.
        momentum: μ.
        dampening: τ.
        weight_decay: λ, the factor of the penalty ½ λ ‖θ‖².
        nesterov: look ahead along the momentum; needs a momentum and no dampening.
        maximize: climb instead (the sign + above is then -).

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    """

    rule = sgd
    limits: ClassVar = {
        "lr": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "dampening": ANY,
        "weight_decay": NON_NEGATIVE,
    }
    optional_state: ClassVar = frozenset({"momentum_buffer"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check_group(self, group: dict[str, Any]) -> None:
        """Nesterov's momentum needs a momentum and no dampening."""
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"{self._name}: nesterov=True: expected momentum > 0 and dampening 0, "
                f"got momentum {group['momentum']} and dampening {group['dampening']}"
            )
