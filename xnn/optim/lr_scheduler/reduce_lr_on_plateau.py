"""ReduceLROnPlateau: a smaller learning rate when a number no longer improves."""

from __future__ import annotations

from typing import Any, SupportsFloat

from xnn.optim.lr_scheduler.base import LRScheduler, per_group
from xnn.optim.optimizer import Optimizer

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(LRScheduler):
    """η ← max(factor η, min_lr) after ``patience`` steps without an improvement and one more.

    Args:
        optimizer: whose groups it changes.
        mode: ``"min"`` if smaller is better (a loss), ``"max"`` if larger is (an accuracy).
        factor: less than 1.
        patience: how many steps without an improvement to bear.
        threshold: how much better than the best so far counts as an improvement.
        threshold_mode: ``"rel"`` for a share of the best, ``"abs"`` for a difference.
        cooldown: how many steps after a reduction do not count.
        min_lr: one number or one per group.
        eps: a smaller change is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        self._check_optimizer(optimizer)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: expected factor in [0, 1), got {factor!r}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: expected mode 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: expected threshold_mode 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = per_group("ReduceLROnPlateau: min_lr", optimizer, min_lr)
        self.eps = eps
        self.best: float | None = None
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = self._present()

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Take note of the number that is watched. An array on a GPU is read, which waits for the device."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._present()

    def _is_better(self, current: float) -> bool:
        if self.best is None:
            return current < float("inf") if self.mode == "min" else current > -float("inf")
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            limit = self.best * (1.0 + sign * self.threshold)
        else:
            limit = self.best + sign * self.threshold
        return current > limit if self.mode == "max" else current < limit

    def _reduce(self) -> None:
        lows: list[Any] = self.min_lrs
        lrs = self._present()
        new = [max(lr * self.factor, low) for lr, low in zip(lrs, lows, strict=True)]
        self._set([b if a - b > self.eps else a for a, b in zip(lrs, new, strict=True)])
