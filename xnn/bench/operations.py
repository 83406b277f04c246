"""Measuring an operation: its kernel, the operation itself and PyTorch, in turn and on the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from xnn.autodiff import _call_backward
from xnn.backends import Device, without_kernels
from xnn.backends.namespaces import Array
from xnn.backends.peers import PyTorch, Unavailable
from xnn.backends.registry import Case, Work
from xnn.backends.timing import Meter
from xnn.bench.cases import Subject
from xnn.bench.ceilings import Ceilings
from xnn.bench.inputs import copied, has_dtype, itemsize, nbytes, random_like
from xnn.bench.measure import Candidate, Times, alternate, rotate
from xnn.bench.report import Row

__all__ = ["Bench", "measure_case", "measure_subjects", "usable_cases"]

KERNEL, ORIGINAL, PYTORCH, COMPILED = "kernel", "original", "PyTorch", "torch.compile"

_DECLINED = "the kernel leaves this case to the operation"
_MAX_SETS = 16
_ROOM = 12  # arrays of the size of all inputs and results that a case takes at most, over all variants
_TOLERANCE = {"float16": 2e-2, "bfloat16": 6e-2, "float32": 1e-3, "float64": 1e-6}


@dataclass
class Bench:
    """How to measure on one device.

    Attributes:
        meter: of the device.
        ceilings: of the device.
        peer: PyTorch, or None.
        compiled: whether torch.compile is measured too.
        rounds, seconds_per_round, seconds: see `alternate`; for each comparison.
        largest: cases that move more bytes are left out.
    """

    meter: Meter
    ceilings: Ceilings
    peer: PyTorch | None = None
    compiled: bool = False
    rounds: int = 25
    seconds_per_round: float = 0.02
    seconds: float = 4.0
    largest: float = math.inf
    notes: list[str] = field(default_factory=list)

    @property
    def device(self) -> Device:
        """Where it is measured."""
        return self.meter.device

    def alternate(self, functions: Mapping[str, Callable[[], object] | Candidate]) -> dict[str, Times]:
        """Time the functions in turn."""
        return alternate(
            functions, meter=self.meter, rounds=self.rounds,
            seconds_per_round=self.seconds_per_round, seconds=self.seconds,
        )  # fmt: skip

    def too_long(self, work: Work, dtype: str) -> bool:
        """Whether even the device at its best would take more than a twentieth of the time there is."""
        return self.ceilings.least_seconds(work, dtype) > self.seconds / 20

    def note(self, text: str) -> None:
        """Say what the rows do not, once."""
        if text not in self.notes:
            self.notes.append(text)

    def release(self) -> None:
        """Free what was kept for the last case."""
        self.meter.release()
        if self.peer is not None:
            self.peer.release()


def measure_subjects(
    bench: Bench,
    subjects: Iterable[Subject],
    dtypes: Iterable[str],
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[Row]:
    """Measure all cases that fit, one after another."""
    dtypes = list(dtypes)
    for subject in subjects:
        for dtype in dtypes:
            for case in usable_cases(bench, subject, dtype):
                progress(f"{bench.device}: {subject.name}, {case.label}, {dtype}")
                yield from measure_case(bench, subject, case, dtype)
                bench.release()


def usable_cases(bench: Bench, subject: Subject, dtype: str) -> list[Case]:
    """The cases that are measured; why the others are not is entered in the notes. The smallest is."""
    if not has_dtype(bench.device, dtype):
        bench.note(f"{bench.device} has no {dtype}")
        return []
    work = {case.label: case.forward(itemsize(dtype)) for case in subject.cases}
    smallest = min(w.bytes for w in work.values())
    fitting = []
    for case in subject.cases:
        moved = work[case.label].bytes
        if moved > bench.meter.free_bytes() / _ROOM:
            reason = "no room"
        elif moved > max(bench.largest, smallest) or bench.too_long(work[case.label], dtype):
            reason = "too large"
        else:
            fitting.append(case)
            continue
        bench.note(f"{subject.name}, {case.label}, {dtype}: not measured on {bench.device}: {reason}")
    return fitting


@dataclass
class _Variant:
    """One implementation, with a call for each set of inputs.

    Attributes:
        name: KERNEL, ORIGINAL, ...
        forwards: give what ``backward_of`` needs.
        backward_of: of what a forward gave, and the number of its set, a call of the backward.
        around: what must hold while it runs.
        error: of the result, relative to the original's.
    """

    name: str
    forwards: list[Callable[[], Any]]
    backward_of: Callable[[Any, int], Callable[[], Any]]
    around: Callable[[], Any] = nullcontext
    error: float | None = None

    def backwards(self) -> list[Callable[[], Any]]:
        """Run each forward once and keep its backward."""
        with self.around():
            calls = [self.backward_of(forward(), i) for i, forward in enumerate(self.forwards)]
            calls[0]()
        return calls


class _Rows:
    """Makes the rows of one case."""

    def __init__(self, bench: Bench, subject: Subject, case: Case, dtype: str) -> None:
        self.bench = bench
        self.start = (bench.device.name, subject.name, case.label, dtype)

    def missing(self, work: str, name: str, reason: str | Exception) -> Row:
        """There is no such variant."""
        return Row(*self.start, work, name, note=reason if isinstance(reason, str) else _reason(reason))

    def time(
        self, work: str, formula: Work, calls: Mapping[str, Candidate], errors: Mapping[str, Any] = {}
    ) -> list[Row]:
        """Time them in turn."""
        times = self.bench.alternate(calls) if calls else {}
        rows = []
        for name, measured in times.items():
            row = Row(*self.start, work, name, error=errors.get(name))
            if row.error is not None and not row.error <= _TOLERANCE.get(row.dtype, 1e-6):
                row.note = f"differs from the original by {row.error:.1e}"
            rows.append(row.fill(measured, formula, self.bench.ceilings))
        return rows


def measure_case(bench: Bench, subject: Subject, case: Case, dtype: str) -> list[Row]:
    """All variants of one operation at one size: the first row is xnn's best, the kernel if there is one."""
    make, size = _Rows(bench, subject, case, dtype), itemsize(dtype)
    first = case.make(bench.device, dtype)
    if subject.is_rule:
        return _measure_rule(make, subject, first, case.forward(size))
    sets = [first, *(copied(bench.device, first) for _ in range(_sets(bench, first) - 1))]
    variants, missing = _variants(bench, subject, sets, dtype, backward=case.backward is not None)
    errors = {v.name: v.error for v in variants}
    calls = {v.name: Candidate(rotate(v.forwards), v.around) for v in variants}
    rows = make.time("forward", case.forward(size), calls, errors)
    rows += [make.missing("forward", *reason) for reason in missing.items()]
    if case.backward is None:
        return rows
    calls = {}
    for variant in variants:
        try:
            calls[variant.name] = Candidate(rotate(variant.backwards()), variant.around)
        except Exception as error:  # of whatever library; the others are measured all the same
            missing[variant.name] = error
    rows += make.time("backward", case.backward(size), calls, errors)
    return rows + [make.missing("backward", *reason) for reason in missing.items()]


