"""__half and __nv_bfloat16: conversions bit for bit, arithmetic rounded once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from xnn.backends.emulator import EmulatedModule

CODE = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>

#define EACH(n) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)

extern "C" __global__ void half_to_float(const __half* x, float* y, int n) { EACH(n) y[i] = __half2float(x[i]); }
extern "C" __global__ void float_to_half(const float* x, __half* y, int n) { EACH(n) y[i] = __float2half(x[i]); }
extern "C" __global__ void double_to_half(const double* x, __half* y, int n) { EACH(n) y[i] = __double2half(x[i]); }
extern "C" __global__ void bfloat_to_float(const __nv_bfloat16* x, float* y, int n) { EACH(n) y[i] = __bfloat162float(x[i]); }
extern "C" __global__ void float_to_bfloat(const float* x, __nv_bfloat16* y, int n) { EACH(n) y[i] = __float2bfloat16(x[i]); }

extern "C" __global__ void arithmetic(const __half* a, const __half* b, const __half* c, __half* y, int n) {
    EACH(n) {
        y[i] = a[i] + b[i]; y[n + i] = __hsub(a[i], b[i]); y[2 * n + i] = a[i] * b[i]; y[3 * n + i] = __hdiv(a[i], b[i]);
        y[4 * n + i] = __hfma(a[i], b[i], c[i]);
    }
}

extern "C" __global__ void pairs(const __half2* x, __half2* y, float2* z, __nv_bfloat162* b) {
    __half2 v = x[threadIdx.x];
    __half2 w = __hfma2(v, __float2half2_rn(2.f), __floats2half2_rn(1.f, -1.f));
    w += __halves2half2(__low2half(v), __high2half(v));
    y[threadIdx.x] = __hmax2(w, __shfl_xor_sync(3u, w, 1));
    z[threadIdx.x] = __half22float2(v);
    b[threadIdx.x] = __hadd2(__float22bfloat162_rn(z[threadIdx.x]), __float2bfloat162_rn(0.5f));
    if (threadIdx.x == 0) atomicAdd(y + 2, __float2half2_rn(1.f));
}

extern "C" __global__ void others(__half* y, bool* z) {
    __half x = 2.f;
    y[0] = hexp(x); y[1] = hsqrt(x); y[2] = -x; y[3] = __habs(__hneg(x)); y[4] = hrcp(x); y[5] = __hmax(x, __float2half(3));
    y[6] = __ushort_as_half(0x3c00); x += __float2half(1.f); y[7] = x; y[8] = __half(7); y[9] = __hadd_sat(x, x);
    z[0] = x > __half(2.f); z[1] = __hlt(x, x); z[2] = __hisnan(__ushort_as_half(0x7e00)); z[3] = __half_as_ushort(x) == 0x4200;
    z[4] = __hltu(__ushort_as_half(0x7e00), x); z[5] = __hlt(__ushort_as_half(0x7e00), x); z[6] = __hisinf(__half(1e6f)) == 1;
}
"""
MODULE = EmulatedModule(CODE, filename="narrow_floats.cu")


def convert(name, x, dtype):
    y = np.empty(len(x), dtype)
    MODULE.get_function(name)((16,), (256,), (x, y, np.int32(len(x))))
    return y


def same(a, b):
    """Equal bits, but one NaN is as good as another."""
    nan = np.isnan(a.astype(np.float64))
    np.testing.assert_array_equal(nan, np.isnan(b.astype(np.float64)))
    bits = f"uint{8 * a.dtype.itemsize}"
    np.testing.assert_array_equal(a.view(bits)[~nan], b.view(bits)[~nan])


def awkward_floats(upper, rng):
    """Random bits, all numbers of the narrow type, the points half way between them, and what is next to those."""
    values = upper.astype(np.float32)
    values = np.sort(values[np.isfinite(values)])
    middle = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    edges = np.concatenate(
        [values, middle, [65504, 65519.996, 65520, 65536, np.inf, np.nan, 0, -0.0, 1e-45, 3.4e38]]
    )
    edges = edges.astype(np.float32)
    noise = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate(
        [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf)), noise]
    )


