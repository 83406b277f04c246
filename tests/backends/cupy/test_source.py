from __future__ import annotations

import pytest
from xnn.backends.cupy.source import DIRECTORY, SourceError, options, read_source

GOOD = """#include "common.cuh"

using Index = XNN_INDEX;  // int, long long
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SIZE = sizeof(T);

// A comment that says __global__ is none.
extern "C" __global__ void __launch_bounds__(THREADS, 2) gather(
    const T* __restrict__ x,  // rows * columns: the table (all of it)
    const Index* index,       // 2 * (rows - 1), or null
    A* y,                     // rows
    long long rows, int columns, A scale, bool flag) {
    y[0] = 0;
}

extern "C" __global__ void plain(
    T* y,  // n
    int n) {}
"""


def read(tmp_path, text):
    path = tmp_path / "gather.cu"
    path.write_text(text)
    return read_source(path)


def test_what_is_read(tmp_path):
    source = read(tmp_path, GOOD)
    assert source.name == "gather"
    assert source.types == {
        "T": ("float16", "bfloat16", "float32", "float64"),
        "Index": ("int32", "int64"),
    }
    assert source.constants["THREADS"] == 256
    assert source.constants["WARPS"] == 8
    assert "SIZE" not in source.constants
    gather = source.signatures["gather"]
    assert gather.max_threads == 256
    assert source.signatures["plain"].max_threads == 1024
    x, index, y, rows, columns, scale, flag = gather.parameters
    assert (x.type, x.pointer, x.constant, x.optional, x.size) == ("T", True, True, False, "rows * columns")
    assert (index.type, index.optional, index.size) == ("Index", True, "2 * (rows - 1)")
    assert (y.type, y.constant) == ("A", False)
    assert [p.type for p in (rows, columns, scale, flag)] == ["long long", "int", "A", "bool"]
    assert len(source.variants()) == 8
    assert options({"T": "float16", "Index": "int64"}) == ("-DXNN_INDEX=long long", "-DXNN_T=__half")


def test_own_headers_are_inlined_once_and_lines_keep_their_numbers(tmp_path):
    (tmp_path / "more.cuh").write_text('#pragma once\n#include "common.cuh"\nint more;\n')
    source = read(tmp_path, '#include "common.cuh"\n#include "more.cuh"\n#include <cuda_fp16.h>\nint here;\n')
    assert source.code.count("using A = acc_t<T>;") == 1
    assert '#include "' not in source.code
    assert "#include <cuda_fp16.h>" in source.code
    line = name = None
    at = {}
    for text in source.code.splitlines():
        if text.startswith("#line"):
            _, line, name = text.split()
            line = int(line)
            continue
        at[text] = (name.strip('"'), line)
        line += 1
    assert at["int here;"] == ("gather.cu", 4)
    assert at["int more;"] == ("more.cuh", 3)
    common = (DIRECTORY / "common.cuh").read_text().splitlines()
    assert at["using A = acc_t<T>;"] == ("common.cuh", common.index("using A = acc_t<T>;") + 1)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("// rows * columns: the table (all of it)", "", "expected the number of elements in a comment"),
        ("// rows * columns:", "// rows * width:", "the size of x, 'rows \\* width', names width"),
        ("// rows * columns:", "// rows ** columns:", "expected a formula of parameters"),
        ("// rows * columns:", "// as many as there are:", "expected a formula of parameters"),
        ("int columns", "int grid", "the launch call uses the name 'grid'"),
        ("int columns", "int columns[3]", "expected 'type name' or 'type\\* name'"),
        ("// int, long long", "", "expected 'using Index = XNN_INDEX;"),
        ("// int, long long", "// int, int64_t", "expected 'using Index = XNN_INDEX;"),
        ("XNN_INDEX", "XNN_I", "expected 'using Index = XNN_INDEX;"),
        ('extern "C" __global__ void plain', "__global__ void plain", "expected every kernel to begin with"),
        ("__launch_bounds__(THREADS, 2)", "__launch_bounds__(MANY)", "a constexpr int in __launch_bounds__"),
        ('"common.cuh"', '"uncommon.cuh"', "gather.cu:1: there is no file 'uncommon.cuh'"),
    ],
)
def test_another_form_is_refused(tmp_path, before, after, message):
    assert before in GOOD
    with pytest.raises(SourceError, match=message):
        read(tmp_path, GOOD.replace(before, after, 1))


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.cu")), ids=lambda p: p.stem)
def test_every_kernel_file_reads(path):
    source = read_source(path)
    assert source.signatures
    assert "T" in source.types
    assert path.with_suffix(".py").exists()
    assert source.code.startswith(f'#line 1 "{path.name}"\n//'), (
        "a kernel's file begins with what it does and why"
    )
