"""What a run is made of: every choice of ``xnn train``, and good ones for each data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xnn import models, optim
from xnn.nn import Module
from xnn.optim import lr_scheduler
from xnn.training.amp import PRECISIONS

MODELS: dict[str, Callable[..., Module]] = {"mlp": models.mlp}
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "nadam", "radam", "lion")
SCHEDULES = ("constant", "step", "exponential", "cosine", "one-cycle", "plateau")


@dataclass(frozen=True)
class Config:
    """The choices of one run. Kept in its checkpoints, so that a run can be made again from them alone.

    Attributes:
        dataset: a name that `xnn.data.load` takes.
        model: a name in `MODELS`.
        hidden: sizes of the hidden layers.
        dropout: probability of dropping an element behind each activation.
        batch_norm: normalize before each activation.
        optimizer: a name in `OPTIMIZERS`.
        lr: learning rate; with "one-cycle" and "cosine" the highest one.
        momentum: of SGD and RMSprop.
        weight_decay: as the optimizer understands it.
        schedule: a name in `SCHEDULES`. "step" divides the rate by 10 after 50 % and 75 % of the epochs, "exponential"
            brings it to 1 % in the end, "cosine" to 0, "one-cycle" warms up for 20 % of the steps and ends near 0,
            "plateau" divides by 10 when the validation loss has not fallen for 5 epochs.
        epochs: passes over the training data.
        batch_size: samples per step.
        label_smoothing: see `xnn.functional.cross_entropy`.
        clip_norm: limit of the gradient norm, or None.
        shift: move each training image by up to so many pixels, at random.
        precision: what forward and backward passes compute in; see `Trainer`.
        accumulate: add the gradients of this many batches before each update.
        ema: decay of an exponential moving average of the weights, or None.
        validation: share of the training data that is held out to validate with.
        seed: of the first weights, the order of the samples, dropout and shifts, and the validation part.
    """

    dataset: str = "digits"
    model: str = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    dropout: float = 0.3
    batch_norm: bool = True
    optimizer: str = "adamw"
    lr: float = 4e-3
    momentum: float = 0.9
    weight_decay: float = 0.1
    schedule: str = "one-cycle"
    epochs: int = 100
    batch_size: int = 64
    label_smoothing: float = 0.1
    clip_norm: float | None = None
    shift: int = 1
    precision: str = "float32"
    accumulate: int = 1
    ema: float | None = None
    validation: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, known in (
            ("model", MODELS),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name, high in (("validation", 0.9), ("dropout", 1.0), ("label_smoothing", 1.0)):
            if not 0.0 <= getattr(self, name) <= high:
                raise ValueError(f"{name}: expected a number in [0, {high:g}], got {getattr(self, name)}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden: expected sizes of 1 or more, got {self.hidden}")
        if self.shift < 0:
            raise ValueError(f"shift: expected 0 or more pixels, got {self.shift}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm: expected a number > 0 or None, got {self.clip_norm}")

    def to_dict(self) -> dict[str, Any]:
        """The choices as a dict of plain values."""
        return {**dataclasses.asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`. Raises ValueError for missing and unknown names."""
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            raise ValueError(
                f"Config: missing {sorted(names - set(values)) or 'nothing'}, "
                f"unknown {sorted(set(values) - names) or 'nothing'}"
            )
        return cls(**values)

    @classmethod
    def for_dataset(cls, dataset: str, **choices: Any) -> Config:
        """Good choices for a data set, with ``choices`` put in their place where they are given."""
        return cls(**{"dataset": dataset, **RECIPES.get(dataset, {}), **choices})


# Where the defaults of Config, tuned on digits, are not the best for a small budget of time.
_LARGE: dict[str, Any] = {"epochs": 10, "batch_size": 128, "lr": 3e-3, "dropout": 0.2, "weight_decay": 0.01}
RECIPES: dict[str, dict[str, Any]] = {
    "mnist": _LARGE,
    "fashion_mnist": {**_LARGE, "shift": 0},
    "kmnist": _LARGE,
    "emnist": _LARGE,
    "cifar10": {**_LARGE, "epochs": 20, "hidden": (1024, 512, 256), "shift": 4},
}


def make_model(config: Config, input_shape: Sequence[int], classes: int) -> Module:
    """The model of a run; its first weights are drawn from `xnn.random.default_generator`."""
    return MODELS[config.model](
        input_shape, classes, hidden=config.hidden, dropout=config.dropout, batch_norm=config.batch_norm
    )


def make_optimizer(config: Config, model: Module) -> optim.Optimizer:
    """The optimizer of a run."""
    lr, decay = config.lr, config.weight_decay
    parameters = list(model.parameters())
    if config.optimizer == "sgd":
        return optim.SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=decay)
    if config.optimizer == "rmsprop":
        return optim.RMSprop(parameters, lr=lr, momentum=config.momentum, weight_decay=decay)
    by_name = {
        "adam": optim.Adam,
        "adamw": optim.AdamW,
        "adagrad": optim.Adagrad,
        "adadelta": optim.Adadelta,
        "nadam": optim.NAdam,
        "radam": optim.RAdam,
        "lion": optim.Lion,
    }
    return by_name[config.optimizer](parameters, lr=lr, weight_decay=decay)


def make_schedule(config: Config, optimizer: optim.Optimizer, steps_per_epoch: int) -> tuple[Any, str]:
    """The schedule of a run (None for "constant") and how often it moves: "step" or "epoch"."""
    epochs, steps = config.epochs, max(config.epochs * steps_per_epoch // config.accumulate, 1)
    kinds: dict[str, Callable[[], tuple[Any, str]]] = {
        "constant": lambda: (None, "epoch"),
        "step": lambda: (
            lr_scheduler.MultiStepLR(
                optimizer, sorted({max(epochs // 2, 1), max(3 * epochs // 4, 1)}), gamma=0.1
            ),
            "epoch",
        ),
        "exponential": lambda: (lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / epochs)), "epoch"),
        "cosine": lambda: (lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps), "step"),
        "one-cycle": lambda: (
            lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=config.lr,
                total_steps=steps + 1,
                pct_start=0.2,
                cycle_momentum=not {"momentum", "betas"}.isdisjoint(optimizer.param_groups[0]),
            ),
            "step",
        ),
        "plateau": lambda: (lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5), "epoch"),
    }
    return kinds[config.schedule]()
