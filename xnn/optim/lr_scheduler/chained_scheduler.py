"""ChainedScheduler: several schedules at once."""

from __future__ import annotations

from collections.abc import Sequence

from xnn.optim.lr_scheduler._several import Several
from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.optimizer import Optimizer

__all__ = ["ChainedScheduler"]


class ChainedScheduler(Several):
    """At each step all schedules act one after another: their factors multiply.

    Args:
        schedulers: at least one.
        optimizer: the one that all schedules have; that of the first by default.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if not schedulers:
            raise ValueError("ChainedScheduler: expected at least one schedule, got none")
        self._take(schedulers[0].optimizer if optimizer is None else optimizer, schedulers)
        self._last_lr = self._present()

    def step(self) -> None:
        """Step all schedules, in their order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._present()

    def _begin(self) -> None:
        for scheduler in self._schedulers:
            scheduler._begin()
        self._last_lr = self._present()

    def _restart(self) -> None:
        for scheduler in self._schedulers:
            scheduler._restart()
        self._last_lr = self._present()
