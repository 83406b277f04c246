"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xnn import functional as F
from xnn import random
from xnn.autodiff import no_grad
from xnn.backends import Device, DeviceLike
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace, reads_are_free, unwrap
from xnn.nn import Module
from xnn.optim.lr_scheduler import ReduceLROnPlateau
from xnn.tensor import Tensor
from xnn.training.amp import Precision
from xnn.training.callbacks import Callback

if TYPE_CHECKING:
    from xnn.data import DataLoader
    from xnn.optim import ExponentialMovingAverage, Optimizer

__all__ = ["NonFiniteLossError", "Trainer", "TrainingStopped"]

Metric = Callable[[Array, Array], Array]


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite. The message says whether a weight was changed by it."""


class TrainingStopped(Exception):
    """Training was asked to stop, and did so between two steps, with everything consistent."""


class Trainer:
    """Trains a model: forward, loss, backward, update, over batches and epochs.

        for epoch in range(epochs):
            for x, target in loader:
                loss = loss_function(model(x), target)      # forward
                loss.backward()                             # backward
                optimizer.step()                            # update
                optimizer.zero_grad()

    and what people put around that: validation after each epoch, metrics, clipping, schedules, averages of weights,
    history, and a state from which a stopped run goes on bit for bit. No step reads a number from the device.

    Args:
        model: the Module to train; it is moved to ``device``.
        optimizer: holds the model's parameters.
        loss: ``loss(output, target)`` gives a scalar Tensor. A loss Module or a function.
        metrics: functions ``metric(output, target)`` of plain arrays that give a mean over the batch, by name.
        scheduler: changes the learning rate; its ``step()`` is called after each epoch or after each step.
        schedule_every: "epoch" or "step".
        device: where to train; anything that `xnn.device` takes.
        clip_norm: limit of the norm of all gradients taken together, or None.
        accumulate: add the gradients of this many batches before each update.
        precision: "float32", "tf32", "bfloat16", "float16", or a `Precision`: what forward and backward passes compute
            in, validation too. Weights and the optimizer's states are float32 in all of them. See `xnn.training.amp`.
        ema: an average of the weights, updated after each step and used for validation.
        watch_loss: raise NonFiniteLossError at the first loss that is NaN or infinite, before it does harm. This reads
            the loss at every step; None means: where reading costs no waiting for the device, and elsewhere at the
            end of each epoch and before a checkpoint is written. False: never.
        callbacks: see `Callback`.

    Attributes:
        epoch: epochs completed.
        step: updates and accumulated batches so far (batches seen).
        failed: whether the last `fit` ended by an error, perhaps in the middle of a step.
        history: one dict per completed epoch: epoch, step, lr, seconds, samples_per_second, loss and metrics, and with
            the prefix ``val_`` those of the validation data. On a GPU also peak_memory, the bytes needed at once so
            far; with float16 also loss_scale and skipped_steps.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[[Any, Any], Tensor] = F.cross_entropy,
        *,
        metrics: Mapping[str, Metric] | None = None,
        scheduler: Any = None,
        schedule_every: str = "epoch",
        device: DeviceLike = "auto",
        clip_norm: float | None = None,
        accumulate: int = 1,
        precision: str | Precision = "float32",
        ema: ExponentialMovingAverage | None = None,
        watch_loss: bool | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        if schedule_every not in ("epoch", "step"):
            raise ValueError(f"Trainer: expected schedule_every 'epoch' or 'step', got {schedule_every!r}")
        if accumulate < 1:
            raise ValueError(f"Trainer: expected accumulate of 1 or more, got {accumulate}")
        self.device: Device = find_device(device)
        self.precision = precision if isinstance(precision, Precision) else Precision(precision, self.device)
        self.model = model.to(self.device)
        self.optimizer = optimizer
        self.loss = loss.to(self.device) if isinstance(loss, Module) else loss
        self.metrics = {"accuracy": F.accuracy} if metrics is None else dict(metrics)
        self.scheduler = scheduler
        self.schedule_every = schedule_every
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.ema = ema
        self.watch_loss = watch_loss
        self.callbacks = list(callbacks)
        self.epoch = 0
        self.step = 0
        self.epochs = 0
        self.history: list[dict[str, Any]] = []
        self.totals: dict[str, Any] = {}
        self.loader: DataLoader | None = None
        self.failed = False
        self._loader_state: Any = None
        self._seconds = 0.0  # spent on this epoch before the last interruption
        self._started: float | None = None
        self._stop = False

    # --- training ---

    def fit(
        self, loader: DataLoader, validation: Iterable[Any] | None = None, *, epochs: int
    ) -> list[dict[str, Any]]:
        """Train until ``epochs`` epochs are done, those of a loaded state counted in.

        Args:
            loader: batches ``(x, target)`` or ``(x1, x2, ..., target)``; all but the last go to the model.
            validation: batches of data to validate with after each epoch.
            epochs: how many in all.

        Returns:
            the history.

        Raises:
            TrainingStopped: `stop` was called (Ctrl-C under the callback `Interruptible`).
            NonFiniteLossError: see ``watch_loss``.
        """
        self.loader = loader
        self.epochs = epochs
        self._stop = False
        if self._loader_state is not None:
            loader.load_state_dict(self._loader_state)
            self._loader_state = None
        self.failed = False
        try:
            self._call("on_train_begin")
            while self.epoch < epochs:
                self._run_epoch(loader, validation)
        except TrainingStopped:
            raise
        except BaseException:
            self.failed = True
            raise
        finally:
            self._call("on_train_end")
        return self.history

    def _run_epoch(self, loader: DataLoader, validation: Iterable[Any] | None) -> None:
        self.model.train()
        self._started = time.perf_counter()
        self._call("on_epoch_begin")
        for batch in loader:
            self.train_step(batch)
            self._call("on_step_end")
            if self._stop:
                self.check_running_loss()
                self._loader_state = loader.state_dict()  # should fit be called again: the rest of this epoch
                raise TrainingStopped
        if not self.totals:
            raise ValueError("Trainer.fit: the loader gave no batch")
        self.check_running_loss()
        samples = self.totals["samples"]
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "lr": self.optimizer.param_groups[0]["lr"],
            **_means(self.totals),
        }
        self.device.synchronize()
        seconds = self._elapsed()
        row["seconds"] = round(seconds, 3)
        row["samples_per_second"] = round(samples / seconds, 1) if seconds > 0 else math.inf
        row.update(self.precision.settle(self.optimizer))
        memory = self.device.memory()
        if memory is not None and memory.peak is not None:
            row["peak_memory"] = memory.peak
        if validation is not None:
            row.update({f"val_{name}": value for name, value in self.evaluate(validation).items()})
        if self.scheduler is not None and self.schedule_every == "epoch":
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(row.get("val_loss", row["loss"]))
            else:
                self.scheduler.step()
        self.epoch += 1
        self._seconds, self._started = 0.0, None
        self.totals = {}
        self.history.append(row)
        self._call("on_epoch_end")
        if self._stop and self.epoch < self.epochs:
            raise TrainingStopped

    def _elapsed(self) -> float:
        return self._seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def train_step(self, batch: Sequence[Array]) -> Tensor:
        """One batch: forward, loss, backward and, after every ``accumulate`` batches, the update. Returns the loss.

        Raises:
            NonFiniteLossError: see ``watch_loss``.
            OutOfMemoryError: the device has not enough memory; the message says what may help.
        """
        with self.device.explaining_errors():
            *inputs, target = (self.device.asarray(a) for a in batch)
            with self.precision.lowered(self.model):
                output = self.precision.forward(self.model, inputs)
                loss = self.loss(output, target)
                self._check_loss(loss)
                self.precision.backward(loss, self.accumulate)
            self.step += 1
            if self.step % self.accumulate == 0:
                self._update()
            self._count(loss, output, target)
        return loss

    def _update(self) -> None:
        self.precision.update(self.optimizer, list(self.model.parameters()), self.clip_norm)
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update()
        if self.scheduler is not None and self.schedule_every == "step":
            self.scheduler.step()

    def _check_loss(self, loss: Tensor) -> None:
        watch = reads_are_free(loss.data) if self.watch_loss is None else self.watch_loss
        if watch and not math.isfinite(float(loss.data)):
            rate = self.optimizer.param_groups[0]["lr"]
            raise NonFiniteLossError(
                f"the loss is {float(loss.data)} in epoch {self.epoch + 1}, step {self.step + 1} "
                f"(learning rate {rate:g}); no weight was changed by it. A smaller learning rate or a limit on "
                "the gradient norm may help"
            )

    def check_running_loss(self) -> None:
        """Raise NonFiniteLossError if a loss of this epoch was not finite, unless ``watch_loss`` is False.

        For moments at which reading a number from the device does not matter: before a state is saved.
        """
        if self.watch_loss is False or not self.totals:
            return
        mean = self.running()["loss"]
        if not math.isfinite(mean):
            raise NonFiniteLossError(
                f"the loss became {mean} in epoch {self.epoch + 1}, by step {self.step}, and has spoiled the weights "
                "since, which are not saved. A smaller learning rate or a limit on the gradient norm may help; "
                "watch_loss=True finds the step"
            )

    def _count(self, loss: Tensor, output: Any, target: Array) -> None:
        """Add up loss and metrics on the device, weighted by the number of samples."""
        samples = target.shape[0] if target.shape else 1
        values = {"loss": loss.data}
        with no_grad():
            for name, metric in self.metrics.items():
                values[name] = unwrap(metric(unwrap(output), target))
        _add(self.totals, values, samples)

    def stop(self) -> None:
        """Ask the loop to stop after the current step. Safe to call from a signal handler or a callback."""
        self._stop = True

    def running(self) -> dict[str, float]:
        """Means of loss and metrics over this epoch so far. Reads numbers from the device."""
        return _means(self.totals)

    # --- evaluation ---

    def evaluate(self, loader: Iterable[Any]) -> dict[str, float]:
        """Means of loss and metrics over a data set, in eval mode, with the averaged weights if there is an ``ema``."""
        totals: dict[str, Any] = {}
        for output, target in self._outputs(loader):
            samples = target.shape[0] if target.shape else 1
            values = {"loss": unwrap(self.loss(output, target))}
            values.update({name: unwrap(metric(output, target)) for name, metric in self.metrics.items()})
            _add(totals, values, samples)
        if not totals:
            raise ValueError("Trainer.evaluate: the loader gave no batch")
        return _means(totals)

    def predict(self, loader: Iterable[Any]) -> Array:
        """The model's outputs for a data set, in eval mode, one after the other along the first dimension."""
        outputs = [output for output, _ in self._outputs(loader)]
        if not outputs:
            raise ValueError("Trainer.predict: the loader gave no batch")
        return array_namespace(outputs[0]).concat(outputs, axis=0)

    def _outputs(self, loader: Iterable[Any]) -> Iterable[tuple[Array, Array]]:
        was_training = self.model.training
        self.model.eval()
        try:
            if self.ema is not None:
                with self.ema.average_parameters():
                    yield from self._forward_all(loader)
            else:
                yield from self._forward_all(loader)
        finally:
            self.model.train(was_training)

    def _forward_all(self, loader: Iterable[Any]) -> Iterable[tuple[Array, Array]]:
        for batch in loader:
            with self.device.explaining_errors(), self.precision.lowered(self.model):
                *inputs, target = (self.device.asarray(a) for a in batch)
                output = self.precision.forward(self.model, inputs)
            yield output, target

    # --- state ---

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on bit for bit: for `xnn.training.save_checkpoint`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "precision": self.precision.state_dict(),
            "gradients": {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None},
            "random": random.default_generator.state_dict(),
            "loader": self._loader_state if self.loader is None else self.loader.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": self.totals,
            "seconds": self._elapsed(),
            "history": self.history,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. The model, optimizer, scheduler and average must be made as they were made then.

        Raises:
            ValueError: something does not fit; the message says what was expected and what came.
        """
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(f"Trainer state: expected the entries {sorted(expected)}, got {sorted(state)}")
        for name, mine in (("scheduler", self.scheduler), ("ema", self.ema)):
            if (mine is None) != (state[name] is None):
                have, has = ("no " if mine is None else "a "), ("none" if state[name] is None else "one")
                raise ValueError(f"Trainer state: this Trainer has {have}{name}, the state has {has}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.precision.load_state_dict(state["precision"])
        for name, parameter in self.model.named_parameters():
            gradient = state["gradients"].get(name)
            parameter.grad = None if gradient is None else self.device.asarray(gradient, copy=True)
        random.default_generator.load_state_dict(state["random"])
        self.loader, self._loader_state = None, state["loader"]
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.totals = {
            name: value if isinstance(value, int) else self.device.asarray(value)
            for name, value in state["totals"].items()
        }
        self._seconds = state["seconds"]
        self.history = list(state["history"])

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)


def _add(totals: dict[str, Any], values: Mapping[str, Array], samples: int) -> None:
    for name, value in values.items():
        totals[name] = totals[name] + value * samples if name in totals else value * samples
    totals["samples"] = totals.get("samples", 0) + samples


def _means(totals: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) / totals["samples"] for name, value in totals.items() if name != "samples"}
