"""What ci/kernels reads and says. That kernels compile is checked there: it takes the CUDA compiler."""

from __future__ import annotations

from xnn.backends.cupy import compile as check
from xnn.backends.cupy.compile import Failure, Job, Resources
from xnn.backends.cupy.source import DIRECTORY, read_source

LOG = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
    8 bytes stack frame, {spill} bytes spill stores, 0 bytes spill loads
ptxas info    : Used 37 registers, used 1 barriers, 384 bytes smem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers
{more}
"""
DOUBLE = "ptxas application ptx input, line 48; warning : Program is doing double precision computations."


def compiled(monkeypatch, tmp_path, log, dtype="float32"):
    path = tmp_path / "k.cu"
    path.write_text(
        '#include "common.cuh"\n'
        + "".join(
            f'extern "C" __global__ void {name}(\n    T* x,  // n\n    int n) {{}}\n'
            for name in ("one", "two")
        )
    )
    monkeypatch.setattr(check, "compile_like_cupy", lambda code, arch, options: log)
    return check.run(Job(path, (("T", dtype),), 90))


def test_the_log_is_read(monkeypatch, tmp_path):
    rows = compiled(monkeypatch, tmp_path, LOG.format(spill=0, more=""))
    assert rows == [
        Resources("one", "float32", 90, 37, 384, 8, 0),
        Resources("two", "float32", 90, 14, 0, 0, 0),
    ]


def test_spills_and_double_arithmetic_fail(monkeypatch, tmp_path):
    failure = compiled(monkeypatch, tmp_path, LOG.format(spill=24, more=""))
    assert failure == Failure("k.cu float32 sm_90", "one spills 24 bytes")
    failure = compiled(monkeypatch, tmp_path, LOG.format(spill=0, more=DOUBLE))
    assert "double" in failure.log
    assert isinstance(compiled(monkeypatch, tmp_path, LOG.format(spill=0, more=DOUBLE), "float64"), list)


def test_a_kernel_without_a_report_fails(monkeypatch, tmp_path):
    failure = compiled(monkeypatch, tmp_path, LOG.format(spill=0, more="").replace("'two'", "'three'"))
    assert failure.log.startswith("expected the compiler's report of one, two")


def test_the_difference_is_shown():
    old = [Resources("one", "float32", 90, 37, 0, 0, 0), Resources("gone", "float32", 90, 5, 0, 0, 0)]
    new = [Resources("one", "float32", 90, 40, 0, 0, 0)]
    assert check._differences(old, old) == []
    assert check._differences(old, new) == [
        "- gone,float32,90,5,0,0,0",
        "- one,float32,90,37,0,0,0",
        "+ one,float32,90,40,0,0,0",
    ]


def test_the_table_has_every_kernel():
    """A new kernel without its rows is seen here already, before ci/kernels."""
    want = {
        (kernel, " ".join(types.values()))
        for path in DIRECTORY.glob("*.cu")
        for source in [read_source(path)]
        for types in source.variants()
        for kernel in source.signatures
    }
    for cuda, rows in check._read_table().items():
        archs = check.ARCHITECTURES[int(cuda.partition(".")[0])]
        got = {(r.kernel, r.types, r.arch) for r in rows}
        assert got == {(*w, arch) for w in want for arch in archs}, f"run ci/kernels --update ({cuda})"
