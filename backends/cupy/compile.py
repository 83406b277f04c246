"""Compile every kernel for every dtype and architecture, without a GPU, exactly as CuPy does when it runs them.

    python -m xnn.backends.cupy.compile                     everything, compared with kernels/RESOURCES.csv
    python -m xnn.backends.cupy.compile --update            the same, and rewrite the table (or rows of one file)
    python -m xnn.backends.cupy.compile softmax --arch 90   one file for one architecture: the quick check while writing

It needs CuPy 14, NVRTC and the CUDA headers, three packages of pip, and no driver. ``ci/kernels`` installs them.

Fails where a kernel does not compile, spills registers to memory, or does double arithmetic though its dtype is
another (``x * 0.1`` for ``x * 0.1f``); and where the registers, shared memory or stack that a kernel takes are not
those of the table in the repository, so that a change is seen by whoever makes it.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xnn.backends.cupy.source import DIRECTORY, options, read_source

__all__ = ["ARCHITECTURES", "Resources", "compile_kernels", "main"]

TABLE = DIRECTORY / "RESOURCES.csv"

ARCHITECTURES = {12: (70, 80, 90, 100, 120), 13: (80, 90, 100, 120)}
"""For each major version of CUDA, the compute capabilities that are compiled for. CUDA 13 has dropped 7.0."""


class Resources(NamedTuple):
    """What a kernel takes, as the compiler says."""

    kernel: str
    types: str
    arch: int
    registers: int
    shared: int
    stack: int
    spilled: int


class Job(NamedTuple):
    """A file to be compiled for a choice of its types and an architecture."""

    path: Path
    types: tuple[tuple[str, str], ...]
    arch: int

    def __str__(self) -> str:
        return f"{self.path.name} {_shown(self.types)} sm_{self.arch}"


class Failure(NamedTuple):
    """A file that does not compile, or compiles to what it should not."""

    job: str
    log: str


def compile_like_cupy(code: str, arch: int, given: Sequence[str]) -> str:
    """The compiler's log of ``cupy.RawModule(code=code, options=given)`` on a GPU of the architecture.

    These are private parts of CuPy 14: its public function asks the GPU for the architecture, and there is none.

    Raises:
        Exception: it does not compile; the message is the compiler's.
    """
    from cupy._core import core
    from cupy.cuda import compiler

    all_options = (
        *core.assemble_cupy_compiler_options(tuple(given)),
        *("-ftz=true", f"-arch=sm_{arch}", "--device-as-default-execution-space"),
        *("-Xptxas", "-v", "-Xptxas", "-warn-spills", "-Xptxas", "-warn-double-usage"),
    )
    log = io.StringIO()
    compiler._NVRTCProgram(code, "kernel.cu", method="cubin").compile(all_options, log)
    return log.getvalue()


def run(job: Job) -> list[Resources] | Failure:
    """Compile one job and read the log."""
    source = read_source(job.path)
    try:
        log = compile_like_cupy(source.code, job.arch, options(dict(job.types)))
    except Exception as error:  # CompileException, or whatever a broken installation raises
        return Failure(str(job), str(error))
    found = _read_log(log, _shown(job.types), job.arch)
    if {r.kernel for r in found} != set(source.signatures):
        return Failure(
            str(job), f"expected the compiler's report of {', '.join(source.signatures)}, got:\n{log}"
        )
    wrong = [f"{r.kernel} spills {r.spilled} bytes" for r in found if r.spilled]
    if "float64" not in dict(job.types).values() and re.search(r"[Dd]ouble", log):
        wrong.append(
            f"double arithmetic, as in x * 0.1 for x * 0.1f ({len(re.findall('[Dd]ouble', log))} instructions)"
        )
    return Failure(str(job), "\n".join(wrong)) if wrong else found


def _read_log(log: str, types: str, arch: int) -> list[Resources]:
    found = []
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.partition("'")[0]

        def number(pattern: str, part: str = part) -> int:
            match = re.search(pattern, part)
            return int(match[1]) if match else 0

        spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
        found.append(
            Resources(
                name,
                types,
                arch,
                number(r"Used (\d+) registers"),
                number(r"(\d+) bytes smem"),
                number(r"(\d+) bytes stack frame"),
                spilled,
            )
        )
    return found


def _shown(types: tuple[tuple[str, str], ...]) -> str:
    return " ".join(dtype for _, dtype in types)


def compile_kernels(paths: Sequence[Path], archs: Sequence[int], processes: int | None = None) -> Any:
    """Compile in parallel. Returns the resources of all kernels and the failures."""
    jobs = [
        Job(path, tuple(types.items()), arch)
        for path in paths
        for types in read_source(path).variants()
        for arch in archs
    ]
    with multiprocessing.Pool(processes) as pool:
        results = pool.map(run, jobs, chunksize=1)
    failures = [r for r in results if isinstance(r, Failure)]
    return [row for r in results if not isinstance(r, Failure) for row in r], failures


def _read_table() -> dict[str, list[Resources]]:
    """The rows of the table for each version of CUDA."""
    table: dict[str, list[Resources]] = {}
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            for cuda, kernel, types, *numbers in list(csv.reader(file))[1:]:
                table.setdefault(cuda, []).append(Resources(kernel, types, *map(int, numbers)))
    return table


def _write_table(table: dict[str, list[Resources]]) -> None:
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("cuda", *Resources._fields))
        for cuda in sorted(table):
            writer.writerows((cuda, *row) for row in sorted(table[cuda]))


def _print(rows: Sequence[Resources]) -> None:
    """One line a kernel and choice of types, one column an architecture."""
    archs = sorted({r.arch for r in rows})
    by_kernel: dict[tuple[str, str], dict[int, Resources]] = {}
    for r in rows:
        by_kernel.setdefault((r.kernel, r.types), {})[r.arch] = r
    width = max(len(f"{kernel} {types}") for kernel, types in by_kernel)
    print("registers / bytes of shared memory (+ bytes of stack)")
    print(" " * width, *(f"{f'sm_{a}':>11}" for a in archs))
    for (kernel, types), of in sorted(by_kernel.items()):
        cells = [
            f"{r.registers} / {r.shared}" + (f" +{r.stack}" if r.stack else "") if r else "-"
            for r in map(of.get, archs)
        ]
        print(f"{kernel} {types}".ljust(width), *(f"{cell:>11}" for cell in cells))


def _differences(want: Sequence[Resources], got: Sequence[Resources]) -> list[str]:
    before, now = ({r[:3]: r for r in rows} for rows in (want, got))
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new:
            lines += [f"{sign} {','.join(map(str, row))}" for sign, row in (("-", old), ("+", new)) if row]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", help=".cu files or their names; all in kernels/ by default")
    parser.add_argument("--arch", help="compute capabilities, for example 80,90")
    parser.add_argument("--update", action="store_true", help=f"rewrite {TABLE.name}")
    parser.add_argument("--processes", type=int, help="how many to compile with; one a core by default")
    given = parser.parse_args(argv)

    from cupy.cuda import nvrtc

    major, minor = nvrtc.getVersion()
    cuda = f"{major}.{minor}"
    archs = tuple(map(int, given.arch.split(","))) if given.arch else ARCHITECTURES[major]
    names = [Path(f) if f.endswith(".cu") else DIRECTORY / f"{f}.cu" for f in given.files]
    rows, failures = compile_kernels(names or sorted(DIRECTORY.glob("*.cu")), archs, given.processes)
    for failure in failures:
        print(f"\n{failure.job}\n{failure.log}", file=sys.stderr)
    if rows:
        print(f"CUDA {cuda}")
        _print(rows)
    if failures:
        print(f"\n{len(failures)} of the compilations failed, see above", file=sys.stderr)
        return 1
    table = _read_table()
    if given.update and not given.arch:
        compiled = {r.kernel for r in rows}
        others = [r for r in table.get(cuda, ()) if names and r.kernel not in compiled]
        table = {c: r for c, r in table.items() if c.partition(".")[0] != str(major)}
        _write_table({**table, cuda: others + rows})
        return 0
    if names or given.arch:
        return 0
    if cuda not in table:
        known = ", ".join(table) or "none"
        print(
            f"\n{TABLE.name} has no rows of CUDA {cuda} (it has {known}): run again with --update",
            file=sys.stderr,
        )
        return 1
    lines = _differences(table[cuda], rows)
    if lines:
        print(f"\n{TABLE.name} (-) and what the compiler says (+) differ:", *lines, sep="\n", file=sys.stderr)
        print("If this is meant, run `ci/kernels --update` and commit the table.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
