"""CosineAnnealingWarmRestarts: half cosines, one after another."""

from __future__ import annotations

import math

from xnn.optim.lr_scheduler.base import LRScheduler, check_count
from xnn.optim.optimizer import Optimizer

__all__ = ["CosineAnnealingWarmRestarts"]


class CosineAnnealingWarmRestarts(LRScheduler):
    """η = η_min + ½ (η₀ - η_min) (1 + cos(π T_cur / T_i)). Loshchilov and Hutter, "SGDR", 2017, eq. 5.

    T_cur counts the steps since the last restart, T_i is the length of the present run: T_0, T_0 T_mult, T_0
    T_mult², ...

    Args:
        optimizer: whose groups it changes.
        T_0: length of the first run.
        T_mult: how many times as long as the one before each run is.
        eta_min: η_min.
        last_epoch: see `LRScheduler`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_count("CosineAnnealingWarmRestarts", "T_0", T_0)
        check_count("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """See the formula above."""
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next learning rates, or to those of ``epoch``, which may have a fraction.

        Then it is called after each batch, as ``scheduler.step(epoch + batch / batches)``.
        """
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: expected epoch >= 0, got {epoch!r}")
        else:
            runs = self._runs_before(epoch)
            self.T_i = self.T_0 * self.T_mult**runs
            self.T_cur = epoch - self._start_of(runs)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _start_of(self, run: int) -> int:
        """T_0 (1 + T_mult + ... + T_mult^(run - 1))."""
        if self.T_mult == 1:
            return self.T_0 * run
        return self.T_0 * (self.T_mult**run - 1) // (self.T_mult - 1)

    def _runs_before(self, epoch: float) -> int:
        """How many whole runs lie before ``epoch``; counted, since a logarithm may be rounded to the wrong side."""
        if self.T_mult == 1:
            return int(epoch // self.T_0)
        runs = 0
        while self._start_of(runs + 1) <= epoch:
            runs += 1
        return runs
