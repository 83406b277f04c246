from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from xnn.backends.numpy import memory

SETTINGS = (
    "XNN_MALLOC",
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
)


class Library:
    """The C library, as far as it is asked; refuses values above ``largest`` as older glibc does."""

    def __init__(self, largest: int = 1 << 31) -> None:
        self.calls: list[tuple[int, int]] = []
        self.largest = largest

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return int(parameter != -3 or value <= self.largest)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    library = Library()
    monkeypatch.setattr(memory, "_is_glibc", lambda: True)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    return library


def test_raises_both_thresholds(library):
    assert memory.keep_freed_memory()
    assert library.calls == [(-3, 256 << 20), (-1, 1 << 30)]


def test_older_glibc_takes_no_more_than_32_mib(library):
    library.largest = 32 << 20
    assert memory.keep_freed_memory()
    assert library.calls == [(-3, 256 << 20), (-3, 32 << 20), (-1, 1 << 30)]


def test_nothing_is_done_by_halves(library):
    library.largest = 0
    assert not memory.keep_freed_memory()
    assert -1 not in [parameter for parameter, _ in library.calls]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("XNN_MALLOC", "system"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1"),
        *((n, "1") for n in SETTINGS[2:]),
    ],
)
def test_the_environment_has_the_last_word(library, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not memory.keep_freed_memory()
    assert library.calls == []


@pytest.mark.parametrize("answer", ["musl 1.2", None, ValueError(), OSError()])
def test_other_c_libraries(monkeypatch, answer):
    def confstr(name: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(memory.os, "confstr", confstr, raising=False)
    assert not memory.keep_freed_memory()


def test_windows(monkeypatch):
    monkeypatch.delattr(memory.os, "confstr", raising=False)
    assert not memory.keep_freed_memory()


def test_without_mallopt(library, monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()


FAULTS = """
import resource, numpy as np, xnn
x = xnn.Tensor(np.ones(1 << 20))
def step():
    y = x
    for _ in range(4):
        y = y * 2.0
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not memory._is_glibc(), reason="only glibc has these thresholds")
def test_page_faults_stop():
    """Counted, not timed: 20 temporaries of 8 MiB are 40960 pages of 4 KiB if each is mapped afresh."""
    clean = {k: v for k, v in os.environ.items() if k not in SETTINGS}

    def faults(**setting: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS],
            capture_output=True,
            text=True,
            env={**clean, **setting},
            check=True,
        )
        return int(done.stdout)

    with_thresholds, without = faults(), faults(MALLOC_MMAP_THRESHOLD_="131072")
    assert with_thresholds < 2000
    assert without > 4 * with_thresholds
