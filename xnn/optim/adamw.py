"""AdamW: Adam with weight decay apart from the gradient."""

from __future__ import annotations

from typing import Any

from xnn.optim.adam import Adam

__all__ = ["AdamW"]


class AdamW(Adam):
    """AdamW. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.

        θ ← (1 - η λ) θ,  then a step of `Adam` whose gradient has no λ θ

    so that every weight decays at the same rate, whatever the size of its gradients. As in PyTorch λ is
    multiplied by η, which is the paper's "schedule multiplier" and learning rate in one.

    Args:
        params, lr, betas, eps, amsgrad, maximize: as for `Adam`.
        weight_decay: λ.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )
