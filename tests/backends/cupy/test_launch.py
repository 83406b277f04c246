from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
from xnn.backends.cupy import launch
from xnn.backends.cupy.launch import KernelFile, ceil_div, register_runtime

SOURCE = """#include "common.cuh"
using Index = XNN_INDEX;  // int, long long

extern "C" __global__ void __launch_bounds__(256) gather(
    const T* x,          // n
    const Index* index,  // m
    const A* scale,      // 1, or null
    T* y,                // m
    long long n, int m, A plus, bool twice) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < m; i += blockDim.x * gridDim.x)
        y[i] = narrow(widen(x[index[i]]) * (scale ? *scale : A(1)) * A(twice ? 2 : 1) + plus);
}

extern "C" __global__ void numbers(
    const T* x,  // 1
    unsigned count, unsigned char byte, T value) {}
"""


class Fake:
    """A runtime that keeps what it is asked to do."""

    null = "null"

    def __init__(self):
        self.compiled, self.launched, self.inside = [], [], []

    def device(self, array):
        return getattr(array, "place", 0)

    def compile(self, code, options, device):
        self.compiled.append((options, device))
        return self

    def get_function(self, name):
        class Function:
            max_dynamic_shared_size_bytes = 0

            def __call__(function, grid, block, args, *, shared_mem):
                self.launched.append(
                    (name, grid, block, args, shared_mem, function.max_dynamic_shared_size_bytes)
                )

        return Function()

    @contextlib.contextmanager
    def current(self, device):
        self.inside.append(device)
        yield

    def max_shared_memory(self, device):
        return 200_000


class FakeArray(np.ndarray):
    place = 0


@pytest.fixture
def runtime():
    fake = Fake()
    register_runtime(FakeArray, fake)
    yield fake
    del launch._runtimes[FakeArray]


@pytest.fixture
def kernels(tmp_path):
    path = tmp_path / "gather.cu"
    path.write_text(SOURCE)
    return KernelFile(path)


def fake(values, dtype=np.float32):
    return np.asarray(values, dtype=dtype).view(FakeArray)


def arguments(**changes):
    given = {
        "x": fake(np.zeros(5)), "index": fake([1, 2, 0], np.int64), "scale": None, "y": fake(np.zeros(3)),
        "n": 5, "m": 3, "plus": 0.5, "twice": True,
    }  # fmt: skip
    return {**given, **changes}


def test_exact_scalars_reach_the_kernel(runtime, kernels):
    kernels["gather"]((1,), (32,), **arguments(plus=1))
    ((name, grid, block, args, shared, _),) = runtime.launched
    assert (name, grid, block, shared) == ("gather", (1, 1, 1), (32, 1, 1), 0)
    assert [type(a) for a in args[4:]] == [np.int64, np.int32, np.float32, np.bool_]
    assert args[2] is runtime.null  # for both ways to a launch, below
    kernels["gather"]((1,), (32,), **arguments(plus=1))
    assert runtime.launched[1][3][2] is runtime.null
    assert runtime.compiled == [(("-DXNN_INDEX=long long", "-DXNN_T=float"), 0)]


def test_accumulator_and_types_follow_the_arrays(runtime, kernels):
    y64 = {"x": fake(np.zeros(5), np.float64), "y": fake(np.zeros(3), np.float64)}
    kernels["gather"]((1,), (32,), **arguments(**y64, scale=fake([2], np.float64)))
    kernels["gather"]((1,), (32,), **arguments(index=fake([1, 2, 0], np.int32)))
    assert type(runtime.launched[0][3][6]) is np.float64
    assert [options for options, _ in runtime.compiled] == [
        ("-DXNN_INDEX=long long", "-DXNN_T=double"),
        ("-DXNN_INDEX=int", "-DXNN_T=float"),
    ]


def not_contiguous():
    return fake(np.zeros(10))[::2]


def read_only():
    y = fake(np.zeros(3))
    y.flags.writeable = False
    return y


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [1.0] * 5}, TypeError, "x: expected a CUDA array, got list"),
        ({"x": np.zeros(5, np.float32)}, TypeError, "x: expected a CUDA array, got ndarray"),
        ({"x": None}, TypeError, "x: expected an array, got None"),
        ({"x": fake(np.zeros(4))}, ValueError, r"x: expected n = 5 elements, got shape \(4,\)"),
        ({"x": fake(np.zeros(5), np.int32)}, TypeError, r"x: expected T\* with T of float16.*, got int32"),
        ({"y": fake(np.zeros(3), np.float16)}, TypeError, r"y: expected T\* = float32, got float16"),
        (
            {"index": fake([1, 2, 0], np.int16)},
            TypeError,
            r"index: expected Index\* with Index of int32, int64",
        ),
        (
            {"scale": fake([1], np.float64)},
            TypeError,
            r"scale: expected A\* = float32 for T = float32, got float64",
        ),
        (
            {"x": not_contiguous()},
            ValueError,
            r"x: expected a C-contiguous array, got shape \(5,\) with strides \(8,\)",
        ),
        ({"y": read_only()}, ValueError, "y: the kernel writes into it, but the array is read-only"),
        ({"m": 3.0}, TypeError, "m: expected an integer, got float 3.0"),
        ({"plus": "1"}, TypeError, "plus: expected a number, got str '1'"),
        ({"plus": 1e39}, ValueError, r"plus: expected a number within float32, got 1e\+39"),
        ({"twice": 1}, TypeError, "twice: expected a bool, got int 1"),
    ],
)
def test_wrong_arguments(runtime, kernels, changes, error, message):
    with pytest.raises(error, match=f"kernel gather: {message}"):
        kernels["gather"]((1,), (32,), **arguments(**changes))
    assert not runtime.launched
    kernels["gather"]((1,), (32,), **arguments())
    with pytest.raises(
        error, match=f"kernel gather: {message}"
    ):  # the short way of a second launch sees it too
        kernels["gather"]((1,), (32,), **arguments(**changes))
    assert len(runtime.launched) == 1


