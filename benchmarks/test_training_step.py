"""Whole training steps through the public interface, against PyTorch, on every device found and on the same threads."""

from __future__ import annotations

import functools

import pytest
from xnn.backends import devices
from xnn.backends.timing import meter_of

from xnn.bench.operations import Bench
from xnn.bench.session import open_bench
from xnn.bench.steps import STEPS, fits, measure_step

DEVICES = {report.name: report.device for report in devices() if report.device is not None}


@functools.cache
def _bench(device: str) -> Bench:
    return open_bench(meter_of(DEVICES[device]), ["float32"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("step", STEPS, ids=[f"{step.name}, {step.case}" for step in STEPS])
def test_step(step, device: str, record) -> None:
    bench = _bench(device)
    if not fits(bench, step):
        pytest.skip("too large for this device")
    ours, *theirs = measure_step(bench, step)
    bench.release()
    for row in theirs:
        assert not row.note, row.note  # the same work: the same loss
        print(
            f"\n{step.name}, {step.case}: {row.variant} takes {{1:.2f}} of xnn's time ({{0:.2f}} to {{2:.2f}})".format(
                *row.relative
            )
        )
    record(
        ours.samples,
        samples_per_second=ours.samples_per_second,
        relative={row.variant: row.relative for row in theirs},
    )
