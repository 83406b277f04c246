"""``xnn evaluate`` and ``xnn predict``."""

from __future__ import annotations

from pathlib import Path

import click

from xnn.backends import device as find_device
from xnn.backends.namespaces import Array

RUN = click.argument("run", type=click.Path(path_type=Path))
DEVICE = click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:<number>.")
CHECKPOINT = click.option(
    "--checkpoint",
    type=click.Choice(["best", "last"]),
    default="best",
    help="Which weights of the run to take.",
)


@click.command(short_help="Test the network of a run.")
@RUN
@CHECKPOINT
@DEVICE
def evaluate(run: Path, checkpoint: str, device: str) -> None:
    """Test the network in the folder RUN on the test data of its data set."""
    from xnn.training import Run

    opened = Run.open(run, which=checkpoint, device=device)
    result = opened.test()
    click.echo(f"{opened.config.dataset}, {checkpoint} weights (epoch {opened.trainer.epoch})")
    click.echo(f"confusion matrix (rows: true class, columns: predicted)\n{result.table()}\n")
    click.echo(f"test loss: {result.loss:.4f}")
    click.echo(f"test accuracy: {100 * result.accuracy:.2f} % ({result.correct} of {result.count})")


@click.command(short_help="Say what the network of a run sees in images.")
@RUN
@click.argument("image", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=3, help="How many classes to show.")
@click.option(
    "--invert",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    help="Swap dark and bright: the digits and letters of the data sets are bright on dark. "
    "'auto' does so if the border of the image is bright.",
)
@CHECKPOINT
@DEVICE
def predict(run: Path, image: tuple[Path, ...], top: int, invert: str, checkpoint: str, device: str) -> None:
    """Say what the network in the folder RUN sees in each IMAGE (PNG, JPEG, ...)."""
    from xnn.training import Run

    opened = Run.open(run, which=checkpoint, device=device)
    classes = opened.dataset.classes
    for path in image:
        pixels = read_image(path, opened.input_shape, invert)
        order, probabilities = opened.predict(pixels)
        guesses = ", ".join(
            f"{classes[int(order[0, i])]} ({100 * float(probabilities[0, i]):.1f} %)"
            for i in range(min(top, len(classes)))
        )
        click.echo(f"{path}: {guesses}")


def read_image(path: Path, input_shape: tuple[int, ...], invert: str) -> Array:
    """An image file as the array a model takes: float32 in [0, 1], shape (1, *input_shape).

    The image is made square by a border of its background, scaled to the size of the model's input, and turned into
    gray if the model takes one channel.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise click.ClickException('reading images needs Pillow: pip install "xnn[plot]"') from None
    channels, height, width = input_shape
    try:
        with Image.open(path) as file:
            picture = file.convert("RGBA")
    except FileNotFoundError:
        raise click.ClickException(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError) as error:
        raise click.ClickException(f"{path}: expected an image (PNG, JPEG, ...): {error}") from None
    paper = Image.new("RGBA", picture.size, "white")  # what shines through where the image is transparent
    picture = Image.alpha_composite(paper, picture).convert("L" if channels == 1 else "RGB")
    gray = picture.convert("L")
    w, h = gray.size
    rows = [gray.tobytes()[y * w : (y + 1) * w] for y in range(h)]
    border = sorted([*rows[0], *rows[-1], *(row[0] for row in rows), *(row[-1] for row in rows)])
    background = border[len(border) // 2]
    if channels == 1 and (invert == "yes" or (invert == "auto" and background > 127)):
        picture, background = ImageOps.invert(picture), 255 - background
    if w * height != h * width:
        side = max(w, h)
        picture = ImageOps.pad(
            picture, (side, side), color=background if channels == 1 else (background,) * 3
        )
    picture = picture.resize((width, height), Image.Resampling.BOX if w > width else Image.Resampling.BICUBIC)
    xp = find_device("cpu").xp
    pixels = xp.asarray(memoryview(picture.tobytes()).cast("B"))
    pixels = xp.reshape(pixels, (1, height, width, channels))
    return xp.astype(xp.permute_dims(pixels, (0, 3, 1, 2)), xp.float32) / 255
