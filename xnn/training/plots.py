"""Figures of a run. They need matplotlib: ``pip install "xnn[plot]"``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from xnn.training.checkpoint import write_atomically


def has_matplotlib() -> bool:
    """Whether figures can be drawn here."""
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Any, path: str | os.PathLike[str]) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getvalue())


def plot_history(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], title: str = "") -> None:
    """Loss on the left, every other metric on the right, over epochs; training and validation.

    Args:
        history: rows as in `Trainer.history`.
        path: of the PNG file.
        title: above the figure.
    """
    metrics = [name[4:] for name in history[-1] if name.startswith("val_")]
    metrics = metrics or [n for n in history[-1] if n in ("loss", "accuracy")]
    epochs = [row["epoch"] for row in history]
    figure = _figure(4.5 * len(metrics), 3.6)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        percent = 100 if "accuracy" in metric else 1
        marker = "o" if len(history) < 4 else None
        for name, label in ((metric, "training"), (f"val_{metric}", "validation")):
            if name in history[-1]:
                axes.plot(epochs, [percent * row[name] for row in history], label=label, marker=marker)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{metric} in %" if percent == 100 else metric)
        losses = [row[n] for row in history for n in ("loss", "val_loss") if n in row]
        if metric == "loss" and min(losses) > 0 and max(losses) > 10 * min(losses):
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    if title:
        figure.suptitle(title)
    _write(figure, path)


def plot_confusion(
    matrix: Sequence[Sequence[int]], classes: Sequence[str], path: str | os.PathLike[str], title: str = ""
) -> None:
    """The confusion matrix as a picture: rows are true classes, columns predictions, mistakes in red.

    Args:
        matrix: counts, as nested lists.
        classes: names.
        path: of the PNG file.
        title: above the figure.
    """
    count = len(classes)
    side = min(2.5 + 0.45 * count, 16)
    figure = _figure(side, side)
    axes = figure.subplots()
    shares = [[n / max(sum(row), 1) for n in row] for row in matrix]
    # What was right in blue, by its share of the row; mistakes in red, by their share of the most frequent one.
    worst = max((s for i, row in enumerate(shares) for j, s in enumerate(row) if i != j), default=0.0) or 1.0
    colors = [
        [
            (1 - s, 1 - 0.6 * s, 1.0) if i == j else (1.0, 1 - 0.6 * s / worst, 1 - 0.6 * s / worst)
            for j, s in enumerate(row)
        ]
        for i, row in enumerate(shares)
    ]
    axes.imshow(colors)
    for i, row in enumerate(matrix):
        for j, n in enumerate(row):
            if n:
                dark = i == j and shares[i][j] > 0.5
                axes.text(j, i, n, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if title:
        axes.set_title(title)
    _write(figure, path)
