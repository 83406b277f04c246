"""LinearLR: a learning rate on a straight line, as for a linear warm-up."""

from __future__ import annotations

from xnn.optim.lr_scheduler.base import LRScheduler, check_count
from xnn.optim.optimizer import Optimizer

__all__ = ["LinearLR"]


class LinearLR(LRScheduler):
    """η = η₀ (s + (e - s) min(t, T) / T).

    Args:
        optimizer: whose groups it changes.
        start_factor: s, in (0, 1].
        end_factor: e, in [0, 1].
        total_iters: T.
        last_epoch: see `LRScheduler`.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.SGD(model.parameters(), lr=0.1)
    >>> warmup = xnn.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=4)
    >>> for _ in range(4):
    ...     warmup.step()
    ...     print(f"{warmup.get_last_lr()[0]:.4f}")
    0.0625
    0.0750
    0.0875
    0.1000
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: expected start_factor in (0, 1], got {start_factor!r}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: expected end_factor in [0, 1], got {end_factor!r}")
        check_count("LinearLR", "total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Times the quotient of the line's values at t and t - 1."""
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._present()]
        if self._beginning or self.last_epoch > self.total_iters:
            return self._present()
        slope = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * slope
        return [lr * (1.0 + slope / before) for lr in self._present()]

    def closed_form(self) -> list[float]:
        """See the formula above."""
        done = min(self.total_iters, self.last_epoch) / self.total_iters
        return [
            lr * (self.start_factor + (self.end_factor - self.start_factor) * done) for lr in self.base_lrs
        ]
