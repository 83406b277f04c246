"""``xnn train``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from xnn.data import DATASETS
from xnn.training.amp import PRECISIONS
from xnn.training.config import MODELS, OPTIMIZERS, SCHEDULES, Config

NAMES = [name.replace("_", "-") for name in DATASETS]
_DOES_NOT_MATTER_FOR_RESUMING = {"resume", "device", "quiet", "save_every", "check_loss", "dataset", "out"}


_WITH_MOMENTUM = ("sgd", "rmsprop")


def _sizes(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise click.BadParameter(
            f"expected sizes separated by commas, such as 512,256, got {text!r}"
        ) from None


def _number_or_none(ctx: click.Context, option: click.Parameter, text: str | None) -> float | str | None:
    if text is None or text == "none":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"expected a number or 'none', got {text!r}") from None


@click.command(
    short_help="Train a network and test it.", epilog="Where no default is shown, it depends on the data set."
)
@click.argument("dataset", type=click.Choice(NAMES), required=False, metavar="DATASET")
@click.option("--model", type=click.Choice(list(MODELS)), help="What to train.")
@click.option("--hidden", callback=_sizes, metavar="N,N,...", help="Sizes of the hidden layers; '' for none.")
@click.option("--dropout", type=float, help="Probability of dropping an element behind each activation.")
@click.option("--batch-norm/--no-batch-norm", default=None, help="Normalize before each activation.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="How to update the weights.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--momentum", type=float, help="Of sgd and rmsprop.")
@click.option("--weight-decay", type=float, help="Pull of the weights towards 0.")
@click.option("--schedule", type=click.Choice(SCHEDULES), help="How the learning rate changes.")
@click.option("--epochs", type=int, help="Passes over the training data.")
@click.option("--batch-size", type=int, help="Samples per step.")
@click.option("--label-smoothing", type=float, help="Share of each label that is spread over all classes.")
@click.option(
    "--clip-norm", callback=_number_or_none, metavar="NUMBER", help="Limit of the gradient norm, or 'none'."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="What to compute in; weights stay float32.  [default: float32]",
)
@click.option(
    "--accumulate", type=int, help="Add the gradients of so many batches for each update.  [default: 1]"
)
@click.option("--shift", type=int, help="Move training images by up to so many pixels, at random.")
@click.option(
    "--ema", callback=_number_or_none, metavar="NUMBER", help="Decay of an average of the weights, or 'none'."
)
@click.option(
    "--validation", type=float, help="Share of the training data that is held out to validate with."
)
@click.option("--seed", type=int, help="Of everything that is random.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:<number>.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the results.  [default: runs/DATASET]"
)
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with the run in this folder."
)
@click.option(
    "--save-every",
    type=click.FloatRange(min=0),
    default=60.0,
    metavar="SECONDS",
    help="Between checkpoints inside an epoch.",
)
@click.option("--check-loss/--no-check-loss", default=None, help="Stop at a NaN loss. [default: on the CPU]")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train a network on DATASET and say how well it does on the test data.

    DATASET is digits, mnist, fashion-mnist, kmnist, emnist or cifar10.

    Ctrl-C stops after the current step and saves; --resume RUN then goes on exactly from there.
    """
    from xnn.training import NonFiniteLossError, ProgressBar, Run, TrainingStopped
    from xnn.training.run import new_folder

    common = {
        "device": options["device"],
        "callbacks": [] if options["quiet"] else [ProgressBar()],
        "save_seconds": options["save_every"],
        "watch_loss": options["check_loss"],
    }
    if options["resume"] is not None:
        _refuse_changes(ctx)
        run = Run.open(options["resume"], which="last", **common)
        if options["dataset"] not in (None, run.config.dataset.replace("_", "-")):
            raise click.UsageError(
                f"{options['resume']} is a run on {run.config.dataset}, not on {options['dataset']}"
            )
    else:
        if options["dataset"] is None:
            raise click.UsageError(f"Missing DATASET: one of {', '.join(NAMES)} (or --resume RUN).")
        names = {field.name for field in dataclasses.fields(Config)} - {"dataset"}
        choices = {name: options[name] for name in names if options[name] is not None}
        if options["momentum"] is not None and options["optimizer"] not in _WITH_MOMENTUM:
            raise click.UsageError(f"--momentum is for --optimizer {' and '.join(_WITH_MOMENTUM)}")
        choices = {name: None if value == "none" else value for name, value in choices.items()}
        config = Config.for_dataset(options["dataset"].replace("-", "_"), **choices)
        folder = options["out"] or new_folder("runs", config.dataset)
        if (folder / "last.safetensors").exists():
            raise click.UsageError(
                f"{folder} holds a run already: go on with --resume {folder}, or choose another --out"
            )
        run = Run(config, folder, **common)
    if not options["quiet"]:
        click.echo(describe(run))
    try:
        result = run.train()
    except TrainingStopped:
        trainer = run.trainer
        click.echo(
            f"stopped in epoch {trainer.epoch + 1} of {run.config.epochs} after {trainer.step} steps; "
            f"everything is saved\ngo on with: xnn train --resume {run.folder}"
        )
        ctx.exit(130)
    except (NonFiniteLossError, OSError) as error:
        if not run.checkpoints.last.exists():
            raise
        raise click.ClickException(
            f"{error}\n{run.checkpoints.last} holds the last good state; "
            + (
                f"when that is mended, go on with: xnn train --resume {run.folder}"
                if isinstance(error, OSError)
                else "begin anew with other options, such as a smaller --lr or --clip-norm 1"
            )
        ) from error
    if not options["quiet"]:
        click.echo(f"\nconfusion matrix (rows: true class, columns: predicted)\n{result.table()}\n")
    click.echo(
        f"test accuracy: {100 * result.accuracy:.2f} % ({result.correct} of {result.count}, epoch {run.best_epoch})"
    )
    if not options["quiet"]:
        from xnn.training.plots import has_matplotlib

        files = "weights, history and figures" if has_matplotlib() else "weights and history"
        click.echo(f"{files} are in {run.folder}")
        if not has_matplotlib():
            click.echo('for figures: pip install "xnn[plot]"')
        click.echo(f"next: xnn evaluate {run.folder}, xnn predict {run.folder} IMAGE")


