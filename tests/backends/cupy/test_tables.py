from __future__ import annotations

import gc
import re

import numpy as np
import pytest
from xnn.backends import to_host
from xnn.backends.cupy.launch import KernelFile
from xnn.backends.cupy.source import SourceError, read_source
from xnn.backends.cupy.tables import Layout, RememberedByArrays
from xnn.backends.emulator import SanitizerError, emulation

ADD = """// y += factor x, for many arrays.
#include "tables.cuh"

extern "C" __global__ void __launch_bounds__(256) add(
    const __grid_constant__ Table table,  // const T* x, T* y, A* sums or null
    A factor) {
    const Part part = part_of_block(table);
    const T* x = part_pointer<const T, 0>(table, part);
    T* y = part_pointer<T, 1>(table, part);
    A* sums = part_pointer<A, 2>(table, part);
    visit_part(part.length, all_aligned(x, y), [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A a[N], b[N];
        load_as<N>(a, x + i);
        load_as<N>(b, y + i);
        for (int j = 0; j < N; j++) b[j] += factor * a[j];
        store_as<N>(y + i, b);
        if (sums != nullptr)
            for (int j = 0; j < N; j++) sums[i + j] = b[j];
    });
}
"""


@pytest.fixture
def add(tmp_path):
    path = tmp_path / "add.cu"
    path.write_text(ADD)
    return KernelFile(path)["add"]


def arrays(gpu, sizes, dtype="float32"):
    return [gpu.asarray(np.arange(n) % 17 + i, dtype=dtype) for i, n in enumerate(sizes)]


def launch(add, lists, part=64):
    count = 0
    for table in Layout(add, lists, part).tables(lists):
        add((table.blocks,), (256,), table=table, factor=2)
        count += 1
    return count


@pytest.mark.parametrize("part", [16, 64, 4096])
def test_every_element_is_visited_once(gpu, dtype, add, part):
    sizes = [0, 1, 16, 17, 64, 65, 130, 0, 5, 1000]
    xs, ys = (
        [gpu.asarray((np.arange(n) % 7 + i).astype(dtype)) for i, n in enumerate(sizes)] for _ in range(2)
    )
    assert launch(add, {"x": xs, "y": ys, "sums": None}, part) == 1
    for x, y in zip(xs, ys, strict=True):
        np.testing.assert_array_equal(to_host(y).astype("float64"), 3 * to_host(x).astype("float64"))


def test_as_many_launches_as_are_needed(gpu, add):
    sizes = [1 + i % 9 for i in range(500)]
    xs, ys = arrays(gpu, sizes), arrays(gpu, sizes)
    sums = [gpu.xp.empty_like(x) for x in xs]
    assert launch(add, {"sums": sums, "y": ys, "x": xs}) == 6  # 98 arrays in each
    for x, y, s in zip(xs, ys, sums, strict=True):
        np.testing.assert_array_equal(to_host(y), 3 * to_host(x))
        np.testing.assert_array_equal(to_host(s), to_host(y))
    ys = arrays(gpu, sizes)
    assert launch(add, {"x": xs, "y": ys, "sums": None}) == 5  # 123 without the third list


def test_only_empty_arrays(gpu, add):
    empty = arrays(gpu, [0, 0])
    assert launch(add, {"x": empty, "y": empty, "sums": None}) == 0


def test_other_arrays_in_a_list(gpu, add):
    xs, ys = arrays(gpu, [5, 70]), arrays(gpu, [5, 70])
    layout = Layout(add, {"x": ys, "y": ys, "sums": None}, 64)
    layout.set("x", xs)
    lists = {"x": xs, "y": ys, "sums": None}
    for table in layout.tables(lists):
        add((table.blocks,), (256,), table=table, factor=2)
    np.testing.assert_array_equal(to_host(ys[1]), 3 * to_host(xs[1]))
    with pytest.raises(ValueError, match="kernel add: x: expected 2 arrays, got 1"):
        layout.set("x", xs[:1])
    with pytest.raises(TypeError, match="kernel add: sums: expected arrays if they were given at first"):
        layout.set("sums", xs)


