"""What kernels may say, each piece against what it should compute."""

from __future__ import annotations

import math
import platform

import numpy as np
import pytest
from xnn.backends.emulator import EmulatedModule, KernelError, emulation

CODE = r"""
#include <math_constants.h>

// --- threads, blocks, shared memory ---

extern "C" __global__ void where(int* out) {
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int threads = blockDim.x * blockDim.y * blockDim.z;
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * threads + thread] = ((blockIdx.z * 10 + blockIdx.y) * 10 + blockIdx.x) * 1000
                                    + (threadIdx.z * 10 + threadIdx.y) * 10 + threadIdx.x;
}

extern "C" __global__ void reverse(const float* __restrict__ x, float* __restrict__ y) {
    __shared__ float kept[64];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void dynamic(float* y, int n) {
    extern __shared__ __align__(16) unsigned char memory[];
    float* values = reinterpret_cast<float*>(memory);
    bool poisoned = isnan(values[threadIdx.x]);
    __syncthreads();
    values[threadIdx.x] = poisoned ? float(threadIdx.x) : -1.f;
    __syncthreads();
    y[blockIdx.x * n + threadIdx.x] = values[(threadIdx.x + 1) % n];
}

extern "C" __global__ void poisoned(int* y) {
    __shared__ float value;
    __shared__ int number;
    if (threadIdx.x == 0) y[blockIdx.x] = isnan(value) && number == -1;
    __syncthreads();
    value = 1.f;
    number = 7;
}

extern "C" __global__ void early_exit(int* y, int n) {   // threads that ended do not hold up a barrier
    if (threadIdx.x >= n) return;
    __syncthreads();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void counts(int* y) {
    bool odd = threadIdx.x % 2;
    int count = __syncthreads_count(odd), all = __syncthreads_and(odd), any = __syncthreads_or(odd);
    int none = __syncthreads_or(0);
    if (threadIdx.x == 0) { y[0] = count; y[1] = all; y[2] = any; y[3] = none; }
}

// --- warps ---

extern "C" __global__ void shuffles(int* y) {
    int l = threadIdx.x;
    y[l] = __shfl_sync(0xffffffffu, l, 5);
    y[32 + l] = __shfl_up_sync(0xffffffffu, l, 3);
    y[64 + l] = __shfl_down_sync(0xffffffffu, l, 3);
    y[96 + l] = __shfl_xor_sync(0xffffffffu, l, 7);
    y[128 + l] = __shfl_sync(0xffffffffu, l, 9, 8);          // 9 % 8 = 1 of each eight
    y[160 + l] = __shfl_down_sync(0xffffffffu, l, 3, 8);
    double wide = __shfl_xor_sync(0xffffffffu, double(l) + 0.5, 1);
    y[192 + l] = int(wide * 2);
}

extern "C" __global__ void votes(unsigned* y) {
    int l = threadIdx.x;
    unsigned ballot = __ballot_sync(0xffffffffu, l % 3 == 0);
    int all = __all_sync(0xffffffffu, l < 32), any = __any_sync(0xffffffffu, l == 40);
    unsigned same = __match_any_sync(0xffffffffu, l / 8);
    int equal;
    unsigned lanes = __match_all_sync(0xffffffffu, 4, &equal);
    if (l == 9) { y[0] = ballot; y[1] = all; y[2] = any; y[3] = same; y[4] = lanes; y[5] = equal; }
    y[6 + l] = __reduce_add_sync(0xffffffffu, unsigned(l));
    if (l == 0) y[38] = unsigned(__reduce_min_sync(1u, -3));
    int low = __reduce_min_sync(0xffffffffu, l - 7), high = __reduce_max_sync(0xffffffffu, l - 7);
    if (l == 0) { y[39] = unsigned(low); y[40] = unsigned(high); }
}

extern "C" __global__ void half_a_warp(int* y) {   // each half with its own mask, at its own line
    int v = threadIdx.x;
    if (threadIdx.x < 16) v += __shfl_xor_sync(0x0000ffffu, v, 1);
    else v += __shfl_xor_sync(0xffff0000u, v, 2);
    y[threadIdx.x] = v;
}

extern "C" __global__ void aggregated(int* counter, int* y) {
    unsigned active = __activemask();
    int leader = __ffs(active) - 1, lane = threadIdx.x % 32, base = 0;
    if (lane == leader) base = atomicAdd(counter, __popc(active));
    base = __shfl_sync(active, base, leader);
    y[base + __popc(active & ((1u << lane) - 1))] = 1;
}

// --- atomics ---

extern "C" __global__ void atomics(int* i, unsigned* u, float* f, double* d, unsigned long long* l) {
    int t = threadIdx.x;
    atomicAdd(i, t); atomicMax(i + 1, t); atomicMin(i + 2, -t); atomicXor(i + 3, t); atomicSub(i + 4, 1);
    atomicInc(u, 9); atomicDec(u + 1, 9); atomicOr(u + 2, 1u << (t % 32)); atomicAnd(u + 3, ~1u); atomicAdd(u + 4, 2u);
    atomicAdd(f, 0.5f); atomicExch(f + 1, 3.f);
    atomicAdd(d, 0.25);
    atomicAdd(l, 1ull << 33); atomicCAS(l + 1, 0ull, 5ull);
    float2* pair = reinterpret_cast<float2*>(f + 2);
    atomicAdd(pair, make_float2(1.f, 2.f));
}

extern "C" __global__ void locked(int* lock, int* value) {   // a spin lock: the owner must get its turn
    while (atomicCAS(lock, 0, 1) != 0) {}
    *value = *value + 1;
    __threadfence();
    atomicExch(lock, 0);
}

extern "C" __global__ void last_block(const float* x, float* partial, unsigned* done, float* total) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = x[2 * blockIdx.x] + x[2 * blockIdx.x + 1];
        __threadfence();
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float sum = 0.f;
        for (int b = 0; b < int(gridDim.x); b++) sum += partial[b];
        *total = sum;
    }
}

// --- values ---

extern "C" __global__ void vectors(const float4* __restrict__ x, float4* y, int4* i, uchar4* c, double2* d) {
    float4 v = __ldg(x + threadIdx.x);
    y[threadIdx.x] = make_float4(v.w, v.z, v.y, v.x);
    *i = make_int4(1, 2, 3, 4);
    *c = make_uchar4(1, 2, 3, 255);
    *d = make_double2(sizeof(float3), alignof(float4) + alignof(float2) + alignof(uint4) + alignof(char4));
}

extern "C" __global__ void integers(unsigned* u, unsigned long long* l, int* i) {
    u[0] = __umulhi(0xffffffffu, 0xfffffffeu); u[1] = __brev(1u); u[2] = __popc(0xf0f0u); u[3] = __clz(1); u[4] = __clz(0);
    u[5] = __ffs(8); u[6] = __ffs(0); u[7] = __byte_perm(0x33221100u, 0x77665544u, 0x7610u);
    u[8] = __funnelshift_l(0x80000001u, 2u, 1); u[9] = __float_as_uint(-0.f); u[10] = __funnelshift_r(0x80000001u, 3u, 1);
    u[11] = min(3u, 5u) + max(-1, 4);
    l[0] = __umul64hi(~0ull, ~0ull); l[1] = __brevll(1ull); l[2] = __popcll(~0ull) + __clzll(1ll) + __ffsll(1ll << 40);
    i[0] = __mulhi(-2147483647 - 1, 2); i[1] = __float2int_rn(2.5f); i[2] = __float2int_rz(-2.7f); i[3] = __float2int_rd(-2.2f);
    i[4] = __float2int_ru(2.2f); i[5] = __float2int_rn(3e9f); i[6] = __float2int_rn(CUDART_NAN_F); i[7] = __dp4a(0x01020304, 0x01010101, 5);
}

extern "C" __global__ void functions(const float* x, float* y, double* z, int n) {
    int i = threadIdx.x;
    float v = x[i];
    y[0 * n + i] = rsqrtf(v); y[1 * n + i] = erff(v); y[2 * n + i] = __expf(v); y[3 * n + i] = exp(v);
    y[4 * n + i] = __fdividef(1.f, v); y[5 * n + i] = tanhf(v); y[6 * n + i] = __saturatef(v - 1.f); y[7 * n + i] = fmaxf(v, CUDART_NAN_F);
    y[8 * n + i] = log1pf(v); y[9 * n + i] = sinpif(v); y[10 * n + i] = normcdff(v); y[11 * n + i] = __logf(v);
    y[12 * n + i] = max(v, 1.f); y[13 * n + i] = abs(-v); y[14 * n + i] = pow(v, 2.f); y[15 * n + i] = fma(v, v, 1.f);
    z[0 * n + i] = erfinv(tanh(double(v)) * 0.99); z[1 * n + i] = erfcx(double(v) * 4); z[2 * n + i] = normcdfinv(0.01 + 0.5 / (1 + double(v)));
    z[3 * n + i] = rsqrt(double(v)); z[4 * n + i] = cospi(double(v));
}

extern "C" __global__ void fails(const int* x) {
    assert(x[threadIdx.x] == 0);
}

extern "C" __global__ void traps() { __trap(); }

extern "C" __global__ void divides(int* x) { x[0] = x[1] / x[2]; }

extern "C" __global__ void prints() { printf("block %d thread %d\n", int(blockIdx.x), int(threadIdx.x)); }

extern "C" __global__ void sleeps(long long* y) { long long a = clock64(); __nanosleep(10); y[0] = clock64() - a >= 0; }

__device__ int recurse(int n) { volatile int big[1024]; big[n % 1024] = n; return n ? recurse(n - 1) + big[n % 1024] : 0; }
extern "C" __global__ void overflows(int* y, int n) { y[0] = recurse(n); }
"""
MODULE = EmulatedModule(CODE, filename="language.cu")


