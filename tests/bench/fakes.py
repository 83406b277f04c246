"""A device whose clock the tests turn, and operations small enough to measure in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xnn.backends.registry import Case, Registered, Work
from xnn.backends.timing import HostMeter

import xnn
from xnn.bench.cases import Subject
from xnn.bench.ceilings import Ceilings
from xnn.bench.inputs import random_array
from xnn.bench.operations import Bench

CEILINGS = Ceilings(1e9, {"float32": 1e10, "float64": 5e9}, 1 << 20, {"float32": 256, "float64": 256})


class FakeMeter(HostMeter):
    """Time passes when a function says so (`spend`), and with each operation by a microsecond."""

    def __init__(self, device: Any = None, backend: str = "numpy") -> None:
        super().__init__(xnn.device("cpu") if device is None else device)
        self.now, self.backend, self.released = 0.0, backend, 0

    def spend(self, seconds: float) -> None:
        self.now += seconds

    def seconds(self, run: Callable[[], object]) -> float:
        before = self.now
        run()
        self.now += 1e-6
        return self.now - before

    def cache_bytes(self) -> int:
        return 4096

    def free_bytes(self) -> int:
        return 1 << 24

    def release(self) -> None:
        self.released += 1


@xnn.op
def twice(x):
    return x + x, lambda dy: 2 * dy


def twice_case(n: int = 256, backward: bool = True) -> Case:
    return Case(
        f"{n}",
        lambda device, dtype: ((random_array(device, (n,), dtype),), {}),
        lambda itemsize: Work(2 * n * itemsize, n),
        (lambda itemsize: Work(2 * n * itemsize, n)) if backward else None,
    )


def subject(kernel: Callable[..., Any] | None = None, *cases: Case) -> Subject:
    """`twice`, with a kernel for ``backend="fake"``."""
    cases = cases or (twice_case(),)
    entries = () if kernel is None else (Registered(twice, "fake", kernel, ("float32",), 0, cases),)
    return Subject("twice", twice, entries, cases)


def bench(meter: FakeMeter | None = None, **options: Any) -> Bench:
    meter = FakeMeter() if meter is None else meter
    return Bench(meter, CEILINGS, **{"rounds": 4, "seconds_per_round": 1e-5, **options})
