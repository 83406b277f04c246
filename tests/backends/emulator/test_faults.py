"""Faults put into kernels on purpose: each is caught, and the same kernel without it is left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from xnn.backends.emulator import (
    EmulatedModule,
    KernelError,
    SanitizerError,
    SanitizerUnavailable,
    emulation,
    find_compiler,
)

# Each kernel is written once; FAULT(0) is right, and every template argument above leaves something out.
CODE = r"""
#define IF(condition, statement) if constexpr (condition) { statement; }

template <int fault> __global__ void reverse(const float* x, float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    IF(fault != 1, __syncthreads())   // MISSING-1
    y[threadIdx.x] = s[63 - threadIdx.x];
}

template <int fault> __global__ void tree_sum(const float* x, float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    for (int half = 32; half > 0; half /= 2) {
        if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];   // TREE
        IF(fault != 1, __syncthreads())
    }
    if (threadIdx.x == 0) y[blockIdx.x] = s[0];
}

template <int fault> __global__ void within_a_warp(const int* x, int* y) {
    extern __shared__ int s[];
    s[threadIdx.x] = x[threadIdx.x];
    IF(fault != 1, __syncwarp())
    y[threadIdx.x] = s[threadIdx.x ^ 1];   // WARP
}

template <int fault> __global__ void count(int* y) {
    if constexpr (fault == 0) atomicAdd(y, 1);
    if constexpr (fault == 1) *y += 1;   // PLUS
    if constexpr (fault == 2) { if (threadIdx.x == 0) *y += 1; }   // BLOCKS
}

template <int fault> __global__ void total(const float* x, float* partial, unsigned* done, float* y) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = x[blockIdx.x];   // PARTIAL
        IF(fault != 1, __threadfence())
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float sum = 0;
        for (int b = 0; b < int(gridDim.x); b++) sum += partial[b];
        *y = sum;
    }
}

