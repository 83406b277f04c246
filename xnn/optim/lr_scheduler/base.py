"""LRScheduler: what all schedules of the learning rate are made of."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from xnn.optim.optimizer import Optimizer

__all__ = ["LRScheduler"]


class LRScheduler:
    """Sets the learning rate of each group of an optimizer, once when it is made and at each `step`.

    Args:
        optimizer: whose groups it changes. The learning rates that it finds become their ``"initial_lr"``.
        last_epoch: the number of the last step done, to go on from there; -1 to begin.

    Attributes:
        base_lrs: the initial learning rates, η₀ in the formulas, one per group.
        last_epoch: the number t of steps done, 0 after construction.

    Most schedules multiply the learning rate that they find by a factor, so that several can act on one
    optimizer (`ChainedScheduler`) and a rate changed by hand stays changed; their docstrings give the closed
    form. A subclass has `get_lr`, and `closed_form` where there is one.

    Call ``scheduler.step()`` after ``optimizer.step()``. To resume, make the optimizer and the schedule as
    before, then load the states of both.
    """

    # Attributes that are no state.
    not_saved: ClassVar[frozenset[str]] = frozenset({"optimizer", "_beginning"})

    optimizer: Optimizer
    _last_lr: list[float]
    _beginning = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{self._name}: last_epoch={last_epoch}: expected 'initial_lr' in group {i} of the optimizer, got "
                    f"{sorted(group)}; load the state of the optimizer before, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._begin()

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_optimizer(self, optimizer: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: expected an Optimizer, got {type(optimizer).__name__}")

    def _begin(self) -> None:
        """The step that the constructor takes."""
        self._beginning = True
        try:
            self.step()
        finally:
            self._beginning = False

    # --- the schedule ---

    def get_lr(self) -> list[float]:
        """The next learning rate of each group, from the present ones and ``last_epoch``, which is counted already."""
        raise NotImplementedError(f"{self._name} defines no get_lr")

    def closed_form(self) -> list[float] | None:
        """The learning rates at ``last_epoch`` from `base_lrs` alone, or None if `get_lr` gives them already."""
        return None

    def step(self) -> None:
        """Go to the next learning rates."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def _restart(self) -> None:
        """Go to the beginning (`SequentialLR` at a milestone)."""
        self.last_epoch = 0
        values = self.closed_form()
        self._set(self.get_lr() if values is None else values)

    def _present(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self, values: list[float]) -> None:
        groups = self.optimizer.param_groups
        if len(values) != len(groups):
            raise RuntimeError(
                f"{self._name}: expected as many groups in the optimizer as at construction, {len(values)}, "
                f"got {len(groups)}"
            )
        for group, lr in zip(groups, values, strict=True):
            group["lr"] = lr
        self._last_lr = values

    def get_last_lr(self) -> list[float]:
        """The learning rates that were set last, one per group."""
        return list(self._last_lr)

    # --- saving and loading ---

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer: numbers, strings and lists, fit for JSON."""
        return {k: copy.deepcopy(v) for k, v in vars(self).items() if k not in self.not_saved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where another schedule of the same kind stood. The optimizer's state is loaded apart from it."""
        self._check_state(state_dict, set(self.state_dict()))
        vars(self).update(copy.deepcopy(dict(state_dict)))

    def _check_state(self, state_dict: Mapping[str, Any], want: set[str]) -> None:
        if set(state_dict) != want:
            raise ValueError(
                f"{self._name} state: expected the entries {sorted(want)}, got {sorted(state_dict)}"
            )
        rates = state_dict.get("_last_lr")
        if rates is not None and len(rates) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{self._name} state: expected {len(self.optimizer.param_groups)} learning rates, one per group of the "
                f"optimizer, got {len(rates)}"
            )


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """``value`` as a list with an entry per group."""
    if not isinstance(value, (list, tuple)):
        return [value] * len(optimizer.param_groups)
    if len(value) != len(optimizer.param_groups):
        raise ValueError(
            f"{name}: expected {len(optimizer.param_groups)} values, one per group, got {len(value)}"
        )
    return list(value)


def check_count(owner: str, name: str, value: Any, least: int = 1) -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{owner}: expected {name} to be an integer >= {least}, got {value!r}")
