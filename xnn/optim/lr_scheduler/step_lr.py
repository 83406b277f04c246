"""StepLR: a smaller learning rate every so many steps."""

from __future__ import annotations

from xnn.optim.lr_scheduler.base import LRScheduler, check_count
from xnn.optim.optimizer import Optimizer

__all__ = ["StepLR"]


class StepLR(LRScheduler):
    """η = η₀ γ^⌊t / step_size⌋.

    Args:
        optimizer: whose groups it changes.
        step_size: how many steps until the next factor.
        gamma: γ.
        last_epoch: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_count(self._name, "step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times γ at multiples of step_size."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._present()
        return [lr * self.gamma for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        return [lr * self.gamma ** (self.last_epoch // self.step_size) for lr in self.base_lrs]
