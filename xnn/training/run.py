"""A run: one training from a Config, in a folder of its own.

The folder holds ``best.safetensors`` and ``last.safetensors`` (each has the Config inside), ``history.csv``, and at the
end ``result.json``, ``curves.png`` and ``confusion.png``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnn import data, nn, random
from xnn import functional as F
from xnn.backends import Device, DeviceLike, to_host
from xnn.backends import device as find_device
from xnn.backends.namespaces import Array, array_namespace
from xnn.data import DataLoader, Dataset, Samples
from xnn.training import plots
from xnn.training.amp import available
from xnn.training.callbacks import Callback, Checkpoints, HistoryFile, Interruptible
from xnn.training.checkpoint import CheckpointError, load_checkpoint, write_atomically
from xnn.training.config import Config, make_model, make_optimizer, make_schedule
from xnn.training.metrics import confusion_matrix
from xnn.training.trainer import Trainer

EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Result:
    """How well a model does on the test data.

    Attributes:
        loss, accuracy: means over the test samples.
        correct, count: how many samples were right, of how many.
        confusion: element (i, j) counts samples of class i that were predicted as j.
        classes: names of the classes.
    """

    loss: float
    accuracy: float
    correct: int
    count: int
    confusion: list[list[int]]
    classes: tuple[str, ...]

    def table(self) -> str:
        """The confusion matrix as text: rows are true classes, columns predictions, dots stand for 0."""
        count = len(self.classes)
        names = [name[:12] for name in self.classes]
        width = max(len(str(n)) for row in self.confusion for n in row)
        width = max(width, *(len(name) for name in names)) if count <= 12 else max(width, 3)
        label = max(len(name) for name in names)
        heads = names if count <= 12 else [name[:width] for name in names]
        lines = [" " * label + "".join(f" {head:>{width}}" for head in heads)]
        for name, row in zip(names, self.confusion, strict=True):
            lines.append(f"{name:>{label}}" + "".join(f" {n or '·':>{width}}" for n in row))
        return "\n".join(lines)


class Run:
    """Data, model, optimizer, schedule and Trainer of a Config. Made by `Run` itself or by `Run.open`.

    Args:
        config: what to train.
        folder: where everything is written.
        device: where to train; anything that `xnn.device` takes.
        callbacks: further ones for the Trainer, such as `ProgressBar`.
        dataset: the data, if it is loaded already.
        save_seconds: at most this much work is lost when the process is killed.
        watch_loss: see `Trainer`.
        precision: in place of that of ``config``.
    """

    def __init__(
        self,
        config: Config,
        folder: str | os.PathLike[str],
        *,
        device: DeviceLike = "auto",
        callbacks: Sequence[Callback] = (),
        dataset: Dataset | None = None,
        save_seconds: float = 60.0,
        watch_loss: bool | None = None,
        precision: str | None = None,
    ) -> None:
        self.config = config
        self.folder = Path(folder)
        self.device: Device = find_device(device)
        self.dataset = data.load(config.dataset) if dataset is None else dataset
        self.input_shape = tuple(self.dataset.train.inputs.shape[1:])
        train, validation = self._parts()
        self.train_loader = DataLoader(
            train,
            batch_size=min(config.batch_size, train[1].shape[0]),
            shuffle=True,
            drop_last=True,  # the gradient of a last small batch is noisy, and BatchNorm cannot use a batch of one
            seed=config.seed,
            transform=data.transforms.RandomTranslate(config.shift) if config.shift else None,
            device=self.device,
        )
        self.validation_loader = None if validation is None else self._loader(validation)
        self.test_loader = self._loader(self.dataset.test)

        random.manual_seed(config.seed)
        self.model = make_model(config, self.input_shape, len(self.dataset.classes)).to(self.device)
        optimizer = make_optimizer(config, self.model)
        scheduler, every = make_schedule(config, optimizer, len(self.train_loader))
        ema = None
        if config.ema is not None:
            from xnn.optim import ExponentialMovingAverage

            ema = ExponentialMovingAverage(self.model, decay=config.ema)
        self.checkpoints = Checkpoints(
            self.folder,
            config.to_dict(),
            monitor="val_loss" if self.validation_loader is not None else "loss",
            seconds=save_seconds,
        )
        self.trainer = Trainer(
            self.model,
            optimizer,
            nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
            scheduler=scheduler,
            schedule_every=every,
            device=self.device,
            clip_norm=config.clip_norm,
            accumulate=config.accumulate,
            precision=config.precision if precision is None else precision,
            ema=ema,
            watch_loss=watch_loss,
            callbacks=[
                Interruptible(),
                self.checkpoints,
                HistoryFile(self.folder / "history.csv"),
                *callbacks,
            ],
        )

    def _parts(self) -> tuple[Samples, Samples | None]:
        """Training and validation part of the training data, stratified."""
        samples = self.dataset.train
        if not self.config.validation:
            return samples, None
        train, validation = data.split(
            samples, self.config.validation, seed=self.config.seed, stratify=samples.targets
        )
        return Samples(*train), Samples(*validation)

    def _loader(self, samples: Samples) -> DataLoader:
        return DataLoader(samples, batch_size=EVALUATION_BATCH, device=self.device, prefetch=0)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, which: str = "last", **options: Any) -> Run:
        """The run in ``folder`` as it was when its checkpoint was written.

        On a device that has not the precision it was trained in, it is in float32, as its weights are.

        Args:
            folder: of the run.
            which: "last" to go on, "best" to evaluate or predict.
            options: as for `Run`.

        Raises:
            CheckpointError: there is no run in the folder, or the checkpoint is damaged or foreign.
        """
        folder = Path(folder)
        path = folder / f"{which}.safetensors"
        if which == "best" and not path.exists():  # stopped before the end of the first epoch
            path = folder / "last.safetensors"
        if not path.exists():
            raise CheckpointError(
                f"{folder}: expected the folder of a run with last.safetensors in it, found none"
            )
        state = load_checkpoint(path)
        try:
            config = Config.from_dict(state["config"])
            device = find_device(options.pop("device", "auto"))
            precision = options.pop("precision", None) or available(config.precision, device)
            run = cls(config, folder, device=device, precision=precision, **options)
            run.trainer.load_state_dict(state["trainer"])
        except (KeyError, TypeError, ValueError) as error:
            what = f"no entry {error}" if isinstance(error, KeyError) else error
            raise CheckpointError(f"checkpoint {path}: does not fit this version of xnn: {what}") from error
        return run

    def train(self) -> Result:
        """Train to the end (or on, after `open`), then test the best weights and write result and figures."""
        self.trainer.fit(self.train_loader, self.validation_loader, epochs=self.config.epochs)
        best = load_checkpoint(self.checkpoints.best)["trainer"]
        self.trainer.load_state_dict(best)
        result = self.test()
        self.best_epoch = best["epoch"]
        self._write(result)
        return result

    def test(self) -> Result:
        """Evaluate the present weights on the test data."""
        trainer, classes = self.trainer, self.dataset.classes
        figures = trainer.evaluate(self.test_loader)
        output = trainer.predict(self.test_loader)
        xp = array_namespace(output)
        predicted = to_host(xp.argmax(output, axis=1))
        target = to_host(self.dataset.test.targets)
        matrix = to_host(confusion_matrix(predicted, target, len(classes))).tolist()
        correct = sum(matrix[i][i] for i in range(len(classes)))
        count = target.shape[0]
        return Result(figures["loss"], correct / count, correct, count, matrix, tuple(classes))

    def _write(self, result: Result) -> None:
        summary = {
            "test_accuracy": result.accuracy,
            "test_loss": result.loss,
            "test_correct": result.correct,
            "test_count": result.count,
            "best_epoch": self.best_epoch,
            "confusion": result.confusion,
            "classes": list(result.classes),
            "config": self.config.to_dict(),
            "device": self.device.describe(),
        }
        write_atomically(self.folder / "result.json", (json.dumps(summary, indent=1) + "\n").encode())
        if plots.has_matplotlib():
            title = f"{self.config.dataset}, {self.config.model}: test accuracy {100 * result.accuracy:.2f} %"
            history = load_checkpoint(self.checkpoints.last)["trainer"]["history"]
            plots.plot_history(history, self.folder / "curves.png", title)
            plots.plot_confusion(result.confusion, result.classes, self.folder / "confusion.png", title)

    def predict(self, images: Array) -> tuple[Array, Array]:
        """Classes and their probabilities, most probable first: int64 and float32 of shape (N, C), on the host.

        Args:
            images: floating-point numbers in [0, 1], shape (N, *input_shape), any device.
        """
        x = self.device.asarray(images, dtype="float32")
        self.model.eval()
        if self.trainer.ema is not None:
            with self.trainer.ema.average_parameters():
                p = F.softmax(self.model(x), dim=1)
        else:
            p = F.softmax(self.model(x), dim=1)
        p = to_host(p)
        xp = array_namespace(p)
        order = xp.argsort(p, axis=1, descending=True)
        return order, xp.take_along_axis(p, order, axis=1)


def new_folder(parent: str | os.PathLike[str], name: str) -> Path:
    """``parent/name``, or with the first free number behind it if that is taken."""
    folder = Path(parent) / name
    number = 1
    while folder.exists():
        number += 1
        folder = Path(parent) / f"{name}-{number}"
    return folder