ALL_BITS = np.arange(65536, dtype=np.uint16)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_half_conversions(rng):
    halves = ALL_BITS.view(np.float16)
    same(convert("half_to_float", halves, np.float32), halves.astype(np.float32))
    x = awkward_floats(halves, rng)
    same(convert("float_to_half", x, np.float16), x.astype(np.float16))
    # NumPy rounds once from float64 too: half way between two halves, plus less than float32 can hold
    d = np.concatenate([x.astype(np.float64), x.astype(np.float64) * (1 + 2.0**-40)])
    same(convert("double_to_half", d, np.float16), d.astype(np.float16))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_bfloat16_conversions(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, the oracle of bfloat16, is not installed")
    narrow = ALL_BITS.view(ml_dtypes.bfloat16)
    same(convert("bfloat_to_float", narrow, np.float32), narrow.astype(np.float32))
    x = awkward_floats(narrow, rng)
    same(convert("float_to_bfloat", x, ml_dtypes.bfloat16), x.astype(ml_dtypes.bfloat16))


def test_bfloat16_as_bits():
    x = np.array([1.0, -2.5, 3.0], np.float32)
    assert convert("float_to_bfloat", x, np.uint16).tolist() == [0x3F80, 0xC020, 0x4040]


def nearest_half(exact: Fraction) -> np.float16:
    """The half nearest to an exact number, ties to even, by looking at the neighbours."""
    guess = np.float16(float(exact))
    around = [np.nextafter(guess, np.float16(-np.inf)), guess, np.nextafter(guess, np.float16(np.inf))]
    finite = [h for h in around if np.isfinite(h)]
    return min(finite, key=lambda h: (abs(Fraction(float(h)) - exact), int(h.view(np.uint16)) & 1))


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid", "ignore:divide")
def test_half_arithmetic(rng):
    n = 20_000
    a, b, c = (rng.integers(0, 65536, n).astype(np.uint16).view(np.float16) for _ in range(3))
    y = np.empty((5, n), np.float16)
    MODULE.get_function("arithmetic")((8,), (256,), (a, b, c, y, np.int32(n)))
    for got, want in zip(y, (a + b, a - b, a * b, a / b), strict=False):
        same(got, want)
    checked = 0
    for i in range(n):
        if np.isfinite([a[i], b[i], c[i]]).all():
            exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
            if exact and abs(exact) < 65504:
                assert y[4, i] == nearest_half(exact), (a[i], b[i], c[i])
                checked += 1
        if checked == 3000:
            break


def test_fused_multiply_add_rounds_once():
    # 1 + 2^-11 is half way between two halves; the product adds a little that float and double alike would lose
    a, b, c = (np.array([v], np.float16) for v in (2.0**-24, 2.0**-24, 1 + 2.0**-10))
    product = np.array([2.0**-11 * 2**10], np.float16)  # 0.5
    y = np.empty((5, 1), np.float16)
    MODULE.get_function("arithmetic")((1,), (32,), (a, b, c, y, np.int32(1)))
    assert y[4, 0] == c[0]
    big = np.array([1025.0], np.float16)
    MODULE.get_function("arithmetic")(
        (1,), (32,), (big, product, product * 0 + np.float16(2.0**-24), y, np.int32(1))
    )
    assert y[4, 0] == np.float16(512.5)


def test_pairs():
    x = np.array([[1, 2], [3, 4]], np.float16)
    y, z, b = np.zeros((3, 2), np.float16), np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint16)
    MODULE.get_function("pairs")((1,), (2,), (x, y, z, b))
    assert y.tolist() == [[10, 11], [10, 11], [1, 1]]
    assert (z == x).all()
    assert ((b.astype(np.uint32) << 16).view(np.float32) == x.astype(np.float32) + 0.5).all()


def test_other_functions():
    y, z = np.zeros(10, np.float16), np.zeros(7, np.bool_)
    MODULE.get_function("others")((1,), (1,), (y, z))
    expected = [np.exp(2.0), 2**0.5, -2, 2, 0.5, 3, 1, 3, 7, 1]
    assert y.tolist() == np.array(expected).astype(np.float16).tolist()
    assert z.tolist() == [True, False, True, True, True, False, True]
