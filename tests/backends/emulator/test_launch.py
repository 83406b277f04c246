"""What a launch is checked for, before anything runs; orders of blocks; chosen blocks; arrays beyond 2**31 elements."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from xnn.backends.emulator import (
    ArgumentError,
    CompileError,
    EmulatedModule,
    EmulatorError,
    KernelError,
    LaunchConfigurationError,
    emulation,
    sparse_array,
)

CODE = r"""
#include <cuda_fp16.h>
struct Options { int a; float b; };

extern "C" __global__ void many(const float* __restrict__ x, double* y, int n, long long big, float scale, bool flag,
                                unsigned char small, const __half* h, Options o) {
    if (threadIdx.x == 0) y[0] = double(n) + big + scale + flag + small + o.a + o.b + (x ? x[0] : 100.f);
}
extern "C" __global__ void wide(const float4* x, float2* y) {}
extern "C" __global__ void any(void* x) {}
extern "C" __global__ void __launch_bounds__(128) bounded(int* x) { if (threadIdx.x == 0) x[0] = blockDim.x; }
extern "C" __global__ void order(int* counter, int* when) {
    if (threadIdx.x == 0) when[blockIdx.x + gridDim.x * blockIdx.y] = atomicAdd(counter, 1);
}
extern "C" __global__ void thread_order(int* counter, int* when) { when[threadIdx.x] = atomicAdd(counter, 1); }
extern "C" __global__ void shared(int* y) { extern __shared__ int s[]; s[threadIdx.x] = 1; y[0] = s[0]; }
extern "C" __global__ void both(int* y) {
    __shared__ float kept[1024]; extern __shared__ int s[]; kept[threadIdx.x] = 1; __syncthreads(); y[0] = s[0] + int(kept[3]);
}
extern "C" __global__ void fill_int(float* y, long long n) {   // wrong beyond 2**31 elements
    int i = int(blockIdx.x) * 1024 + threadIdx.x;
    if (i < n) y[i] = 1.f;
}
extern "C" __global__ void fill_long(float* y, long long n) {
    long long i = blockIdx.x * 1024ll + threadIdx.x;
    if (i < n) y[i] = 1.f;
}
"""
MODULE = EmulatedModule(CODE, filename="launch.cu")


class Options(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_float))


def kernel(name):
    return MODULE.get_function(name)


def arguments(**changes):
    given = {
        "x": np.ones(4, np.float32),
        "y": np.zeros(2),
        "n": np.int32(1),
        "big": np.int64(2**40),
        "scale": np.float32(0.5),
        "flag": np.bool_(True),
        "small": np.uint8(7),
        "h": np.ones(2, np.float16),
        "o": Options(10, 0.25),
    }
    return tuple({**given, **changes}.values())


def test_all_kinds_of_arguments():
    args = arguments()
    kernel("many")((1,), (32,), args)
    assert args[1][0] == 1 + 2**40 + 0.5 + 1 + 7 + 10.25 + 1
    args = arguments(x=None, n=ctypes.c_int(3), big=ctypes.c_longlong(0), flag=ctypes.c_bool(False))
    kernel("many")((1,), (32,), args)
    assert args[1][0] == 3 + 0.5 + 7 + 10.25 + 100


FLOAT64, COLUMNS = np.ones(4), np.ones((4, 4), np.float32)
READ_ONLY = np.zeros(2)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": FLOAT64},
            r"parameter 0 \(const float\* x\): expected an array of float32, got one of float64",
        ),
        (
            {"h": np.ones(2, np.uint16)},
            r"parameter 7 \(const __half\* h\): expected an array of float16, got one of uint16",
        ),
        ({"x": np.float32(1)}, r"x\): expected an array of float32, or None, got float32"),
        ({"x": [1.0]}, r"x\): expected an array of float32, or None, got list"),
        (
            {"x": COLUMNS[:, 0]},
            r"x\): expected a C-contiguous array .*, got shape \(4,\) with strides \(16,\)",
        ),
        ({"x": COLUMNS.T[1:]}, r"x\): expected a C-contiguous array .*shape \(3, 4\)"),
        ({"x": np.broadcast_to(np.float32(1), 4)}, r"x\): expected a C-contiguous array"),
        ({"x": np.ones(4, ">f4")}, r"x\): expected an array in the byte order"),
        (
            {"y": READ_ONLY},
            r"parameter 1 \(double\* y\): expected a writeable array, .* got a read-only array",
        ),
        (
            {"n": 1},
            r"parameter 2 \(int n\): expected np.int32\(1\), .* got the Python int 1, which CuPy would pass as int64",
        ),
        (
            {"scale": 0.5},
            r"parameter 4 \(float scale\): expected np.float32\(0.5\), .* would pass as float64",
        ),
        ({"flag": True}, r"parameter 5 \(bool flag\): expected np.bool_"),
        ({"n": np.int64(1)}, r"parameter 2 \(int n\): expected a scalar of int32, got int64"),
        ({"n": np.float32(1)}, r"parameter 2 \(int n\): expected a scalar of int32, got float32"),
        ({"n": np.uint32(1)}, r"parameter 2 \(int n\): expected a scalar of int32, got uint32"),
        ({"big": np.int32(1)}, r"parameter 3 \(long long big\): expected a scalar of int64, got int32"),
        ({"small": np.int8(1)}, r"parameter 6 \(unsigned char small\): expected a scalar of uint8, got int8"),
        (
            {"scale": np.ones(1, np.float32)},
            r"parameter 4 \(float scale\): expected a scalar of float32, got an array",
        ),
        ({"o": ctypes.c_int(1)}, r"parameter 8 \(struct o\): expected a scalar of 8 bytes, got int32"),
    ],
)
def test_arguments_are_held_against_the_parameters(changes, message):
    with pytest.raises(ArgumentError, match="^many: .*" + message):
        kernel("many")((1,), (32,), arguments(**changes))


def test_the_number_of_arguments():
    with pytest.raises(ArgumentError, match=r"many: expected 9 arguments \(x, y, n, big, .*, o\), got 8"):
        kernel("many")((1,), (32,), arguments()[:-1])
    with pytest.raises(TypeError, match="expected a tuple of arguments, got ndarray"):
        kernel("any")((1,), (32,), np.ones(1))


def test_vector_pointers_want_alignment_and_whole_elements():
    x, y = np.zeros(16, np.float32), np.zeros(4, np.float32)
    kernel("wide")((1,), (1,), (x[4:], y[2:]))
    kernel("wide")((1,), (1,), (x, y.view(np.complex64)))
    with pytest.raises(
        ArgumentError, match=r"x\): expected an address aligned to 16 bytes, got a view .* 4 bytes"
    ):
        kernel("wide")((1,), (1,), (x[1:13], y))
    with pytest.raises(ArgumentError, match="whole elements of 16 bytes"):
        kernel("wide")((1,), (1,), (x[:6], y))
    kernel("any")((1,), (1,), (x[1:],))


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((0,), (32,), r"expected grid of at least one .*, got \(0,\)"),
        ((1,), (0,), "expected block of at least one"),
        ((2**31,), (32,), "expected grid of at most"),
        ((1, 70000), (32,), "expected grid of at most"),
        ((1, 1, 65536), (32,), "expected grid of at most"),
        ((1,), (1025,), "expected block of at most"),
        ((1,), (1, 1, 65), "expected block of at most"),
        ((1,), (64, 32), r"at most 1024 threads, got \(64, 32, 1\): 2048"),
        ((1,), (256,), r"at most 128 threads, as __launch_bounds__ says, got 256"),
        ((1.5,), (32,), "expected grid of integers"),
        ((1,), (1, 1, 1, 1), "one to three integers"),
    ],
)
def test_grid_and_block(grid, block, message):
    with pytest.raises(LaunchConfigurationError, match="^bounded: .*" + message):
        kernel("bounded")(grid, block, (np.zeros(1, np.int32),))


def test_dynamic_shared_memory_has_a_limit():
    y = np.zeros(1, np.int32)
    k = kernel("shared")
    k((1,), (32,), (y,), shared_mem=48 * 1024)
    with pytest.raises(LaunchConfigurationError, match="shared_mem of at most 49152 bytes, got 49153"):
        k((1,), (32,), (y,), shared_mem=48 * 1024 + 1)
    k.max_dynamic_shared_size_bytes = 227 * 1024
    k((1,), (32,), (y,), shared_mem=227 * 1024)
    with pytest.raises(LaunchConfigurationError, match="at most 232448 bytes"):
        k.max_dynamic_shared_size_bytes = 227 * 1024 + 1
    both = kernel("both")
    both((1,), (32,), (y,), shared_mem=44 * 1024)
    with pytest.raises(LaunchConfigurationError, match="45057 of shared_mem and 4096 of static"):
        both((1,), (32,), (y,), shared_mem=44 * 1024 + 1)
    with pytest.raises(LaunchConfigurationError, match="together with 4096 of static"):
        both.max_dynamic_shared_size_bytes = 224 * 1024


def test_static_shared_memory_has_a_limit():
    code = """template <int N> __global__ void big(float* y) {
        __shared__ float a[N]; __shared__ float b[4];
        a[threadIdx.x] = b[threadIdx.x % 4] = 1; __syncthreads(); y[0] = a[1] + b[2]; }"""
    EmulatedModule(code, name_expressions=["big<12284>"]).compile()
    with pytest.raises(
        CompileError, match=r"big<12285>.* at most 49152 bytes of static __shared__ memory, got 49156"
    ):
        EmulatedModule(code, name_expressions=["big<12285>"]).compile()


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_block_order(order):
    counter, when = np.zeros(1, np.int32), np.full(12, -1, np.int32)
    with emulation(block_order=order, seed=5):
        kernel("order")((4, 3), (32,), (counter, when))
    assert sorted(when) == list(range(12))
    if order == "random":
        assert when.tolist() not in (list(range(12)), list(range(11, -1, -1)))
    else:
        assert when.tolist() == sorted(when, reverse=order == "descending")


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_thread_order(order):
    orders = []
    for seed in (1, 1, 2):
        counter, when = np.zeros(1, np.int32), np.full(40, -1, np.int32)
        with emulation(thread_order=order, seed=seed):
            kernel("thread_order")((1,), (40,), (counter, when))
        assert sorted(when) == list(range(40))
        orders.append(when.tolist())
    assert orders[0] == orders[1]
    if order == "random":
        assert orders[0] != orders[2]
        assert orders[0] != sorted(orders[0])
    else:
        assert orders[0] == sorted(orders[0], reverse=order == "descending")


def test_unknown_settings():
    with pytest.raises(EmulatorError, match="expected thread_order in"), emulation(thread_order="sideways"):
        pass
    with pytest.raises(EmulatorError, match="sanitize: expected one of"):
        EmulatedModule(CODE, sanitize="memory")


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([1, 5], [1, 5]),
        ([(1, 0), (1, 1, 0)], [1, 5]),
        (slice(-2, None), [10, 11]),
        ([], []),
        (slice(0, 12, 5), [0, 5, 10]),
    ],
)
def test_only_some_blocks(only, expected):
    for by_context in (False, True):
        counter, when = np.zeros(1, np.int32), np.full(12, -1, np.int32)
        if by_context:
            with emulation(only_blocks=only):
                kernel("order")((4, 3), (32,), (counter, when))
        else:
            kernel("order")((4, 3), (32,), (counter, when), only_blocks=only)
        assert np.flatnonzero(when >= 0).tolist() == expected
        assert counter[0] == len(expected)


def test_blocks_outside_of_the_grid():
    with pytest.raises(LaunchConfigurationError, match=r"expected a block of grid \(4, 3, 1\), got \(4, 0\)"):
        kernel("order")((4, 3), (32,), (np.zeros(1, np.int32), np.zeros(12, np.int32)), only_blocks=[(4, 0)])


def test_an_index_that_overflows_beyond_two_to_the_31():
    n = 2**31 + 2048
    y = sparse_array(n, np.float32)
    assert y.shape == (n,)
    grid = (n // 1024,)
    kernel("fill_long")(grid, (1024,), (y, np.int64(n)), only_blocks=slice(-3, None))
    assert (y[-3072:] == 1).all()
    assert y[-3073] == 0
    with pytest.raises(KernelError, match=r"illegal access to memory .* bytes before the begin of y"):
        kernel("fill_int")(grid, (1024,), (y, np.int64(n)), only_blocks=slice(-3, None))


def test_names_of_kernels():
    with pytest.raises(EmulatorError, match=r"launch.cu: expected one of \['many'"):
        kernel("missing")
