"""ExponentialLR: a learning rate that shrinks by the same factor at each step."""

from __future__ import annotations

from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.optimizer import Optimizer

__all__ = ["ExponentialLR"]


class ExponentialLR(LRScheduler):
    """η = η₀ γᵗ.

    Args:
        optimizer: whose groups it changes.
        gamma: γ.
        last_epoch: see `LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times γ."""
        return self._present() if self._beginning else [lr * self.gamma for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        return [lr * self.gamma**self.last_epoch for lr in self.base_lrs]