def run(name, grid, block, *args, **options):
    MODULE.get_function(name)(grid, block, args, **options)


def test_indices():
    out = np.full(2 * 3 * 2 * 4 * 3 * 2, -1, np.int32)
    run("where", (2, 3, 2), (4, 3, 2), out)
    blocks = [100 * z + 10 * y + x for z in range(2) for y in range(3) for x in range(2)]
    threads = [100 * z + 10 * y + x for z in range(2) for y in range(3) for x in range(4)]
    assert out.tolist() == [1000 * b + t for b in blocks for t in threads]


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_shared_memory(order):
    x = np.arange(64, dtype=np.float32)
    y = np.zeros_like(x)
    with emulation(thread_order=order, seed=3):
        run("reverse", 1, 64, x, y)
    assert y.tolist() == x[::-1].tolist()


def test_dynamic_shared_memory_is_poisoned_before_each_block():
    y = np.zeros((3, 40), np.float32)
    run("dynamic", 3, 40, y, np.int32(40), shared_mem=160)
    assert (y == (np.arange(40) + 1) % 40).all()


def test_static_shared_memory_is_poisoned_before_each_block():
    y = np.zeros(3, np.int32)
    run("poisoned", 3, 2, y)
    assert y.tolist() == [1, 1, 1]


def test_threads_that_ended_hold_up_nobody():
    y = np.zeros(64, np.int32)
    run("early_exit", 1, 64, y, np.int32(37))
    assert y.sum() == 37