def _variants(
    bench: Bench, subject: Subject, sets: list[Any], dtype: str, backward: bool
) -> tuple[list[_Variant], dict[str, str | Exception]]:
    """What there is to measure, and the reasons why the rest is not there."""
    device, operation = bench.device, subject.operation
    with without_kernels():
        expected, _ = operation.forward(*sets[0][0], **sets[0][1])
    gradients = [_gradient(device, expected, seed) if backward else None for seed in range(len(sets))]
    variants: list[_Variant] = []
    missing: dict[str, str | Exception] = {}

    def own(name: str, function: Callable[..., Any], around: Any = nullcontext) -> _Variant:
        def backward_of(result: Any, i: int) -> Callable[[], Any]:
            needs = [True] * len(sets[i][0])
            return lambda: _call_backward(result[1], gradients[i], needs)

        return _Variant(
            name, [partial(function, *args, **kwargs) for args, kwargs in sets], backward_of, around
        )

    entry = subject.kernel(bench.meter.backend, dtype)
    if entry is not None:
        kernel = own(KERNEL, entry.function)
        try:
            result = kernel.forwards[0]()
        except Exception as error:
            missing[KERNEL] = error
        else:
            if result is NotImplemented:
                missing[KERNEL] = _DECLINED
            else:
                kernel.error = _difference(device, result[0], expected)
                variants.append(kernel)
    variants.append(own(ORIGINAL, operation.forward, without_kernels))
    for name in (PYTORCH, COMPILED)[: 1 + bench.compiled] if bench.peer is not None else ():
        try:
            variants.append(_torch_variant(bench.peer, name, subject, sets, gradients, expected))
        except Exception as error:
            missing[name] = error
    return variants, missing


