"""What may happen around training: callbacks of the Trainer."""

from __future__ import annotations

import csv
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnn.training.checkpoint import save_checkpoint, write_atomically

if TYPE_CHECKING:
    from xnn.training.trainer import Trainer

__all__ = ["Callback", "Checkpoints", "HistoryFile", "Interruptible", "ProgressBar"]


class Callback:
    """Called by the Trainer at certain moments; does nothing unless a method is overridden."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step of `Trainer.fit`."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Before the first step of an epoch, or of the rest of one that was interrupted."""

    def on_step_end(self, trainer: Trainer) -> None:
        """After each step."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """After validation; ``trainer.history[-1]`` is the row of this epoch."""

    def on_train_end(self, trainer: Trainer) -> None:
        """When `Trainer.fit` returns or raises."""


class ProgressBar(Callback):
    """A bar per epoch with loss, metrics and samples per second, and a line that stays with those of validation.

    The numbers are read from the device a few times a second, not at every step.

    Args:
        file: where to write; standard error by default.
        interval: seconds between two refreshes.
    """

    def __init__(self, file: Any = None, interval: float = 0.2) -> None:
        self.file = sys.stderr if file is None else file
        self.interval = interval
        self._bar: Any = None

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Open the bar."""
        from tqdm import tqdm

        loader = trainer.loader
        assert loader is not None
        self._samples = trainer.totals.get("samples", 0)
        self._shown = self._begun = time.perf_counter()
        self._bar = tqdm(
            total=len(loader),
            initial=int(loader.state_dict()["batch"]),
            desc=f"epoch {trainer.epoch + 1}/{trainer.epochs}",
            unit="batch",
            file=self.file,
            leave=False,
            dynamic_ncols=True,
            mininterval=self.interval,
            disable=None if self.file is sys.stderr else False,
        )

    def on_step_end(self, trainer: Trainer) -> None:
        """Move the bar."""
        now = time.perf_counter()
        self._bar.update()
        if now - self._shown >= self.interval and not self._bar.disable:
            self._shown = now
            rate = (trainer.totals["samples"] - self._samples) / (now - self._begun)
            memory = trainer.device.memory()
            self._bar.set_postfix_str(
                ", ".join(
                    [_figures(trainer.running()), f"{rate:,.0f} samples/s"]
                    + ([f"{memory.used / 2**30:.1f} GiB"] if memory else [])
                )
            )

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Close the bar and leave a line."""
        self._bar.close()
        row = trainer.history[-1]
        width = len(str(trainer.epochs))
        skip = {"epoch", "step", "lr", "seconds", "samples_per_second"}
        train = {name: v for name, v in row.items() if name not in skip and not name.startswith("val_")}
        held_out = {name[4:]: v for name, v in row.items() if name.startswith("val_")}
        line = f"epoch {row['epoch']:{width}d}/{trainer.epochs}  train {_figures(train)}"
        if held_out:
            line += f"  validation {_figures(held_out)}"
        print(f"{line}  {row['samples_per_second']:,.0f} samples/s", file=self.file)

    def on_train_end(self, trainer: Trainer) -> None:
        """Close the bar if training was interrupted."""
        if self._bar is not None:
            self._bar.close()


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {100 * value:.2f} %" if "accuracy" in name else f"{name} {value:.4f}"
        for name, value in values.items()
    )


class HistoryFile(Callback):
    """Writes the history as CSV after each epoch: one row per epoch, one column per number."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write all rows again, so that the file is whole at every moment."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(trainer.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(trainer.history)
        write_atomically(self.path, text.getvalue().encode())


class Checkpoints(Callback):
    """Keeps ``last.safetensors`` and ``best.safetensors`` in a folder.

    ``last`` is written before the first step, after each epoch, every ``seconds`` in between, and when training stops
    (but not when a step fails: what is there is good). ``best`` is the state after the epoch with the best value of
    ``monitor``; ties go to the lower loss.

    Args:
        folder: where to.
        config: is kept in both files, so that whoever reads them can build the model again.
        monitor: a column of the history; the last one of accuracy or loss by default.
        mode: "max" or "min"; by default "min" for a loss.
        seconds: at most this much work is lost when the process is killed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any] | None = None,
        *,
        monitor: str = "val_accuracy",
        mode: str | None = None,
        seconds: float = 60.0,
    ) -> None:
        self.folder = Path(folder)
        self.config = dict(config or {})
        self.monitor = monitor
        self.mode = mode or ("min" if monitor.endswith("loss") else "max")
        if self.mode not in ("max", "min"):
            raise ValueError(f"Checkpoints: expected mode 'max' or 'min', got {mode!r}")
        self.seconds = seconds
        self._written = time.monotonic()

    @property
    def last(self) -> Path:
        """The file with the newest state."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The file with the best state."""
        return self.folder / "best.safetensors"

    def save(self, trainer: Trainer, path: Path) -> None:
        """Write the state of ``trainer``."""
        save_checkpoint(path, {"config": self.config, "trainer": trainer.state_dict()})
        self._written = time.monotonic()

    def on_train_begin(self, trainer: Trainer) -> None:
        """Make sure that there is a checkpoint from the first moment."""
        self.save(trainer, self.last)

    def on_step_end(self, trainer: Trainer) -> None:
        """Write ``last`` if enough time has passed."""
        if time.monotonic() - self._written > self.seconds:
            self.save(trainer, self.last)

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Write ``best`` if this epoch was, and ``last``."""
        if self.is_best(trainer.history):
            self.save(trainer, self.best)
        self.save(trainer, self.last)

    def on_train_end(self, trainer: Trainer) -> None:
        """Write ``last`` when training ends or is stopped."""
        if not trainer.failed:
            self.save(trainer, self.last)

    def is_best(self, history: list[dict[str, Any]]) -> bool:
        """Whether no earlier row is as good as the last one."""
        if self.monitor not in history[-1]:
            raise ValueError(
                f"Checkpoints: expected monitor to be one of {', '.join(history[-1])}, got {self.monitor!r}"
            )
        sign = 1 if self.mode == "max" else -1

        def merit(row: dict[str, Any]) -> tuple[float, float]:
            return sign * row[self.monitor], -row.get("val_loss", row.get("loss", 0.0))

        return all(merit(history[-1]) > merit(row) for row in history[:-1])


class Interruptible(Callback):
    """Turns Ctrl-C and SIGTERM into a stop after the current step, so that everything is consistent and saved.

    A second Ctrl-C interrupts at once. Does nothing outside the main thread, where signals do not arrive.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        """Take over the signals."""
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int, frame: Any) -> None:
            trainer.stop()
            self._restore()

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, stop)

    def on_train_end(self, trainer: Trainer) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