def test_barriers_that_count():
    y = np.zeros(4, np.int32)
    run("counts", 1, 48, y)
    assert y.tolist() == [24, 0, 1, 0]


def test_shuffles():
    y = np.zeros((7, 32), np.int32)
    run("shuffles", 1, 32, y)
    lanes = np.arange(32)
    expected = [
        np.full(32, 5),
        np.where(lanes < 3, lanes, lanes - 3),
        np.where(lanes > 28, lanes, lanes + 3),
        lanes ^ 7,
        lanes // 8 * 8 + 1,
        np.where(lanes % 8 > 4, lanes, lanes + 3),
        2 * (lanes ^ 1) + 1,
    ]
    np.testing.assert_array_equal(y, expected)


def test_votes_matches_and_reductions():
    y = np.zeros(41, np.uint32)
    run("votes", 1, 32, y)
    assert y[0] == sum(1 << lane for lane in range(0, 32, 3))
    assert y[1:6].tolist() == [1, 0, 0xFF00, 0xFFFFFFFF, 1]
    assert (y[6:38] == 31 * 16).all()
    assert y[38:].astype(np.int32).tolist() == [-3, -7, 24]


def test_masks_of_half_a_warp():
    y = np.zeros(32, np.int32)
    run("half_a_warp", 1, 32, y)
    lanes = np.arange(32)
    assert (y == lanes + np.where(lanes < 16, lanes ^ 1, lanes ^ 2)).all()


