"""Which values an option may have."""

from __future__ import annotations

import math
import numbers
from typing import Any, NamedTuple, TypeAlias


class Interval(NamedTuple):
    """The numbers from ``low`` on, up to ``high``."""

    low: float
    high: float
    closed: bool = False

    def has(self, x: float) -> bool:
        """Whether ``x`` is one of them."""
        return self.low <= x < self.high or (self.closed and x == self.high)

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "to be a number"
        if self.high == math.inf:
            return ">= 0"
        return f"in [{self.low:g}, {self.high:g}{']' if self.closed else ')'}"


Limits: TypeAlias = Interval | tuple[Interval, ...]
"""The range of a number, or a tuple of the ranges of several."""

ANY = Interval(-math.inf, math.inf)
NON_NEGATIVE = Interval(0, math.inf, closed=True)
FRACTION = Interval(0, 1)
CLOSED_FRACTION = Interval(0, 1, closed=True)


def checked(owner: str, name: str, value: Any, limits: Limits) -> Any:
    """``value`` as a Python float or a tuple of them, or ValueError.

    A NumPy scalar would carry its own dtype into the arithmetic; a Python float takes that of the array.
    """
    if not isinstance(limits, Interval):
        if not isinstance(value, (tuple, list)) or len(value) != len(limits):
            raise ValueError(f"{owner}: expected {len(limits)} numbers as {name}, got {value!r}")
        pairs = enumerate(zip(value, limits, strict=True))
        return tuple(checked(owner, f"{name}[{i}]", v, interval) for i, (v, interval) in pairs)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not limits.has(float(value)):
        raise ValueError(f"{owner}: expected {name} {limits}, got {value!r}")
    return float(value)
