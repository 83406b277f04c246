"""Launches under AddressSanitizer and UndefinedBehaviorSanitizer, or ThreadSanitizer: each in a process of its own.

The arrays go to the process in a file and come back in another, so that a crash harms nobody. A report comes back as a
SanitizerError that names the lines of the kernel.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xnn.backends.emulator.compiler import Shared
from xnn.backends.emulator.arguments import Struct, owner_address
from xnn.backends.emulator.errors import (
    KernelError,
    LaunchConfigurationError,
    SanitizerError,
    SanitizerUnavailable,
)

MAX_BYTES = 2**30
_ALIGNMENT = 256  # of program.cpp

_ENVIRONMENT = {
    # The emulator's own signal handler and leak checks have no place here; a fault ends the process at once.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_thread_leaks=0:history_size=4",
}


def run_program(
    path: Path, words: Sequence[str], sanitize: str, timeout: float | None = 60
) -> subprocess.CompletedProcess[str]:
    """Run a program built with a sanitizer; SanitizerUnavailable if the sanitizer itself does not start."""
    environment = {**os.environ, **_ENVIRONMENT}
    environment.pop("LD_PRELOAD", None)
    command = [str(path), *words]
    done = None
    for prefix in ([], _without_randomization()):
        if done is not None and not prefix:
            break
        done = subprocess.run(
            [*prefix, *command],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            timeout=timeout,
        )
        if not re.search(
            r"FATAL: \w+Sanitizer|ReserveShadowMemoryRange failed|Shadow memory range", done.stderr
        ):
            return done
    assert done is not None
    raise SanitizerUnavailable(
        f"-fsanitize={sanitize} does not start on this machine: {done.stderr.strip()[:400]}\n"
        "Old sanitizers cannot cope with much randomness in addresses. As root: sysctl vm.mmap_rnd_bits=28"
    )


def _without_randomization() -> list[str]:
    setarch = shutil.which("setarch")
    return [setarch, "-R"] if setarch else []


def launch(
    kernel: str,
    path: Path,
    shared_variables: Shared,
    number: int,
    sanitize: str,
    arguments: Sequence[Any],
    grid: Sequence[int],
    block: Sequence[int],
    shared: int,
    blocks: np.ndarray | None,
    thread_order: int,
    seed: int,
    timeout: float,
) -> None:
    """Run a kernel under a sanitizer; arrays get their results, or an error is raised."""
    buffers, places = _buffers(kernel, arguments)
    count = int(np.prod(grid, dtype=object)) if blocks is None else len(blocks)
    with tempfile.TemporaryDirectory() as scratch:
        request, answer = Path(scratch) / "request", Path(scratch) / "answer"
        with open(request, "wb") as out:
            out.write(_numbers(number, shared, seed, *grid, *block, thread_order, count, blocks is not None))
            out.write(_numbers(len(buffers), len(arguments)))
            out.write(_numbers(shared_variables.anchor, len(shared_variables.ranges)))
            out.write(_numbers(*itertools.chain.from_iterable(shared_variables.ranges)))
            if blocks is not None:
                out.write(blocks.tobytes())
            for begin, memory in buffers:
                out.write(_numbers(len(memory), begin % _ALIGNMENT))
                out.write(memory)
            for i, a in enumerate(arguments):
                if isinstance(a, np.ndarray):
                    out.write(_numbers(0, *places[i]))
                elif a is None:
                    out.write(_numbers(1, 0, 0))
                elif isinstance(a, Struct):
                    out.write(_numbers(3, len(a), len(a.pointers)) + a)
                    for at, _ in a.pointers:
                        out.write(_numbers(at, *places[i, at]))
                else:
                    out.write(_numbers(2, len(a), 0) + a)
        try:
            done = run_program(path, [str(request), str(answer)], sanitize, timeout)
        except subprocess.TimeoutExpired:
            raise KernelError(
                f"{kernel}: did not end within {timeout} s under -fsanitize={sanitize}"
            ) from None
        sys.stdout.write(done.stdout)
        if done.returncode == 3:
            raise KernelError(f"{kernel}: {done.stderr}")
        if done.returncode:
            raise _report(kernel, done.stderr, done.returncode)
        raw = answer.read_bytes()
    offset = 0
    results = []
    for _, memory in buffers:
        results.append(raw[offset : offset + len(memory)])
        offset += len(memory)
    for key, a in _arrays(arguments):
        if a.flags.writeable:
            b, begin = places[key]
            a[...] = np.frombuffer(results[b][begin : begin + a.nbytes], a.dtype).reshape(a.shape)


def _numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *map(int, values))


def _arrays(arguments: Sequence[Any]) -> Iterator[tuple[Any, np.ndarray]]:
    """All arrays, with the number of the argument; and of those in a struct also the byte where the address stands."""
    for i, a in enumerate(arguments):
        if isinstance(a, np.ndarray):
            yield i, a
        elif isinstance(a, Struct):
            for at, x in a.pointers:
                yield (i, at), x


def _buffers(
    kernel: str, arguments: Sequence[Any]
) -> tuple[list[tuple[int, bytes]], dict[Any, tuple[int, int]]]:
    """The memory of the arrays, overlapping ones together: (place relative to the owner, bytes), and who lies where."""
    arrays = [(a.ctypes.data, a.nbytes, key, a) for key, a in _arrays(arguments)]
    if sum(n for _, n, _, _ in arrays) > MAX_BYTES:
        raise LaunchConfigurationError(
            f"{kernel}: under a sanitizer the arrays are copied, {MAX_BYTES >> 20} MiB at most; "
            "use smaller shapes, or no sanitizer"
        )
    buffers: list[tuple[int, bytearray]] = []
    places = {}
    end = -1
    for address, size, i, a in sorted(arrays, key=lambda entry: entry[:2]):
        if not buffers or address >= end or size == 0:
            buffers.append((address - owner_address(a), bytearray()))
            base, end = address, address
        buffer = buffers[-1][1]
        if address + size > end:
            buffer += a.reshape(-1).view(np.uint8)[end - address :].tobytes()
            end = address + size
        places[i] = (len(buffers) - 1, address - base)
    return [(begin, bytes(memory)) for begin, memory in buffers], places


_FRAME = re.compile(r"^\s*#\d+ .*?(\S+?:\d+)(?::\d+)?(?: \(.*\))?$")


def _frame(lines: Sequence[str]) -> str:
    """The first line of the kernel's own source in a stack of a report."""
    for line in lines:
        match = _FRAME.match(line)
        if match and not re.search(
            r"xnn_emulator|engine\.cpp|program\.cpp|lib\w+san|name_expressions", match[1]
        ):
            return match[1]
        if not line.strip():
            break
    return ""


