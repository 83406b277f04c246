"""The roofline: what is reached, under what the device can do. Williams, Waterman, Patterson, "Roofline: an insightful
visual performance model for multicore architectures", CACM 52 (2009)."""

from __future__ import annotations

import os
from typing import Any

from xnn.bench.report import Report, Row
from xnn.bench.table import engineering
from xnn.training.plots import _figure, _write

__all__ = ["roofline"]

_COLORS = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#7f7f7f",
)
_MARKERS = ("o", "s", "^", "D")
_DASHES = ("-", "--", "-.", ":")


def roofline(report: Report, path: str | os.PathLike[str]) -> None:
    """Draw, for each device, arithmetic intensity (operations per byte) against the rate reached.

    The lines are the measured ceilings: the slope is what a copy moves, the level what a matrix product computes. A
    point on its line cannot be made faster. Full marks are xnn's best (the kernel where there is one), hollow ones
    PyTorch's.

    Args:
        report: with at least one row that has both bytes and operations.
        path: of the PNG file.

    Raises:
        ValueError: there is no such row.
    """
    devices = [name for name in report.devices if _points(report, name)]
    if not devices:
        raise ValueError("roofline: expected results of operations, got none with both bytes and operations")
    names = list(dict.fromkeys(row.name for row in report.rows if row.bytes))
    figure = _figure(10.5, 5.6 * len(devices))
    for axes, device in zip(figure.subplots(len(devices), 1, squeeze=False)[:, 0], devices, strict=True):
        _draw(axes, report, device, names)
    _write(figure, path)


def _points(report: Report, device: str) -> list[Row]:
    """What is drawn: the first variant measured of each group, and PyTorch."""
    rows, seen = [], set()
    for row in report.rows:
        if row.device != device or not row.bytes or not row.operations or not row.rate:
            continue
        group = (row.name, row.case, row.dtype, row.work)
        if group not in seen or row.variant == "PyTorch":
            rows.append(row)
        seen.add(group)
    return rows


def _draw(axes: Any, report: Report, device: str, names: list[str]) -> None:
    info, points = report.devices[device], _points(report, device)
    ceilings = info.ceilings
    intensity = [row.operations / row.bytes for row in points if row.operations and row.bytes]
    left, right = min(intensity) / 2.5, max(intensity) * 2.5
    rates = {
        d: r for d, r in ceilings.rates.items() if any(row.dtype == d for row in points)
    } or ceilings.rates
    if rates:
        right = max(right, 3 * max(rates.values()) / ceilings.bandwidth)
    top = max(rates.values(), default=ceilings.bandwidth * right)
    axes.plot([left, top / ceilings.bandwidth], [left * ceilings.bandwidth, top], color="black", lw=1.6)
    bandwidth = f"copy {engineering(ceilings.bandwidth, 'B/s')}"
    middle = (left * top / ceilings.bandwidth) ** 0.5
    axes.annotate(
        bandwidth,
        (middle, middle * ceilings.bandwidth),
        (-8, 2),
        textcoords="offset points",
        fontsize=8,
        ha="right",
    )
    for dash, (dtype, rate) in zip(_DASHES * 2, rates.items(), strict=False):
        axes.plot([rate / ceilings.bandwidth, right], [rate, rate], color="black", lw=1.6, ls=dash)
        text = f"matrix product {dtype} {engineering(rate, 'op/s')}"
        axes.annotate(
            text, (right, rate), (-4, 4), textcoords="offset points", fontsize=8, ha="right", va="bottom"
        )
    works = list(dict.fromkeys(row.work for row in points))
    for row in points:
        color, marker = (
            _COLORS[names.index(row.name) % len(_COLORS)],
            _MARKERS[works.index(row.work) % len(_MARKERS)],
        )
        own = row.variant != "PyTorch"
        axes.plot(
            [(row.operations or 0) / (row.bytes or 1)], [row.rate], marker, ms=7 if own else 6, mec=color, mew=1.3,
            mfc=color if own else "none", alpha=0.85, ls="none",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_xlabel("operations per byte moved")
    axes.set_ylabel("operations per second")
    axes.set_title(f"{device}: {info.description}\n{report.date[:10]}", fontsize=9)
    axes.grid(alpha=0.3, which="major")
    drawn = [name for name in names if any(row.name == name for row in points)]

    def sign(label: str, color: str = "dimgray", marker: str = "o", fill: bool = True) -> Any:
        from matplotlib.lines import Line2D

        face = color if fill else "none"
        return Line2D([], [], ls="none", marker=marker, color=color, mfc=face, label=label)

    handles = [sign(n, _COLORS[names.index(n) % len(_COLORS)]) for n in drawn]
    handles += [sign(w, marker=_MARKERS[i % len(_MARKERS)]) for i, w in enumerate(works)]
    if any(row.variant == "PyTorch" for row in points):
        handles += [sign("xnn"), sign("PyTorch", fill=False)]
    axes.legend(handles=handles, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
