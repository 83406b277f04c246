// __half and __half2: IEEE 754 binary16.
#pragma once
#include "xnn_emulator/narrow_floats.h"

namespace xnn_emulator {

// To the nearest half, ties to even; NaN becomes 0x7fff, as the GPU makes it.
static inline unsigned short half_from_float(float x) {
    const uint32_t bits = bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffffu;
    const uint32_t sign = bits >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return (unsigned short)(sign | 0x7c00u);  // from 65520 on: infinity
    if (magnitude < 0x38800000u)  // below 2^-14: subnormal, a multiple of 2^-24
        return (unsigned short)(sign | uint32_t(nearbyintf(bit_cast<float>(magnitude) * 16777216.f)));
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (unsigned short)(sign | (rounded - 0x38000000u) >> 13);
}

static inline float half_to_float(unsigned short h) {
    const uint32_t sign = uint32_t(h & 0x8000u) << 16, exponent = h >> 10 & 31u, mantissa = h & 1023u;
    if (exponent == 0) {
        const float value = float(mantissa) / 16777216.f;
        return sign ? -value : value;
    }
    return bit_cast<float>(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23) | mantissa << 13);
}

}  // namespace xnn_emulator

XNN_EMULATOR_NARROW(__half, ::xnn_emulator::half_from_float, ::xnn_emulator::half_to_float)
typedef __half half;
typedef __half2 half2;

static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __half __double2half(double x) { return __half(x); }
static inline __half __int2half_rn(int x) { return __half(x); }
static inline __half __uint2half_rn(unsigned x) { return __half(x); }
static inline float __half2float(__half h) { return float(h); }
static inline int __half2int_rn(__half h) { return __float2int_rn(float(h)); }
static inline int __half2int_rz(__half h) { return __float2int_rz(float(h)); }
static inline short __half_as_short(__half h) { return short(h.__x); }
static inline unsigned short __half_as_ushort(__half h) { return h.__x; }
static inline __half __short_as_half(short x) { return __half::from_bits((unsigned short)x); }
static inline __half __ushort_as_half(unsigned short x) { return __half::from_bits(x); }

static inline __half2 make_half2(__half x, __half y) { return {x, y}; }
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline __half2 __half2half2(__half x) { return {x, x}; }
static inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
static inline float2 __half22float2(__half2 h) { return {float(h.x), float(h.y)}; }
static inline __half __low2half(__half2 h) { return h.x; }
static inline __half __high2half(__half2 h) { return h.y; }
static inline __half2 __low2half2(__half2 h) { return {h.x, h.x}; }
static inline __half2 __high2half2(__half2 h) { return {h.y, h.y}; }
static inline __half2 __lows2half2(__half2 a, __half2 b) { return {a.x, b.x}; }
static inline __half2 __highs2half2(__half2 a, __half2 b) { return {a.y, b.y}; }
