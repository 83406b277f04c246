"""What may happen around training: callbacks of the Trainer."""

from __future__ import annotations

import csv
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnn.training.checkpoint import remove_parts, save_checkpoint, write_atomically

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
    """A bar while an epoch runs, and a row that stays when it is done, in a table with one column per number.

    The bar shows loss, metrics and samples per second. They are read from the device a few times a second, not at
    every step. Where the file is no terminal there is no bar, only the table.

    Args:
        file: where to write; standard error by default.
        interval: seconds between two refreshes.
    """

    def __init__(self, file: Any = None, interval: float = 0.2) -> None:
        self.file = sys.stderr if file is None else file
        self.interval = interval
        self._bar: Any = None
        self._columns: list[str] = []  # of the table that was begun

    def on_train_begin(self, trainer: Trainer) -> None:
        """Begin a table."""
        self._columns = []

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
            bar_format=_BAR,
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
            numbers = [f"{name} {_figure(name, value)}" for name, value in trainer.running().items()]
            numbers.append(f"{rate:,.0f} samples/s")
            memory = trainer.device.memory() if (self._bar.format_dict["ncols"] or 0) >= _WIDE else None
            if memory is not None and memory.peak is not None:  # of a GPU; the host has no counter of arrays
                numbers.append(f"{memory.used / 2**30:.1f} GiB")
            self._bar.bar_format = f"{_BAR} {', '.join(numbers)}, {{remaining}}"
            self._bar.refresh()

    def on_epoch_end(self, trainer: Trainer) -> None:
        """Close the bar and leave a row."""
        self._bar.close()
        row = trainer.history[-1]
        epoch = f"{row['epoch']}/{trainer.epochs}"
        numbers = {name: value for name, value in row.items() if name not in _NO_COLUMN}
        columns = [*numbers, "samples_per_second"]
        widths = [max(len(_title(name)), 8) for name in columns]
        first = max(len("epoch"), 2 * len(str(trainer.epochs)) + 1)
        if columns != self._columns:
            self._columns = columns
            titles = (f"{_title(name):>{width}}" for name, width in zip(columns, widths, strict=True))
            print(f"{'epoch':>{first}}  " + "  ".join(titles), file=self.file)
        cells = [_figure(name, value) for name, value in numbers.items()]
        cells.append(f"{row['samples_per_second']:,.0f}")
        cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        print(f"{epoch:>{first}}  " + "  ".join(cells), file=self.file, flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        """Close the bar if training was interrupted."""
        if self._bar is not None:
            self._bar.close()


_BAR = "{desc} {percentage:3.0f} %|{bar}|"  # with the numbers behind it: 80 columns leave some for the bar
_NO_COLUMN = {"epoch", "step", "lr", "seconds", "samples_per_second"}
_NO_COLUMN |= {"loss_scale", "skipped_steps", "peak_memory"}
_WIDE = 100  # columns of a terminal where there is room for the memory in use


def _figure(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.4f}"


def _title(name: str) -> str:
    return "samples/s" if name == "samples_per_second" else name.replace("_", " ")


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
    ``monitor``; ties go to the lower loss, and NaN is worse than any number.

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
        for path in (self.last, self.best):
            remove_parts(path)
        self.save(trainer, self.last)

    def on_step_end(self, trainer: Trainer) -> None:
        """Write ``last`` if enough time has passed."""
        if time.monotonic() - self._written > self.seconds:
            trainer.check_running_loss()
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
            values = sign * row[self.monitor], -row.get("val_loss", row.get("loss", 0.0))
            return tuple(-math.inf if math.isnan(v) else v for v in values)  # type: ignore[return-value]

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
