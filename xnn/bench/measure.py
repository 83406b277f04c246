"""Timing several functions against each other, fairly on a noisy machine. Every measurement of xnn is made here."""

from __future__ import annotations

import gc
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from xnn.backends import device
from xnn.backends.timing import HostMeter, Meter

__all__ = ["Candidate", "Quartiles", "Times", "alternate", "quartiles", "rotate"]


class Quartiles(NamedTuple):
    """The middle half of many numbers, and its median."""

    low: float
    median: float
    high: float


def quartiles(numbers: Sequence[float]) -> Quartiles:
    """The quartiles of at least one number."""
    if len(numbers) == 1:
        return Quartiles(numbers[0], numbers[0], numbers[0])
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Quartiles(low, median, high)


class Times(NamedTuple):
    """What `alternate` found for one function.

    Attributes:
        samples: seconds per call, one for each round.
        relative: each of them divided by that of the first function in the same round.
    """

    samples: tuple[float, ...]
    relative: tuple[float, ...]

    @property
    def seconds(self) -> Quartiles:
        """Per call."""
        return quartiles(self.samples)

    @property
    def median(self) -> float:
        """Seconds per call."""
        return self.seconds.median

    @property
    def ratio(self) -> Quartiles:
        """To the first function: the median over rounds, which a machine that slows down now and then does not move."""
        return quartiles(self.relative)


class Candidate(NamedTuple):
    """A function to time, and what must hold around it (for example `xnn.backends.without_kernels`)."""

    call: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


def alternate(
    functions: Mapping[str, Callable[[], object] | Candidate],
    *,
    meter: Meter | None = None,
    rounds: int = 30,
    seconds_per_round: float = 0.03,
    seconds: float = float("inf"),
) -> dict[str, Times]:
    """Time ``functions`` in turn, A B A B ..., so that a change of the machine's speed hits all of them alike.

    Each gets as many calls a round as fill ``seconds_per_round``. Two calls, which also warm up (kernels are compiled,
    memory is taken), and one round are not counted.

    Args:
        functions: by name. What they return is thrown away.
        meter: of the device on which they run; the host's steady clock by default.
        rounds: how many are counted.
        seconds_per_round: for one function.
        seconds: for all rounds of all functions together; fewer are made, but at least 3, if more would take longer.
    """
    meter = HostMeter(device("cpu")) if meter is None else meter
    candidates = {n: f if isinstance(f, Candidate) else Candidate(f) for n, f in functions.items()}
    batches: dict[str, Callable[[], None]] = {}
    calls: dict[str, int] = {}
    a_round = 0.0
    for name, candidate in candidates.items():
        with candidate.around():
            meter.seconds(candidate.call)
            one = meter.seconds(candidate.call)
        calls[name] = max(1, int(seconds_per_round / max(one, 1e-7)))
        batches[name] = _repeat(candidate.call, calls[name])
        a_round += one * calls[name]
    if a_round > 0:
        rounds = int(max(min(rounds, 3), min(rounds, seconds / a_round - 1)))
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()  # what is there already is not looked at after each round
    gc.disable()
    try:
        for round_ in range(rounds + 1):
            for name, candidate in candidates.items():
                with candidate.around():
                    took = meter.seconds(batches[name])
                if round_:
                    samples[name].append(took / calls[name])
            gc.collect()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    base = next(iter(samples.values()))
    return {
        name: Times(tuple(own), tuple(t / max(b, 1e-12) for t, b in zip(own, base, strict=True)))
        for name, own in samples.items()
    }


def _repeat(function: Callable[[], object], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            function()

    return run


def rotate(functions: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """A function that runs the next of ``functions`` whenever it is called: each has its own input, so that the caches
    hold the input of another."""
    if len(functions) == 1:
        return functions[0]
    following = itertools.cycle(functions).__next__
    return lambda: following()()
