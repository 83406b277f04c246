"""A whole run: ceilings, operations and training steps on every device that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xnn.backends import Device, device, devices
from xnn.backends.peers import PyTorch, Unavailable
from xnn.backends.timing import Meter, meter_of
from xnn.bench.cases import Subject, choose, subjects
from xnn.bench.ceilings import measure_ceilings
from xnn.bench.operations import Bench, measure_subjects
from xnn.bench.report import Report
from xnn.bench.steps import STEPS, Step, measure_steps

__all__ = ["find_devices", "open_bench", "run"]

DTYPES = ("float16", "bfloat16", "float32", "float64")
_LARGE = 512 << 20  # bytes that a case moves on a processor, whose memory is slow
_QUICK = 24 << 20
_MANY_TIMES_THE_CACHE = 64


def find_devices(spec: str) -> tuple[list[Device], list[str]]:
    """The devices that ``"all"``, or names separated by commas, mean; and notes on those that are not usable.

    Raises:
        DeviceError: a device that is named is not usable, or there is no such device.
    """
    if spec == "all":
        reports = devices()
        notes = [f"{r.name} was not measured: {r.description}" for r in reports if r.device is None]
        return [r.device for r in reports if r.device is not None], notes
    found = [device(name.strip()) for name in spec.split(",")]
    return list(dict.fromkeys(found)), []


def open_bench(
    meter: Meter, dtypes: Sequence[str], *, quick: bool = False, peer: bool = True, compiled: bool = False
) -> Bench:
    """Measure the ceilings of a device and make ready to measure under them."""
    ceilings = measure_ceilings(meter, dtypes, seconds=0.3 if quick else 2.0)
    bench = Bench(meter, ceilings, compiled=compiled)
    # What a copy moves in some tens of milliseconds, so that a slow device is not busy for minutes with one case.
    bench.largest = max(_LARGE, _MANY_TIMES_THE_CACHE * meter.cache_bytes(), 0.04 * ceilings.bandwidth)
    if quick:
        bench.rounds, bench.seconds_per_round, bench.seconds, bench.largest = 5, 0.005, 0.5, _QUICK
    if peer:
        try:
            bench.peer = PyTorch(meter.device)
        except Unavailable as error:
            bench.note(f"no comparison with PyTorch on {meter.device}: {error}")
    return bench


def run(
    names: Sequence[str] = (),
    *,
    device: str = "all",
    dtypes: Sequence[str] = ("float32",),
    quick: bool = False,
    operations: bool = True,
    steps: bool = False,
    peer: bool = True,
    compiled: bool = False,
    among: Sequence[Subject] | None = None,
    trained: Sequence[Step] = STEPS,
    meter: Callable[[Device], Meter] = meter_of,
    progress: Callable[[str], None] = lambda text: None,
    save: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Measure. Interrupted (Ctrl-C), it returns what it has until then, with ``settings["interrupted"]``.

    Args:
        names: of operations, with wildcards; all by default.
        device: see `find_devices`.
        dtypes: of the inputs. What a device does not have is left out, and a note says so.
        quick: small cases and few rounds: a look, no result to keep.
        operations, steps: what to measure.
        peer: whether PyTorch is measured too, where it is installed.
        compiled: whether torch.compile is measured too. Its compiler takes a while for each case.
        among, trained: all there is to choose from.
        meter: makes the meter of a device.
        progress: is told what is measured next.
        save: gets the report as it is before each measurement, to keep it should the process be ended.

    Raises:
        ValueError: there is no operation of a name, or no such dtype.
        DeviceError: see `find_devices`.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise ValueError(f"bench: expected dtypes among {', '.join(DTYPES)}, got {dtype!r}")
    chosen = choose(names, subjects() if among is None else among)
    found, notes = find_devices(device)
    settings: dict[str, Any] = {
        "names": list(names), "device": device, "dtypes": list(dtypes), "quick": quick, "compiled": compiled,
    }  # fmt: skip
    report = Report.begin(**settings)
    report.notes += notes
    now = ""

    def next_is(text: str) -> None:
        nonlocal now
        now = text
        progress(text)
        save(report)

    try:
        for place in found:
            gauge = meter(place)
            next_is(f"{place}: ceilings")
            bench = open_bench(gauge, dtypes, quick=quick, peer=peer, compiled=compiled)
            report.add_device(place, gauge, bench.ceilings)
            if bench.peer is not None:
                report.versions["torch"] = bench.peer.version
            try:
                if operations:  # the rows are entered one by one, as they come
                    report.rows += measure_subjects(bench, chosen, dtypes, next_is)
                if steps:
                    report.rows += measure_steps(bench, trained, next_is)
            finally:
                report.notes += bench.notes
    except KeyboardInterrupt:
        report.settings["interrupted"] = True
        report.notes.append(f"Interrupted at {now}: that and what follows was not measured.")
    return report
