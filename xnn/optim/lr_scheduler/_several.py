"""What schedules that are made of others share."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from xnn.optim.lr_scheduler.base import LRScheduler
from xnn.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from xnn.optim.optimizer import Optimizer


class Several(LRScheduler):
    """A schedule made of others for the same optimizer."""

    not_saved = LRScheduler.not_saved | {"_schedulers"}

    _schedulers: list[LRScheduler]

    def _take(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        for i, scheduler in enumerate(schedulers):
            where = f"{self._name}: schedule {i}"
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"{where}: expected a schedule, got {type(scheduler).__name__}")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    f"{where}: expected a schedule whose step() takes no argument, got ReduceLROnPlateau; "
                    "call that one by itself"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"{where}: expected the same optimizer for all, got another one")
        self.optimizer = optimizer
        self._schedulers = list(schedulers)

    def state_dict(self) -> dict[str, Any]:
        """The state of this schedule and, under ``"_schedulers"``, of those that it is made of."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """See `LRScheduler.load_state_dict`."""
        self._check_state(state_dict, set(self.state_dict()))
        rest = copy.deepcopy(dict(state_dict))
        states = rest.pop("_schedulers")
        if len(states) != len(self._schedulers):
            raise ValueError(
                f"{self._name} state: expected {len(self._schedulers)} schedules, got {len(states)}"
            )
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler._check_state(state, set(scheduler.state_dict()))
        for scheduler, state in zip(self._schedulers, states, strict=True):
            scheduler.load_state_dict(state)
        vars(self).update(rest)
