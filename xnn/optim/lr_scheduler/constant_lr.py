"""ConstantLR: a smaller learning rate for the first steps."""

from __future__ import annotations

from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.optimizer import Optimizer

__all__ = ["ConstantLR"]


class ConstantLR(LRScheduler):
    """η = factor η₀ while t < total_iters, then η₀.

    Args:
        optimizer: whose groups it changes.
        factor: in (0, 1]. (PyTorch admits 0 and then divides by it.)
        total_iters: for how many steps.
        last_epoch: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f"ConstantLR: expected factor in (0, 1], got {factor!r}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times the factor at the beginning, divided by it at the end."""
        if self.last_epoch == 0:
            return [lr * self.factor for lr in self._present()]
        if self.last_epoch != self.total_iters:
            return self._present()
        return [lr * (1.0 / self.factor) for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        factor = 1.0 if self.last_epoch >= self.total_iters else self.factor
        return [lr * factor for lr in self.base_lrs]
