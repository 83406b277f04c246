"""Operations, their kernels and PyTorch's, on every device found: what ``xnn bench`` measures, one test for each size.

``XNN_BENCH_DTYPES=float32,float16`` chooses dtypes, ``XNN_BENCH_LARGEST=500`` the largest size in MB, ``-k softmax``
operations.
"""

from __future__ import annotations

import functools
import os

import pytest
from xnn.backends import devices
from xnn.backends.timing import meter_of

from xnn.bench.cases import subjects
from xnn.bench.operations import Bench, measure_case, usable_cases
from xnn.bench.session import open_bench

DTYPES = os.environ.get("XNN_BENCH_DTYPES", "float32").split(",")
DEVICES = {report.name: report.device for report in devices() if report.device is not None}
SUBJECTS = {subject.name: subject for subject in subjects()}
CASES = [(subject.name, case.label) for subject in SUBJECTS.values() for case in subject.cases]


@functools.cache
def _bench(device: str) -> Bench:
    bench = open_bench(meter_of(DEVICES[device]), DTYPES)
    if "XNN_BENCH_LARGEST" in os.environ:
        bench.largest = float(os.environ["XNN_BENCH_LARGEST"]) * 1e6
    return bench


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "label"), CASES, ids=[f"{name}-{label}" for name, label in CASES])
def test_operation(name: str, label: str, device: str, dtype: str, record) -> None:
    bench, subject = _bench(device), SUBJECTS[name]
    fitting = {case.label: case for case in usable_cases(bench, subject, dtype)}
    if label not in fitting:
        pytest.skip(next((n for n in bench.notes if label in n), f"{device} has no {dtype}"))
    rows = measure_case(bench, subject, fitting[label], dtype)
    bench.release()
    for row in rows:
        if row.seconds is not None:
            share = f"{100 * row.share:.0f} % of the ceiling" if row.share is not None else ""
            print(f"\n{row.work} {row.variant}: {row.seconds * 1e6:.1f} µs, {share} {row.note}", end="")
    measured = {f"{row.work}, {row.variant}": row for row in rows if row.seconds is not None}
    extra = {what: {"seconds": row.seconds, "share": row.share} for what, row in measured.items()}
    record(rows[0].samples, **extra)
