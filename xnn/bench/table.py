"""Results as aligned text of at most 120 columns."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence

from xnn.bench.operations import COMPILED, ORIGINAL, PYTORCH
from xnn.bench.report import Report, Row

__all__ = ["describe", "engineering", "seconds_text", "table", "text_table"]

WIDTH = 120
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def engineering(number: float | None, unit: str) -> str:
    """Three digits and a prefix: ``"4.12 TB/s"``."""
    if number is None:
        return ""
    for size, prefix in _PREFIXES:
        if number >= 0.9995 * size:
            return f"{_digits(number / size)} {prefix}{unit}"
    return f"{_digits(number)} {unit}".rstrip()


def seconds_text(seconds: float | None) -> str:
    """``"12.3 µs"``."""
    if seconds is None:
        return ""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds * 1e9)} ns"


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Columns as wide as what is in them; the first ``left`` of them flush left, the others flush right.

    Columns in which nothing stands are left out.
    """
    body = [list(row) for row in rows]
    full = [i for i in range(len(header)) if i < left or any(row[i] for row in body)]
    lines = [[line[i] for i in full] for line in (list(header), *body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def describe(report: Report) -> str:
    """What was measured with, in a few lines."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    commit = f", commit {report.commit}" if report.commit else ""
    lines = [f"{report.date}{commit}", versions]
    for name, info in report.devices.items():
        lines.append(f"{name}: {info.description}")
        details = "; ".join(f"{what} {value}" for what, value in info.details.items())
        if details:
            lines.append(f"  {details}")
        ceilings = info.ceilings
        rates = ", ".join(
            f"{engineering(rate, 'op/s')} {dtype} ({ceilings.sizes.get(dtype, 0)} x {ceilings.sizes.get(dtype, 0)})"
            for dtype, rate in ceilings.rates.items()
        )
        lines.append(
            f"  ceilings: copy {engineering(ceilings.bandwidth, 'B/s')} ({ceilings.copied / 2**20:.0f} MiB); "
            f"matrix product {rates or 'not measured'}"
        )
    return "\n".join(lines)


def table(report: Report) -> str:
    """One line for each operation, size, dtype and direction, with the time of xnn's best and its speed-ups."""
    parts = []
    operations = [r for r in report.rows if r.work != "training step"]
    steps = [r for r in report.rows if r.work == "training step"]
    for device in report.devices:
        of_device = [r for r in operations if r.device == device]
        if of_device:
            parts.append(_operations(device, of_device))
        trained = [r for r in steps if r.device == device]
        if trained:
            parts.append(_steps(device, trained))
    notes = [*_joined(report.notes), *_notes(report.rows)]
    if notes:
        parts.append("\n".join(["notes", *(f"- {note}" for note in notes)]))
    return "\n\n".join(parts)


def _joined(notes: Sequence[str]) -> list[str]:
    """Notes that end alike (": no room") in one line."""
    by_end: dict[str, list[str]] = {}
    for note in notes:
        start, found, end = note.partition(": not measured on ")
        by_end.setdefault(found + end or note, []).append(start)
    result = []
    for end, starts in by_end.items():
        lines = textwrap.wrap("; ".join(starts) + (end if end.startswith(": ") else ""), WIDTH - 2)
        result.append("\n  ".join(lines))
    return result


def _groups(rows: Sequence[Row]) -> Iterable[list[Row]]:
    for _, group in itertools.groupby(rows, key=lambda r: (r.name, r.case, r.dtype, r.work)):
        yield list(group)


def _best(group: Sequence[Row]) -> Row:
    """The kernel's row if it was measured, else the original's."""
    return next((r for r in group if r.seconds is not None), group[0])


def _speedup(group: Sequence[Row], variant: str, best: Row) -> str:
    row = next((r for r in group if r.variant == variant), None)
    if row is None or row is best:
        return ""
    if row.relative is None:
        return "-"
    return f"{_digits(row.relative[1])}x" + ("!" if row.note else "")


def _operations(device: str, rows: Sequence[Row]) -> str:
    lines = []
    last: tuple[str, ...] = ()
    for group in _groups(rows):
        best = _best(group)
        start = (best.name, best.case, _SHORT.get(best.dtype, best.dtype))
        shown = tuple(cell if last[: i + 1] != start[: i + 1] else "" for i, cell in enumerate(start))
        last = start
        lines.append(
            [
                *shown,
                best.work,
                seconds_text(best.seconds) + ("!" if best.note else ""),
                _spread(best),
                engineering(best.bandwidth, ""),
                engineering(best.rate, ""),
                "" if best.share is None else f"{100 * best.share:.0f} %",
                *(_speedup(group, variant, best) for variant in (ORIGINAL, PYTORCH, COMPILED)),
            ]
        )
    header = [device, "size", "dtype", "pass", "time", "±", "B/s", "op/s", "roof", *_HEADS]
    return text_table(header, lines, left=4)


_SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}
_HEADS = ("/orig", "/torch", "/comp")


def _spread(row: Row) -> str:
    """Half of the distance between the quartiles, in percent of the median."""
    if row.seconds is None or row.low is None or row.high is None:
        return ""
    return f"{50 * (row.high - row.low) / row.seconds:.0f}%"


def _steps(device: str, rows: Sequence[Row]) -> str:
    lines = []
    for group in _groups(rows):
        best = _best(group)
        theirs = next((r for r in group if r.variant == PYTORCH), None)
        lines.append(
            [
                best.name,
                best.case,
                seconds_text(best.seconds),
                _spread(best),
                f"{best.samples_per_second or 0:,.0f}",
                engineering(best.rate, ""),
                "" if best.share is None else f"{100 * best.share:.0f} %",
                f"{theirs.samples_per_second:,.0f}" if theirs and theirs.samples_per_second else "",
                *(_speedup(group, variant, best) for variant in (PYTORCH, COMPILED)),
            ]
        )
    header = [
        *(f"{device}: training step", "", "time", "±", "samples/s", "op/s", "roof"),
        *("PyTorch's", "/torch", "/comp"),
    ]
    return text_table(header, lines, left=2)


def _notes(rows: Sequence[Row]) -> list[str]:
    """What rows have to say, each once with the operations that it is about."""
    about: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        if row.note:
            about.setdefault((row.variant, row.note), {})[f"{row.name} {row.case} {row.dtype}"] = None
    notes = []
    for (variant, note), names in about.items():
        first, *others = names
        more = f" and {len(others)} more" if others else ""
        notes.append(f"{variant}: {note} ({first}{more})")
    return notes
