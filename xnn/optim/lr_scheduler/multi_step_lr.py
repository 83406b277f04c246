"""MultiStepLR: a smaller learning rate at given steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.optimizer import Optimizer

__all__ = ["MultiStepLR"]


class MultiStepLR(LRScheduler):
    """η = η₀ γᵏ, where k is the number of milestones up to t.

    Args:
        optimizer: whose groups it changes.
        milestones: the steps at which the learning rate changes; one that comes twice counts twice.
        gamma: γ.
        last_epoch: see `LRScheduler`.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times γ at the milestones."""
        times = self.milestones.count(self.last_epoch)
        return [lr * self.gamma**times for lr in self._present()] if times else self._present()

    def closed_form(self) -> list[float]:
        """See the formula above."""
        return [lr * self.gamma ** bisect_right(self.milestones, self.last_epoch) for lr in self.base_lrs]
