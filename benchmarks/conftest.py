"""What the suites share: two threads for everyone, and one way to measure, that of xnn.bench.

pytest-benchmark draws the tables, keeps the files and compares them. It does not time anything itself: it is given the
times that xnn.bench measured, by a clock that stands still but for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

# Before any library is loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "2")

import pytest  # noqa: E402


class Recorded:
    """A timer whose time passes by what it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def play(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now = seconds  # the timer was read as 0 before


_clock = Recorded()


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=_clock))


@pytest.fixture
def record(benchmark) -> Callable[..., None]:
    """Hand the measured times of one function, and what else is to be kept, to pytest-benchmark."""

    def record(samples: Iterable[float], **extra: object) -> None:
        benchmark.extra_info.update(extra)
        times = list(samples)
        remaining = iter(times)

        def next_round() -> tuple[tuple[float], dict[str, object]]:
            _clock.now = 0.0
            return (next(remaining),), {}

        benchmark.pedantic(_clock.play, setup=next_round, rounds=len(times))

    return record