def test_errors_of_the_lists(gpu, add):
    xs, ys = arrays(gpu, [5, 6]), arrays(gpu, [5, 6])
    good = {"x": xs, "y": ys, "sums": None}

    def fails(error, message, **changes):
        with pytest.raises(error, match=re.escape(message)):
            Layout(add, {**good, **changes}, 64)

    fails(TypeError, "kernel add: expected the lists x, y, sums, got x, y, sums, z", z=xs)
    fails(TypeError, "kernel add: y: expected arrays if they were given at first, got None", y=None)
    fails(ValueError, "kernel add: y: expected 2 arrays, got 1", y=ys[:1])
    fails(ValueError, "kernel add: y[1]: expected 6 elements, got shape (7,)", y=[ys[0], *arrays(gpu, [7])])
    kind = type(xs[0]).__name__
    fails(
        TypeError,
        f"kernel add: y[1]: expected {kind} of float32, as [0] is, got {kind} of float64",
        y=[ys[0], *arrays(gpu, [6], "float64")],
    )
    fails(TypeError, "kernel add: y[1]: expected", y=[ys[0], np.zeros(6, np.float32)])
    fails(TypeError, "kernel add: expected CUDA arrays, got ndarray", x=[np.zeros(5), np.zeros(6)])
    wide = arrays(gpu, [12])[0][::2]
    fails(
        ValueError,
        "kernel add: y[1]: expected a C-contiguous array, got shape (6,) with strides (8,)",
        y=[ys[0], wide],
    )
    with pytest.raises(ValueError, match="kernel add: expected at least one array in table"):
        Layout(add, {"x": [], "y": [], "sums": None}, 64)
    if gpu.name == "emulated":
        ys[1].flags.writeable = False
        fails(ValueError, "kernel add: y[1]: the kernel writes into it, but the array is read-only")
        Layout(add, {**good, "x": ys, "y": xs}, 64)


def test_errors_of_the_launch(gpu, add):
    xs, ys = arrays(gpu, [5, 70]), arrays(gpu, [5, 70])
    lists = {"x": xs, "y": ys, "sums": None}
    (table,) = Layout(add, lists, 64).tables(lists)
    with pytest.raises(TypeError, match="kernel add: table: expected a Table, got list"):
        add((3,), (256,), table=xs, factor=2)
    with pytest.raises(
        ValueError, match=re.escape("kernel add: grid: expected the table's 3 blocks, got (2,)")
    ):
        add((2,), (256,), table=table, factor=2)
    lists = {"x": xs, "y": arrays(gpu, [5, 70], "float64"), "sums": None}
    (table,) = Layout(add, lists, 64).tables(lists)
    with pytest.raises(TypeError, match=re.escape("kernel add: y: expected T* = float32, got float64")):
        add((3,), (256,), table=table, factor=2)
    lists = {"x": xs, "y": ys, "sums": arrays(gpu, [5, 70], "float64")}
    (table,) = Layout(add, lists, 64).tables(lists)
    with pytest.raises(
        TypeError, match=re.escape("kernel add: sums: expected A* = float32 for T = float32, got float64")
    ):
        add((3,), (256,), table=table, factor=2)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "// const T* x, T* y, A* sums or null",
            "",
            "add.cu: add: expected the lists of arrays in a comment",
        ),
        ("T* y, A*", "T y, A*", "such as .* got 'T y'"),
        ("const T* x, T*", "const T* x or null, T*", "expected the lists that may be null behind the others"),
        (
            "    A factor)",
            "    A factor, const Table again,  // T* z\n    int n)",
            "expected a Table as the first parameter, and one only",
        ),
    ],
)
def test_errors_of_the_source(tmp_path, before, after, message):
    assert before in ADD
    path = tmp_path / "add.cu"
    path.write_text(ADD.replace(before, after, 1))
    with pytest.raises(SourceError, match=message):
        read_source(path)


def test_sanitizers_see_the_bounds_of_listed_arrays(gpu, tmp_path):
    """An index past the end of one array in a table is found, with the line."""
    if gpu.name != "emulated":
        pytest.skip("compute-sanitizer looks at the real device: ci/gpu")
    path = tmp_path / "add.cu"
    path.write_text(ADD.replace("visit_part(part.length,", "visit_part(part.length + 1,"))
    xs, ys = arrays(gpu, [5, 70]), arrays(gpu, [5, 70])
    with (
        emulation(sanitize="address,undefined"),
        pytest.raises(SanitizerError, match=r"heap-buffer-overflow \(read of size 4\) at \S*tables.cuh:\d+"),
    ):
        launch(KernelFile(path)["add"], {"x": xs, "y": ys, "sums": None})


def test_remembered_until_an_array_is_gone(gpu):
    xs = arrays(gpu, [3, 4])
    known: RememberedByArrays[int] = RememberedByArrays()
    found = iter(range(10))
    assert known.get("a", xs, lambda: next(found)) == 0
    assert known.get("a", xs, lambda: next(found)) == 0
    assert known.get("b", xs, lambda: next(found)) == 1
    assert known.get("a", xs[::-1], lambda: next(found)) == 2
    assert known.get("a", xs[:1], lambda: next(found)) == 3
    assert len(known) == 4
    xs.pop()
    gc.collect()
    assert len(known) == 1
