"""OneCycleLR: the learning rate once up and once down, the momentum the other way."""

from __future__ import annotations

import math
from typing import Any

from xnn.optim.lr_scheduler.base import LRScheduler, check_count, per_group
from xnn.optim.optimizer import Optimizer

__all__ = ["OneCycleLR"]


class OneCycleLR(LRScheduler):
    """The 1cycle policy. Smith and Topin, "Super-convergence", 2018. Call `step` after every batch.

    From max_lr / div_factor up to max_lr in the first ``pct_start`` of the steps, then down to
    max_lr / (div_factor final_div_factor): at once, or with ``three_phase`` first back to where it began, as
    in the paper. The momentum (or β₁) goes from max_momentum to base_momentum and back.

    Between two values a and b, at the share p of a phase: b + ½ (a - b) (1 + cos(π p)), or a + (b - a) p.

    Args:
        optimizer: whose groups it changes.
        max_lr: the highest learning rate, one number or one per group.
        total_steps: the length of the cycle; or give ``epochs`` and ``steps_per_epoch``, whose product it is.
        epochs: see ``total_steps``.
        steps_per_epoch: see ``total_steps``.
        pct_start: the share of the steps that go up, in [0, 1].
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: whether the momentum changes too.
        base_momentum: the lowest momentum, one number or one per group.
        max_momentum: the highest momentum, one number or one per group.
        div_factor: highest over first learning rate.
        final_div_factor: first over last learning rate.
        three_phase: see above.
        last_epoch: see `LRScheduler`.

    Raises:
        ValueError: an option is out of its range, or a step is taken after the last one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._check_optimizer(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "OneCycleLR: expected total_steps, or epochs and steps_per_epoch, got "
                    f"total_steps={total_steps}, epochs={epochs}, steps_per_epoch={steps_per_epoch}"
                )
            check_count("OneCycleLR", "epochs", epochs)
            check_count("OneCycleLR", "steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        check_count("OneCycleLR", "total_steps", total_steps)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: expected pct_start in [0, 1], got {pct_start!r}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: expected anneal_strategy 'cos' or 'linear', got {anneal_strategy!r}"
            )
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.three_phase = three_phase
        self.use_beta1 = "betas" in optimizer.defaults
        if cycle_momentum and not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                "OneCycleLR: cycle_momentum=True: expected an optimizer with the option momentum or betas, got "
                f"{type(optimizer).__name__}"
            )
        highest = per_group("OneCycleLR: max_lr", optimizer, max_lr)
        base = per_group("OneCycleLR: base_momentum", optimizer, base_momentum)
        top = per_group("OneCycleLR: max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for i, group in enumerate(optimizer.param_groups):
                group["initial_lr"] = highest[i] / div_factor
                group["max_lr"] = highest[i]
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"] = top[i]
                    group["base_momentum"] = base[i]
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[tuple[float, str, str, str, str]]:
        """(last step, learning rate from, to, momentum from, to) of each phase."""
        up, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        rise = (up, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if not self.three_phase:
            return [rise, (last, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        return [
            rise,
            (
                2 * self.pct_start * self.total_steps - 2,
                "max_lr",
                "initial_lr",
                "base_momentum",
                "max_momentum",
            ),
            (last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
        ]

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
        return (end - start) * share + start

    def get_lr(self) -> list[float]:
        """See above; sets the momentum too."""
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: expected at most {self.total_steps} steps in all, got step {t}")
        start = 0.0
        phases = self._phases()
        for phase in phases:
            if t <= phase[0] or phase is phases[-1]:  # PyTorch allows one step beyond the last phase
                break
            start = phase[0]
        end, lr_from, lr_to, momentum_from, momentum_to = phase
        share = (t - start) / (end - start)
        values = []
        for group in self.optimizer.param_groups:
            values.append(self._between(group[lr_from], group[lr_to], share))
            if self.cycle_momentum:
                momentum: Any = self._between(group[momentum_from], group[momentum_to], share)
                if self.use_beta1:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return values