def _report(kernel: str, text: str, code: int) -> Exception:
    """A sanitizer's report in one line, with the whole of it below."""
    lines = text.split("\n")
    where = ""
    if match := re.search(r"(?m)^xnn-emulator: (.*)$", text):
        where = f" in {match[1]}"
    for i, line in enumerate(lines):
        if match := re.match(r"(\S+?:\d+)(?::\d+)?: runtime error: (.*)", line):
            location, what = match[1], match[2]
            if "xnn_emulator/" in location:  # in a header of the emulator: the kernel's line is further out
                location = _frame(lines[i + 1 :]) or location
            return SanitizerError(f"{kernel}: {what} at {location}{where}\n{text}", text, location)
        if match := re.search(r"ERROR: AddressSanitizer:? (\S+)", line):
            access = next(
                (m for m in (re.match(r"(READ|WRITE) of size \d+", x) for x in lines[i:]) if m), None
            )
            location = _frame(lines[i + 1 + (access is not None) :])
            what = f"{match[1]} ({access[0].lower()})" if access else match[1]
            return SanitizerError(
                f"{kernel}: {what} at {location or 'an unknown line'}{where}\n{text}", text, location
            )
        if "WARNING: ThreadSanitizer: " in line:
            what = re.sub(r" \(pid=.*", "", line.partition("ThreadSanitizer: ")[2])
            accesses = []
            for j in range(i + 1, len(lines)):
                match = re.match(
                    r"\s+(?:Previous )?((?:atomic )?\w+) of size (\d+) at \S+ by (.*):", lines[j], re.I
                )
                if match:
                    number = re.search(r"thread (T\d+)", match[3])
                    by = re.search(rf"Thread {number[1]} '([^']*)'", text) if number else None
                    place = _frame(lines[j + 1 :])
                    accesses.append((place, f"{match[1].lower()} at {place} by {by[1] if by else match[3]}"))
            locations = [a for a, _ in accesses if a]
            told = "; ".join(b for _, b in accesses)
            return SanitizerError(
                f"{kernel}: {what}: {told}\n{text}", text, locations[0] if locations else ""
            )
    return KernelError(f"{kernel}: the process of the launch ended with code {code}{where}:\n{text}")