def test_activemask_is_a_right_answer():
    counter, y = np.zeros(1, np.int32), np.zeros(96, np.int32)
    run("aggregated", 1, 96, counter, y)
    assert counter[0] == 96
    assert y.sum() == 96


def test_atomics():
    i = np.zeros(5, np.int32)
    u = np.array([0, 0, 0, 0xFFFFFFFF, 0], np.uint32)
    f, d, long = np.zeros(4, np.float32), np.zeros(1), np.zeros(2, np.uint64)
    run("atomics", 1, 64, i, u, f, d, long)
    assert i.tolist() == [2016, 63, -63, 0, -64]
    assert u.tolist() == [64 % 10, (-64) % 10, 0xFFFFFFFF, 0xFFFFFFFE, 128]
    assert f.tolist() == [32, 3, 64, 128]
    assert d.tolist() == [16]
    assert long.tolist() == [64 << 33, 5]


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_spin_lock(order):
    lock, value = np.zeros(1, np.int32), np.zeros(1, np.int32)
    with emulation(thread_order=order):
        run("locked", 2, 64, lock, value)
    assert value[0] == 128


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_the_last_block_adds_up(order):
    x = np.arange(14, dtype=np.float32)
    partial, done, total = np.zeros(7, np.float32), np.zeros(1, np.uint32), np.zeros(1, np.float32)
    with emulation(block_order=order, seed=1):
        run("last_block", 7, 32, x, partial, done, total)
    assert total[0] == x.sum()
    assert done[0] == 0


def test_vector_types():
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    y, i, c, d = np.zeros_like(x), np.zeros(4, np.int32), np.zeros(4, np.uint8), np.zeros(2)
    run("vectors", 1, 2, x, y, i, c, d)
    assert (y == x[:, ::-1]).all()
    assert (i.tolist(), c.tolist(), d.tolist()) == ([1, 2, 3, 4], [1, 2, 3, 255], [12, 16 + 8 + 16 + 4])


def test_integer_intrinsics():
    u, long, i = np.zeros(12, np.uint32), np.zeros(3, np.uint64), np.zeros(8, np.int32)
    run("integers", 1, 1, u, long, i)
    assert u.tolist() == [0xFFFFFFFD, 1 << 31, 8, 31, 32, 4, 0, 0x77661100, 5, 1 << 31, 0xC0000000, 7]
    assert long.tolist() == [2**64 - 2, 1 << 63, 64 + 63 + 41]
    assert i.tolist() == [-1, 2, -2, -3, 3, 2**31 - 1, 0, 15]


