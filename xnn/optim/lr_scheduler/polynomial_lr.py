"""PolynomialLR: a learning rate that goes to zero as a power of the steps left."""

from __future__ import annotations

from xnn.optim.lr_scheduler.base import LRScheduler, check_count
from xnn.optim.optimizer import Optimizer

__all__ = ["PolynomialLR"]


class PolynomialLR(LRScheduler):
    """η = η₀ (1 - min(t, T) / T)ᵖ.

    Args:
        optimizer: whose groups it changes.
        total_iters: T.
        power: p.
        last_epoch: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        check_count("PolynomialLR", "total_iters", total_iters)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times the quotient of the formula's values at t and t - 1."""
        if self._beginning or self.last_epoch > self.total_iters:
            return self._present()
        left = (1.0 - self.last_epoch / self.total_iters) / (1.0 - (self.last_epoch - 1) / self.total_iters)
        return [lr * left**self.power for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        left = 1.0 - min(self.total_iters, self.last_epoch) / self.total_iters
        return [lr * left**self.power for lr in self.base_lrs]