template <int fault> __global__ void copy(const float* x, float* y, int n) {
    __shared__ float s[32];
    extern __shared__ float d[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (fault == 1 ? i <= n : i < n) y[i] = x[i];   // GLOBAL
    if (fault == 2 && threadIdx.x == 31) s[threadIdx.x + 1] = 1;   // STATIC
    if (fault == 3 && threadIdx.x == 31) d[threadIdx.x + 1] = 1;   // DYNAMIC
    if (fault == 4) y[0] = x[i - 1];   // BEFORE
    s[threadIdx.x] = d[threadIdx.x] = x[min(i, n - 1)];
}

template <int fault> __global__ void wide(const float* x, float* y) {
    float4 v = *reinterpret_cast<const float4*>(x + fault);   // WIDE
    y[threadIdx.x] = v.x;
}

template <int fault> __global__ void product(int* y) {
    int n = y[0];
    if (fault == 0) y[0] = int((unsigned)n * 65536u);
    else y[0] = n * 65536;   // PRODUCT
}

template <int fault> __global__ void diverge(float* y) {
    if (fault == 1) { if (threadIdx.x < 32) __syncthreads(); else __syncthreads(); }
    if (fault == 2) { if (threadIdx.x < 7)   // one waits for the block, others for their warp
        __syncthreads(); else
        __syncwarp(); }
    if (fault == 3) { if (threadIdx.x < 16) y[0] = __shfl_xor_sync(0xffffffffu, y[0], 1); else __syncthreads(); }   // FULL
    if (fault == 4) y[threadIdx.x] = __shfl_sync(0x0000ffffu, y[threadIdx.x], 0);   // OTHERS
    if (fault == 5) { volatile int* flag = (volatile int*)y; while (atomicAdd((int*)flag + 1, 0) == 0) {} }
    __syncthreads();
}
"""
KERNELS = {
    "reverse": 2,
    "tree_sum": 2,
    "within_a_warp": 2,
    "count": 3,
    "total": 2,
    "copy": 5,
    "wide": 2,
    "product": 2,
}
NAMES = [f"{name}<{fault}>" for name, faults in KERNELS.items() for fault in range(faults)]
NAMES += [f"diverge<{fault}>" for fault in range(6)]
MODULE = EmulatedModule(CODE, name_expressions=NAMES, filename="faults.cu")


def line(marker):
    return f"faults.cu:{CODE[: CODE.index('// ' + marker)].count(chr(10)) + 1}"


def launch(kernel, fault=0):
    """Run a kernel on its usual arguments; the result."""
    call = MODULE.get_function(f"{kernel}<{fault}>")
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    if kernel == "reverse":
        call(1, 64, (x, y))
        return y[:64], x[63::-1]
    if kernel == "tree_sum":
        call(2, 64, (x, y))
        return y[:2], x.reshape(2, 64).sum(1)
    if kernel == "within_a_warp":
        i, out = np.arange(32, dtype=np.int32), np.zeros(32, np.int32)
        call(1, 32, (i, out), shared_mem=128)
        return out, i ^ 1
    if kernel == "count":
        n = np.zeros(1, np.int32)
        call(4, 64, (n,))
        return n, [256 if fault < 2 else 4]
    if kernel == "total":
        done = np.zeros(1, np.uint32)
        call(5, 32, (x, np.zeros(5, np.float32), done, y))
        return y[:1], [10]
    if kernel == "copy":
        x, y = x[:50].copy(), np.zeros(50, np.float32)
        call(2, 32, (x, y, np.int32(50)), shared_mem=128)
        return y, x
    if kernel == "wide":
        call(1, 32, (x, y))
        return y[:32], [0] * 32
    n = np.full(1, 65535, np.int32)
    call(1, 1, (n,))
    return n, [-65536]


def expect_report(sanitize, kernel, fault, what, marker):
    with emulation(sanitize=sanitize):
        try:
            with pytest.raises(SanitizerError, match=what) as caught:
                launch(kernel, fault)
        except SanitizerUnavailable as reason:
            pytest.skip(str(reason))
    report = caught.value
    assert str(report).startswith(f"{kernel}<{fault}>: ")
    assert line(marker) in str(report).split("\n")[0], report
    assert report.location.endswith(line(marker)) or sanitize == "thread"


@pytest.mark.parametrize("sanitize", ["", "address,undefined", "thread"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_false_alarm(kernel, sanitize):
    with emulation(sanitize=sanitize, thread_order="random"):
        try:
            actual, expected = launch(kernel)
        except SanitizerUnavailable as reason:
            pytest.skip(str(reason))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("kernel", "fault", "marker"),
    [
        ("reverse", 1, "MISSING-1"),
        ("tree_sum", 1, "TREE"),
        ("within_a_warp", 1, "WARP"),
        ("count", 1, "PLUS"),
        ("count", 2, "BLOCKS"),
        ("total", 1, "PARTIAL"),
    ],
)
def test_races(kernel, fault, marker):
    if marker == "MISSING-1":  # reported at the read, or at the write before it
        with emulation(sanitize="thread"):
            try:
                with pytest.raises(
                    SanitizerError, match=r"data race: .* by block \(0, 0, 0\) thread"
                ) as caught:
                    launch(kernel, fault)
            except SanitizerUnavailable as reason:
                pytest.skip(str(reason))
        number = int(line(marker).partition(":")[2])
        assert f"faults.cu:{number - 1}" in str(caught.value)
        assert f"faults.cu:{number + 1}" in str(caught.value)
        return
    expect_report("thread", kernel, fault, "data race", marker)


@pytest.mark.parametrize(
    ("kernel", "fault", "what", "marker"),
    [
        ("copy", 1, r"heap-buffer-overflow \(read of size 4\)", "GLOBAL"),
        ("copy", 2, r"global-buffer-overflow|out of bounds", "STATIC"),
        ("copy", 3, r"heap-buffer-overflow \(write of size 4\)", "DYNAMIC"),
        ("copy", 4, r"heap-buffer-overflow \(read of size 4\)|out of bounds", "BEFORE"),
        ("wide", 1, r"misaligned address .*alignment", "WIDE"),
        ("product", 1, r"signed integer overflow: 65535 \* 65536", "PRODUCT"),
    ],
)
def test_bounds_alignment_and_overflow(kernel, fault, what, marker):
    if marker == "WIDE" and "clang" in find_compiler():
        pytest.skip("clang does not look at the alignment of a copied structure")
    expect_report("address,undefined", kernel, fault, what, marker)


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_missing_barrier_shows_in_some_order(order):
    with emulation(thread_order=order):
        actual, expected = launch("reverse", 1)
    assert not np.array_equal(actual, expected)
    assert np.isnan(actual).any()  # the poison of shared memory


def diverge(fault, threads=64, y=None):
    y = np.zeros(64, np.float32) if y is None else y
    MODULE.get_function(f"diverge<{fault}>")(1, threads, (y,))


def test_barriers_in_two_branches():
    diverge(0)
    with emulation(thread_order="descending"):
        diverge(0)
    # one line, but still one barrier: what differs is only the place in the line
    diverge(1)
    with pytest.raises(
        KernelError, match=r"diverge<2>: block \(0, 0, 0\): .*threads 0-6 wait at a block barrier"
    ):
        diverge(2)


def test_deadlocks_name_threads_and_lines():
    with pytest.raises(KernelError) as caught:
        diverge(3)
    message = str(caught.value)
    assert "deadlock" in message
    assert f"threads 0-15 wait at a warp operation with mask 0xffffffff ({line('FULL')})" in message
    assert f"threads 16-63 wait at a block barrier ({line('FULL')})" in message


def test_a_lane_must_be_in_its_own_mask():
    with pytest.raises(
        KernelError, match=rf"thread \(16, 0, 0\): {line('OTHERS')}: lane 16 .* mask 0x0000ffff"
    ):
        diverge(4)


def test_waiting_for_ever_on_an_atomic():
    with pytest.raises(KernelError, match="spin on atomic operations for ever"):
        diverge(5, threads=1)


def test_under_a_sanitizer_too():
    with emulation(sanitize="address,undefined"):
        try:
            with pytest.raises(KernelError, match="deadlock: threads 0-15 wait"):
                diverge(3)
        except SanitizerUnavailable as reason:
            pytest.skip(str(reason))


def test_a_lane_that_is_not_there_gives_nan():
    code = """extern "C" __global__ void k(float* y) {
        float v = 1.f;
        for (int o = 16; o; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
        y[threadIdx.x] = v;
    }"""
    y = np.zeros(48, np.float32)
    EmulatedModule(code).get_function("k")(1, 48, (y,))
    assert (y[:32] == 32).all()
    assert np.isnan(y[32:]).all()


def test_views_share_memory_under_a_sanitizer():
    """Overlapping arguments stay overlapping, and come back as one."""
    code = """extern "C" __global__ void k(const float* x, float* y, int n) {
        int i = threadIdx.x;
        float v = x[i];
        __syncthreads();
        if (i < n) y[i] = v + 1;
    }"""
    module = EmulatedModule(code)
    results = []
    for sanitize in ("", "address,undefined"):
        data = np.arange(12, dtype=np.float32)
        with emulation(sanitize=sanitize):
            try:
                module.get_function("k")(1, 8, (data[:8], data[4:12], np.int32(8)))
            except SanitizerUnavailable as reason:
                pytest.skip(str(reason))
        results.append(data.tolist())
    assert results[0] == results[1] == [0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8]


def test_environment_chooses_the_sanitizer(monkeypatch):
    monkeypatch.setenv("XNN_EMULATOR_SANITIZE", "address,undefined")
    try:
        with pytest.raises(SanitizerError, match="heap-buffer-overflow"):
            launch("copy", 1)
    except SanitizerUnavailable as reason:
        pytest.skip(str(reason))