def test_functions():
    x = np.array([0.1, 0.5, 1.0, 1.75, 3.0], np.float32)
    y, z = np.zeros((16, 5), np.float32), np.zeros((5, 5))
    run("functions", 1, 5, x, y, z, np.int32(5))
    v = x.astype(float)
    erf, expected = np.vectorize(math.erf), []
    expected += [v**-0.5, erf(v), np.exp(v), np.exp(v), 1 / v, np.tanh(v), np.clip(v - 1, 0, 1), v]
    expected += [np.log1p(v), np.sin(np.pi * v), 0.5 * (1 + erf(v / 2**0.5)), np.log(v)]
    expected += [np.maximum(v, 1), v, v**2, v * v + 1]
    np.testing.assert_allclose(y, expected, rtol=3e-7, atol=1e-6)
    np.testing.assert_allclose(erf(z[0]), np.tanh(v) * 0.99, rtol=1e-13)
    small = v < 2  # where the direct formula does not overflow
    np.testing.assert_allclose(
        z[1][small], np.exp(16 * v**2)[small] * np.vectorize(math.erfc)(4 * v)[small], rtol=1e-12
    )
    np.testing.assert_allclose(z[1][~small], 1 / (12 * np.pi**0.5) * (1 - 1 / 288 + 3 / 288**2), rtol=1e-5)
    np.testing.assert_allclose(0.5 * (1 + erf(z[2] / 2**0.5)), 0.01 + 0.5 / (1 + v), rtol=1e-13)
    np.testing.assert_allclose(z[3:], [v**-0.5, np.cos(np.pi * v)], rtol=1e-13, atol=1e-15)


def test_assertions_name_thread_and_line():
    x = np.zeros(40, np.int32)
    run("fails", 1, 40, x)
    x[33] = 1
    line = CODE[: CODE.index("assert(")].count("\n") + 1
    with pytest.raises(
        KernelError, match=rf"thread \(33, 0, 0\): language\.cu:{line}: assertion failed: x\[threadIdx"
    ):
        run("fails", 1, 40, x)
    with pytest.raises(KernelError, match=r"block \(0, 0, 0\) thread \(0, 0, 0\): language\.cu:\d+: __trap"):
        run("traps", 1, 1)


def test_the_module_still_works_after_an_error():
    x = np.arange(64, dtype=np.float32)
    for _ in range(3):
        with pytest.raises(KernelError):
            run("fails", 1, 40, np.ones(40, np.int32))
        y = np.zeros_like(x)
        run("reverse", 1, 64, x, y)
        assert y.tolist() == x[::-1].tolist()


def test_faults_of_the_processor_are_errors():
    if platform.machine() == "x86_64":  # others give a number, as a GPU does
        with pytest.raises(KernelError, match=r"divides: .* integer division by zero"):
            run("divides", 1, 1, np.zeros(3, np.int32))
    with pytest.raises(KernelError, match=r"overflows: .* the thread's stack of 256 KiB is full"):
        run("overflows", 1, 1, np.zeros(1, np.int32), np.int32(100000))
    with pytest.raises(KernelError, match=r"divides: .* illegal access to memory .*null pointer"):
        run("divides", 1, 1, None)


def test_printf(capfd):
    run("prints", 2, 2)
    assert capfd.readouterr().out.splitlines() == [f"block {b} thread {t}" for b in (0, 1) for t in (0, 1)]


def test_clock():
    y = np.zeros(1, np.int64)
    run("sleeps", 1, 1, y)
    assert y[0] == 1


def test_templates_by_name_expression():
    module = EmulatedModule(
        r"""
        namespace ops { struct Twice { template <class T> static __device__ T of(T x) { return x + x; } }; }
        template <class T, int N, class F> __global__ void __launch_bounds__(N) apply(const T* x, T* y) {
            __shared__ T kept[N];   // one for each instantiation
            kept[threadIdx.x] = F::of(x[threadIdx.x]);
            __syncthreads();
            y[threadIdx.x] = kept[N - 1 - threadIdx.x];
        }
        """,
        name_expressions=["apply<float, 64, ops::Twice>", "apply<double, 32, ops::Twice>"],
    )
    for name, dtype, n in (("float, 64", np.float32, 64), ("double, 32", np.float64, 32)):
        x = np.arange(n, dtype=dtype)
        y = np.zeros_like(x)
        module.get_function(f"apply<{name}, ops::Twice>")((1,), (n,), (x, y))
        assert (y == 2 * x[::-1]).all()


def test_defines():
    code = 'extern "C" __global__ void k(int* y) { y[0] = VALUE; }'
    y = np.zeros(1, np.int32)
    for value in (3, 4):
        EmulatedModule(code, (f"-DVALUE={value}",)).get_function("k")((1,), (1,), (y,))
        assert y[0] == value
