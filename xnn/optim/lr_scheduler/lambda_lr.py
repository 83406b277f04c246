"""LambdaLR: a learning rate from a function of the step."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping
from typing import Any

from xnn.optim.lr_scheduler.base import LRScheduler, per_group
from xnn.optim.optimizer import Optimizer

__all__ = ["LambdaLR"]


class LambdaLR(LRScheduler):
    """η = η₀ f(t).

    Args:
        optimizer: whose groups it changes.
        lr_lambda: f, or a list with one per group.
        last_epoch: see `LRScheduler`.

    Functions are not part of the state; of callable objects their attributes are, as in PyTorch.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.SGD(model.parameters(), lr=0.1)
    >>> scheduler = xnn.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.05]
    """

    not_saved = LRScheduler.not_saved | {"lr_lambdas"}

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self._check_optimizer(optimizer)
        self.lr_lambdas = per_group("LambdaLR: lr_lambda", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """See the formula above."""
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self.base_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """See `LRScheduler.state_dict`; the functions are left out."""
        attributes = [
            None
            if isinstance(f, types.FunctionType)
            else copy.deepcopy(vars(f))
            if hasattr(f, "__dict__")
            else None
            for f in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": attributes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """See `LRScheduler.load_state_dict`; the functions stay as they are."""
        self._check_state(state_dict, set(self.state_dict()))
        rest = copy.deepcopy(dict(state_dict))
        for f, attributes in zip(self.lr_lambdas, rest.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                vars(f).update(attributes)
        vars(self).update(rest)
