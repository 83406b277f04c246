"""SequentialLR: one schedule after another."""

from __future__ import annotations

from bisect import bisect_right

from xnn.optim.lr_scheduler._several import Several
from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.optimizer import Optimizer

__all__ = ["SequentialLR"]


class SequentialLR(Several):
    """The first schedule until the first milestone, then the second from its beginning, and so on.

    Args:
        optimizer: the one that all schedules have.
        schedulers: at least one.
        milestones: the steps at which the next takes over, increasing; one less than there are schedules.
        last_epoch: see `LRScheduler`.

    >>> model = xnn.nn.Linear(3, 2)
    >>> optimizer = xnn.optim.SGD(model.parameters(), lr=0.1)
    >>> warmup = xnn.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=10)
    >>> cosine = xnn.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    >>> scheduler = xnn.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[10])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        self._check_optimizer(optimizer)
        if not schedulers:
            raise ValueError("SequentialLR: expected at least one schedule, got none")
        self._take(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ValueError(
                f"SequentialLR: expected {len(schedulers) - 1} increasing milestones for {len(schedulers)} schedules, "
                f"got {milestones!r}"
            )
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Each schedule set its own first rates when it was made: take that back, then let the first one begin.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in self._schedulers:
            _take_back(scheduler)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def step(self) -> None:
        """Step the schedule whose turn it is."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _take_back(scheduler: LRScheduler) -> None:
    if isinstance(scheduler, Several):
        for inner in scheduler._schedulers:
            _take_back(inner)
    else:
        scheduler.last_epoch -= 1