def _refuse_changes(ctx: click.Context) -> None:
    """A resumed run is what it was: its options cannot be given anew."""
    given = [
        "--" + name.replace("_", "-")
        for name in ctx.params
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
        and name not in _DOES_NOT_MATTER_FOR_RESUMING
    ]
    if ctx.get_parameter_source("out") == ParameterSource.COMMANDLINE:
        given.append("--out")
    if given:
        raise click.UsageError(
            f"--resume takes these from the run, so they cannot be given anew: {', '.join(sorted(given))}"
        )


def describe(run: Any) -> str:
    """A few lines that say what is trained on what, and how."""
    config, dataset = run.config, run.dataset
    held_out = run.validation_loader.samples if run.validation_loader is not None else 0
    parameters = sum(p.size for p in run.model.parameters())
    sizes = "".join(f"-{width}" for width in config.hidden)
    epochs = f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"
    several = f" x {config.accumulate}" if config.accumulate > 1 else ""
    precision = f", {config.precision}" if config.precision != "float32" else ""
    return (
        f"{dataset.name}: {run.train_loader.samples:,} images to train, {held_out:,} to validate, "
        f"{run.test_loader.samples:,} to test\n"
        f"model: {config.model} {math.prod(run.input_shape)}{sizes}-{len(dataset.classes)}, "
        f"{parameters:,} parameters\n"
        f"training: {config.optimizer}, lr {config.lr:g}, {config.schedule}, {epochs}, "
        f"batch {config.batch_size}{several}{precision}, seed {config.seed}\n"
        f"device: {run.device} ({run.device.describe()})\n"
    )
