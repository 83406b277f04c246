"""Timing several functions against each other, fairly on a noisy machine."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Times(NamedTuple):
    """Seconds per call.

    Attributes:
        median: of all rounds.
        ratio: the median over rounds of this function's time divided by that of the first function in the same round.
        low, high: the quartiles of these ratios.
    """

    median: float
    ratio: float
    low: float
    high: float


def alternate(
    functions: Mapping[str, Callable[[], object]], *, rounds: int = 30, seconds_per_round: float = 0.03
) -> dict[str, Times]:
    """Time ``functions`` in turn, A B A B ..., so that a change of the machine's speed hits all of them alike.

    Each gets as many calls a round as fill ``seconds_per_round``, and one round that is not counted.
    """
    calls = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        function()
        calls[name] = max(1, int(seconds_per_round / max(time.perf_counter() - start, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in functions}
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for round_ in range(rounds + 1):
            for name, function in functions.items():
                start = time.perf_counter()
                for _ in range(calls[name]):
                    function()
                if round_:
                    times[name].append((time.perf_counter() - start) / calls[name])
            gc.collect()
    finally:
        if was_enabled:
            gc.enable()
    base = next(iter(times.values()))
    result = {}
    for name, of_this in times.items():
        ratios = [t / b for t, b in zip(of_this, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        result[name] = Times(statistics.median(of_this), middle, low, high)
    return result