def test_numbers_that_do_not_fit(runtime, kernels):
    numbers = kernels["numbers"]
    for changes, limits in (
        ({"count": 2**32}, r"count: expected unsigned in \[0, 4294967295\], got 4294967296"),
        ({"count": -1}, "count: expected unsigned in"),
        ({"byte": 256}, r"byte: expected unsigned char in \[0, 255\], got 256"),
    ):
        with pytest.raises(ValueError, match=limits):
            numbers(
                (1,),
                (1,),
                x=fake([0]),
                types={"Index": "int32"},
                **{"count": 1, "byte": 1, "value": 1, **changes},
            )
    with pytest.raises(TypeError, match="count: expected an integer, got bool True"):
        numbers((1,), (1,), x=fake([0]), count=True, byte=1, value=1, types={"Index": "int32"})
    numbers((1,), (1,), x=fake([0], np.float16), count=1, byte=1, value=np.inf, types={"Index": "int32"})
    assert type(runtime.launched[0][3][3]) is np.float16


def test_names(runtime, kernels):
    given = arguments(minus=1)
    del given["plus"]
    with pytest.raises(TypeError, match=r"gather: expected x, index, .*; missing: plus; unknown: minus"):
        kernels["gather"]((1,), (32,), **given)
    with pytest.raises(KeyError, match=r"gather\.cu has no kernel 'scatter'; it has gather, numbers"):
        kernels["scatter"]
    with pytest.raises(TypeError, match="to say which type Index is"):
        kernels["numbers"]((1,), (1,), x=fake([0]), count=1, byte=1, value=1)


def test_arrays_on_two_devices(runtime, kernels):
    far = fake(np.zeros(3))
    far.place = 1
    for _ in range(2):
        with pytest.raises(ValueError, match="y: expected an array on the device of 'x', 0, got one on 1"):
            kernels["gather"]((1,), (32,), **arguments(y=far))
        kernels["gather"]((1,), (32,), **arguments())


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((2**31,), (1,), "grid.x: expected 0 to 2147483647"),
        ((1, 65536), (1,), "grid.y: expected 0 to 65535"),
        ((1, 1, 65536), (1,), "grid.z: expected 0 to 65535"),
        ((-1,), (1,), "grid.x"),
        ((1, 1, 1, 1), (1,), "grid: expected one to three numbers"),
        ((1,), (257,), "block: expected 1 to 256 threads"),
        ((1,), (32, 16), "block: expected 1 to 256 threads"),
        ((1,), (0,), "block: expected 1 to 256 threads"),
        ((1,), (1, 1, 65), "block.z: expected 0 to 64"),
    ],
)
def test_limits_of_a_launch(runtime, kernels, grid, block, message):
    for _ in range(2):
        with pytest.raises(ValueError, match=f"kernel gather: {message}"):
            kernels["gather"](grid, block, **arguments())
        kernels["gather"]((1,), (32,), **arguments())
    assert [args[4] for _, _, _, args, _, _ in runtime.launched] == [5, 5]


def test_nothing_to_do(runtime, kernels):
    kernels["gather"]((0,), (32,), **arguments(index=fake([], np.int64), y=fake([]), m=0))
    assert not runtime.launched
    assert not runtime.compiled
    for _ in range(2):
        kernels["gather"]((1,), (32,), **arguments())
    kernels["gather"]((0,), (32,), **arguments())
    assert len(runtime.launched) == 2


def test_shared_memory_that_may_pass_48_kib_with_static_variables_is_asked_for(runtime, kernels):
    kernels["gather"]((1,), (32,), **arguments(), shared_memory=48 * 1024)
    kernels["gather"]((1,), (32,), **arguments(), shared_memory=40_000)
    assert [allowed for *_, allowed in runtime.launched] == [48 * 1024, 48 * 1024]


def test_shared_memory_past_48_kib_is_asked_for(runtime, kernels):
    for shared in (1000, 50_000, 60_000, 55_000):
        kernels["gather"]((1,), (32,), **arguments(), shared_memory=shared)
    assert [(shared, allowed) for *_, shared, allowed in runtime.launched] == [
        (1000, 0), (50_000, 50_000), (60_000, 60_000), (55_000, 60_000),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="shared_memory: expected at most 200000 bytes"):
        kernels["gather"]((1,), (32,), **arguments(), shared_memory=200_001)


def test_compiled_once_for_each_device_by_however_many_threads(runtime, kernels):
    places = [0, 1] * 4
    barrier = threading.Barrier(len(places))

    def work(place):
        given = arguments()
        for a in given.values():
            if isinstance(a, FakeArray):
                a.place = place
        barrier.wait()
        kernels["gather"]((1,), (32,), **given)

    threads = [threading.Thread(target=work, args=(p,)) for p in places]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(device for _, device in runtime.compiled) == [0, 1]
    assert len(runtime.launched) == 8
    assert set(runtime.inside) == {0, 1}


def test_it_runs(gpu, dtype, kernels, rng):
    x = rng.normal(size=50).astype(dtype)
    index = rng.integers(0, 50, 70)
    y = gpu.asarray(np.zeros(70, dtype))
    kernels["gather"](
        (ceil_div(70, 32),), (32,), x=gpu.asarray(x), index=gpu.asarray(index), scale=None, y=y, n=50, m=70,
        plus=0.0, twice=True,
    )  # fmt: skip
    got = np.asarray(y.get() if hasattr(y, "get") else y)
    np.testing.assert_array_equal(got.astype(np.float64), 2 * x[index].astype(np.float64))
