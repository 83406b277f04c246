// Conversions between floating-point numbers and integers with the rounding in their name.
//
// As on a GPU, what does not fit becomes the nearest integer that does, and NaN becomes 0.
#pragma once

namespace xnn_emulator {

template <class To> static inline To saturate(double whole) {
    const To lowest = To(-1) < To(0) ? To(uint64_t(1) << (8 * sizeof(To) - 1)) : To(0);
    const To highest = To(~lowest);
    if (whole != whole) return 0;
    if (whole <= double(lowest)) return lowest;
    if (whole >= double(highest)) return highest;
    return To(whole);
}

}  // namespace xnn_emulator

#define XNN_EMULATOR_TO_INTEGER(From, from, To, to)                                                                  \
    static inline To __##from##2##to##_rn(From x) { return ::xnn_emulator::saturate<To>(nearbyint(double(x))); }    \
    static inline To __##from##2##to##_rz(From x) { return ::xnn_emulator::saturate<To>(trunc(double(x))); }        \
    static inline To __##from##2##to##_rd(From x) { return ::xnn_emulator::saturate<To>(floor(double(x))); }        \
    static inline To __##from##2##to##_ru(From x) { return ::xnn_emulator::saturate<To>(ceil(double(x))); }
XNN_EMULATOR_TO_INTEGER(float, float, int, int)
XNN_EMULATOR_TO_INTEGER(float, float, unsigned, uint)
XNN_EMULATOR_TO_INTEGER(float, float, long long, ll)
XNN_EMULATOR_TO_INTEGER(float, float, unsigned long long, ull)
XNN_EMULATOR_TO_INTEGER(double, double, int, int)
XNN_EMULATOR_TO_INTEGER(double, double, unsigned, uint)
XNN_EMULATOR_TO_INTEGER(double, double, long long, ll)
XNN_EMULATOR_TO_INTEGER(double, double, unsigned long long, ull)
#undef XNN_EMULATOR_TO_INTEGER

static inline float __int2float_rn(int x) { return float(x); }
static inline float __uint2float_rn(unsigned x) { return float(x); }
static inline float __ll2float_rn(long long x) { return float(x); }
static inline float __ull2float_rn(unsigned long long x) { return float(x); }
static inline double __int2double_rn(int x) { return double(x); }
static inline double __uint2double_rn(unsigned x) { return double(x); }
static inline double __ll2double_rn(long long x) { return double(x); }
static inline double __ull2double_rn(unsigned long long x) { return double(x); }
static inline float __double2float_rn(double x) { return float(x); }

// float from double, rounding down, up or to zero: the nearest one, corrected by one step where it went the wrong way.
static inline float __double2float_rd(double x) { float y = float(x); return double(y) > x ? nextafterf(y, -HUGE_VALF) : y; }
static inline float __double2float_ru(double x) { float y = float(x); return double(y) < x ? nextafterf(y, HUGE_VALF) : y; }
static inline float __double2float_rz(double x) { return x < 0 ? __double2float_ru(x) : __double2float_rd(x); }
