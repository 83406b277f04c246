"""CosineAnnealingLR: a learning rate that falls along half a cosine."""

from __future__ import annotations

import math

from xnn.optim.lr_scheduler.base import LRScheduler, check_count
from xnn.optim.optimizer import Optimizer

__all__ = ["CosineAnnealingLR"]


class CosineAnnealingLR(LRScheduler):
    """η = η_min + ½ (η₀ - η_min) (1 + cos(π t / T)). Loshchilov and Hutter, "SGDR", 2017, eq. 5, without restarts.

    After T steps it rises again, with period 2 T.

    Args:
        optimizer: whose groups it changes.
        T_max: T.
        eta_min: η_min.
        last_epoch: see `LRScheduler`.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        check_count("CosineAnnealingLR", "T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The part above η_min, times the quotient of (1 + cos) at t and t - 1."""
        if self._beginning:
            return self._present()
        t, period, low = self.last_epoch, self.T_max, self.eta_min
        if (t - 1 - period) % (2 * period) == 0:  # the quotient's denominator is 0 after the lowest point
            up = (1 - math.cos(math.pi / period)) / 2
            return [lr + (base - low) * up for lr, base in zip(self._present(), self.base_lrs, strict=True)]
        quotient = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [quotient * (lr - low) + low for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        height = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