def _torch_variant(
    peer: Any, name: str, subject: Subject, sets: list[Any], gradients: list[Any], expected: Any
) -> _Variant:
    function = peer.function(subject.name, compiled=name == COMPILED)
    calls = [peer.call(subject.name, function, *arguments) for arguments in sets]
    variant = _Variant(
        name,
        [call for call, _ in calls],
        lambda y, i: peer.backward(y, _first(gradients[i]), calls[i][1]),
    )
    y = variant.forwards[0]()
    if "dropout" not in subject.name:  # which has random numbers of its own
        variant.error = peer.difference(y, _first(expected))
    return variant


def _measure_rule(make: _Rows, subject: Subject, given: Any, formula: Work) -> list[Row]:
    """The update of an optimizer. It is done in place, so every variant has arrays of its own."""
    bench = make.bench
    calls: dict[str, Candidate] = {}
    missing: dict[str, str | Exception] = {}
    entry = subject.kernel(bench.meter.backend, make.start[3])
    if entry is not None:
        args, options = copied(bench.device, given)
        update = partial(entry.function, *args, **options)
        try:
            declined = update() is NotImplemented
        except Exception as error:
            missing[KERNEL] = error
        else:
            if declined:
                missing[KERNEL] = _DECLINED
            else:
                calls[KERNEL] = Candidate(update)
    lists, keywords = copied(bench.device, given)

    def one_by_one() -> None:
        for param, grad, state in zip(*lists[:3], strict=True):
            subject.operation.update(param, grad, state, **keywords)

    calls[ORIGINAL] = Candidate(one_by_one, without_kernels)
    if bench.peer is not None:
        try:
            step = bench.peer.update(subject.name, *copied(bench.device, given))
            step()
            calls[PYTORCH] = Candidate(step)
        except Exception as error:
            missing[PYTORCH] = error
    return make.time("update", formula, calls) + [
        make.missing("update", *reason) for reason in missing.items()
    ]


def _sets(bench: Bench, first: Any) -> int:
    """So many sets of inputs that no cache holds all of them, as far as there is room."""
    size = max(nbytes(first), 1)
    needed = -(-2 * bench.meter.cache_bytes() // size)
    room = int(bench.meter.free_bytes() // (_ROOM * size))
    return max(1, min(needed, room, _MAX_SETS))


def _gradient(device: Device, y: Any, seed: int) -> Any:
    """A gradient of the result: random, of the first alone if there are several (the others are statistics)."""
    if type(y) is tuple:
        return (random_like(device, y[0], seed + 10), *map(device.xp.zeros_like, y[1:]))
    return random_like(device, y, seed + 10)


def _first(y: Any) -> Any:
    return y[0] if type(y) is tuple else y


def _difference(device: Device, y: Any, expected: Any) -> float:
    """‖y - expected‖ / ‖expected‖, of the first result."""
    y, expected = _first(y), _first(expected)
    xp = device.xp
    wide = xp.float64 if expected.dtype == xp.float64 else xp.float32
    y, expected = xp.astype(y, wide), xp.astype(expected, wide)

    def norm(a: Array) -> float:
        return math.sqrt(float(xp.sum(a * a)))

    return norm(y - expected) / max(norm(expected), 1e-30)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if isinstance(error, Unavailable) else f"{type(error).__name__}: {text}"[:200]
