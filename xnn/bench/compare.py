"""Two result files side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xnn.bench.report import Report, Row
from xnn.bench.table import describe, seconds_text, text_table

__all__ = ["Change", "changes", "comparison"]


class Change(NamedTuple):
    """The same row of two files.

    Attributes:
        before, after: with a measured time both.
    """

    before: Row
    after: Row

    @property
    def ratio(self) -> float:
        """The later median over the earlier."""
        return _seconds(self.after)[1] / _seconds(self.before)[1]

    @property
    def range(self) -> tuple[float, float]:
        """The ratio between quartiles at its least and at its most."""
        before, after = _seconds(self.before), _seconds(self.after)
        return after[0] / before[2], after[2] / before[0]

    @property
    def verdict(self) -> str:
        """``"faster"`` or ``"slower"``, or ``"same"`` where the quartiles of both overlap: that much is noise."""
        least, most = self.range
        return "faster" if most < 1.0 else "slower" if least > 1.0 else "same"


def _seconds(row: Row) -> tuple[float, float, float]:
    median = row.seconds or float("nan")
    return row.low or median, median, row.high or median


def changes(before: Report, after: Report) -> tuple[list[Change], list[Row], list[Row]]:
    """The rows of both, the largest change first, and the measured rows that only one of them has.

    Rows belong together if device, operation, size, dtype, direction and variant are the same. If each file is of one
    device, the two devices are compared even if they are not the same.
    """
    across = len(before.devices) == 1 and len(after.devices) == 1

    def measured(report: Report) -> dict[tuple[str, ...], Row]:
        return {(*row.key, "" if across else row.device): row for row in report.rows if row.seconds}

    old, new = measured(before), measured(after)
    both = [Change(old[key], new[key]) for key in old if key in new]
    both.sort(key=lambda change: max(change.ratio, 1 / change.ratio), reverse=True)
    return both, [old[k] for k in old if k not in new], [new[k] for k in new if k not in old]


def comparison(before: Report, after: Report) -> str:
    """The changes as text."""
    both, only_before, only_after = changes(before, after)
    lines = []
    for change in both:
        old, new = change
        least, most = change.range
        lines.append(
            [
                *(old.name, old.case, old.dtype, old.work, old.variant),
                *(
                    _times(old),
                    _times(new),
                    f"{change.ratio:.2f}",
                    f"{least:.2f} - {most:.2f}",
                    change.verdict,
                ),
            ]
        )
    parts = [f"before\n{_indented(describe(before))}", f"after\n{_indented(describe(after))}"]
    if lines:
        header = ["", "size", "dtype", "pass", "by", "before", "after", "ratio", "quartiles", ""]
        parts.append(text_table(header, lines, left=5))
    counts = {verdict: sum(c.verdict == verdict for c in both) for verdict in ("faster", "slower", "same")}
    parts.append(
        f"{len(both)} rows compared: {counts['faster']} faster, {counts['slower']} slower, {counts['same']} the same "
        "within their quartiles"
    )
    for report in (before, after):
        parts += [f"note: {note}" for note in report.notes if "not quiet" in note]
    for which, rows in (("before", only_before), ("after", only_after)):
        if rows:
            parts.append(f"only {which}: {len(rows)} rows, {_names(rows)}")
    return "\n\n".join(parts)


def _times(row: Row) -> str:
    return seconds_text(row.seconds)


def _names(rows: Sequence[Row]) -> str:
    names = dict.fromkeys(f"{row.name} {row.case}" for row in rows)
    first = list(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
