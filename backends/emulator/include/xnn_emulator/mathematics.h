// Functions of CUDA's math library that C does not have, overloads for float, and the fast intrinsics.
//
// The fast intrinsics (__expf and its like) are ordinary functions here: their smaller accuracy on a GPU, and its
// flush of subnormal numbers to zero, do not show in the emulator.
#pragma once

#undef INFINITY  // NVRTC has neither: CUDART_INF_F and CUDART_NAN_F of <math_constants.h> do it everywhere
#undef NAN
#undef isnan
#undef isinf
#undef isfinite
#undef signbit

// --- overloads: exp(float) is expf ---
#define XNN_EMULATOR_UNARY(name) \
    static inline float name(float x) { return name##f(x); }
#define XNN_EMULATOR_BINARY(name) \
    static inline float name(float x, float y) { return name##f(x, y); } \
    static inline double name(float x, double y) { return name(double(x), y); } \
    static inline double name(double x, float y) { return name(x, double(y)); }
XNN_EMULATOR_UNARY(acos) XNN_EMULATOR_UNARY(acosh) XNN_EMULATOR_UNARY(asin) XNN_EMULATOR_UNARY(asinh)
XNN_EMULATOR_UNARY(atan) XNN_EMULATOR_UNARY(atanh) XNN_EMULATOR_UNARY(cbrt) XNN_EMULATOR_UNARY(ceil)
XNN_EMULATOR_UNARY(cos) XNN_EMULATOR_UNARY(cosh) XNN_EMULATOR_UNARY(erf) XNN_EMULATOR_UNARY(erfc)
XNN_EMULATOR_UNARY(exp) XNN_EMULATOR_UNARY(exp2) XNN_EMULATOR_UNARY(expm1) XNN_EMULATOR_UNARY(fabs)
XNN_EMULATOR_UNARY(floor) XNN_EMULATOR_UNARY(lgamma) XNN_EMULATOR_UNARY(log) XNN_EMULATOR_UNARY(log10)
XNN_EMULATOR_UNARY(log1p) XNN_EMULATOR_UNARY(log2) XNN_EMULATOR_UNARY(logb) XNN_EMULATOR_UNARY(nearbyint)
XNN_EMULATOR_UNARY(rint) XNN_EMULATOR_UNARY(round) XNN_EMULATOR_UNARY(sin) XNN_EMULATOR_UNARY(sinh)
XNN_EMULATOR_UNARY(sqrt) XNN_EMULATOR_UNARY(tan) XNN_EMULATOR_UNARY(tanh) XNN_EMULATOR_UNARY(tgamma)
XNN_EMULATOR_UNARY(trunc)
XNN_EMULATOR_BINARY(atan2) XNN_EMULATOR_BINARY(copysign) XNN_EMULATOR_BINARY(fdim) XNN_EMULATOR_BINARY(fmax)
XNN_EMULATOR_BINARY(fmin) XNN_EMULATOR_BINARY(fmod) XNN_EMULATOR_BINARY(hypot) XNN_EMULATOR_BINARY(nextafter)
XNN_EMULATOR_BINARY(pow) XNN_EMULATOR_BINARY(remainder)
#undef XNN_EMULATOR_UNARY
#undef XNN_EMULATOR_BINARY
static inline float pow(float x, int n) { return powf(x, float(n)); }
static inline double pow(double x, int n) { return pow(x, double(n)); }
static inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
static inline float ldexp(float x, int n) { return ldexpf(x, n); }
static inline float frexp(float x, int* n) { return frexpf(x, n); }
static inline float modf(float x, float* whole) { return modff(x, whole); }
static inline long lrint(float x) { return lrintf(x); }
static inline long lround(float x) { return lroundf(x); }
static inline long long llrint(float x) { return llrintf(x); }
static inline long long llround(float x) { return llroundf(x); }
static inline float abs(float x) { return fabsf(x); }
static inline double abs(double x) { return fabs(x); }

static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isnan(double x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isinf(double x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }
static inline bool signbit(double x) { return __builtin_signbit(x); }

// max and min of floating-point numbers are fmax and fmin: a NaN loses against a number.
#define XNN_EMULATOR_MINMAX(T, A, B)                                   \
    static inline T min(A a, B b) { return fmin(T(a), T(b)); }         \
    static inline T max(A a, B b) { return fmax(T(a), T(b)); }
XNN_EMULATOR_MINMAX(float, float, float)
XNN_EMULATOR_MINMAX(double, double, double)
XNN_EMULATOR_MINMAX(double, float, double)
XNN_EMULATOR_MINMAX(double, double, float)
#undef XNN_EMULATOR_MINMAX

// --- functions that C does not have ---
static inline float rsqrtf(float x) { return float(1.0 / sqrt(double(x))); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return float(1.0 / cbrt(double(x))); }
static inline double rcbrt(double x) { return 1.0 / cbrt(x); }
static inline float rhypotf(float x, float y) { return float(1.0 / hypot(double(x), double(y))); }
static inline double rhypot(double x, double y) { return 1.0 / hypot(x, y); }
static inline float norm3df(float x, float y, float z) { return float(hypot(hypot(double(x), double(y)), double(z))); }
static inline float norm4df(float x, float y, float z, float w) {
    return float(hypot(hypot(double(x), double(y)), hypot(double(z), double(w))));
}
static inline double norm3d(double x, double y, double z) { return hypot(hypot(x, y), z); }
static inline double norm4d(double x, double y, double z, double w) { return hypot(hypot(x, y), hypot(z, w)); }

static inline double sinpi(double x) {
    const double r = remainder(x, 2.0);  // exact, in [-1, 1]
    return fabs(r) > 0.5 ? sin(M_PI * (copysign(1.0, r) - r)) : sin(M_PI * r);
}
static inline double cospi(double x) {
    const double r = fabs(remainder(x, 2.0));
    return r > 0.25 && r < 0.75 ? sin(M_PI * (0.5 - r)) : r >= 0.75 ? -cos(M_PI * (1.0 - r)) : cos(M_PI * r);
}
static inline float sinpif(float x) { return float(sinpi(double(x))); }
static inline float cospif(float x) { return float(cospi(double(x))); }
static inline void sincospif(float x, float* s, float* c) { *s = sinpif(x); *c = cospif(x); }
static inline void sincospi(double x, double* s, double* c) { *s = sinpi(x); *c = cospi(x); }

static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static inline float normcdff(float x) { return float(normcdf(double(x))); }

// The inverse of erf: a start that is right to a few digits (S. Winitzki's formula), then Newton's method on erf, or on
// log(erfc) where erf is too flat.
static inline double erfinv(double y) {
    const double a = fabs(y);
    if (!(a < 1.0)) return a == 1.0 ? copysign(HUGE_VAL, y) : HUGE_VAL - HUGE_VAL;
    if (a < 1e-8) return y * 0.88622692545275801365;  // sqrt(pi) / 2
    const double l = log1p(-a * a), t = 2.0 / (M_PI * 0.147) + 0.5 * l;
    double x = sqrt(sqrt(t * t - l / 0.147) - t);
    for (int i = 0; i < 4; i++) {
        const double slope = M_2_SQRTPI * exp(-x * x);
        if (a < 0.5) x -= (erf(x) - a) / slope;
        else { const double q = erfc(x); x += q * log(q / (1.0 - a)) / slope; }
    }
    return copysign(x, y);
}
static inline float erfinvf(float y) { return float(erfinv(double(y))); }
static inline double erfcinv(double y) { return erfinv(1.0 - y); }
static inline float erfcinvf(float y) { return float(erfcinv(double(y))); }
static inline double normcdfinv(double p) { return 1.41421356237309504880 * erfinv(2.0 * p - 1.0); }
static inline float normcdfinvf(float p) { return float(normcdfinv(double(p))); }

// exp(x^2) erfc(x), by the continued fraction where erfc is on its way to zero.
static inline double erfcx(double x) {
    if (x < 10.0) return exp(x * x) * erfc(x);
    double f = x;
    for (int k = 40; k > 0; k--) f = x + 0.5 * k / f;
    return 0.56418958354775628695 / f;  // 1 / sqrt(pi)
}
static inline float erfcxf(float x) { return float(erfcx(double(x))); }

// --- fast and explicitly rounded intrinsics ---
// (glibc has hidden functions of these names, so the kernel's names stand for others.)
#define __expf xnn_emulator_fast_expf
#define __exp10f xnn_emulator_fast_exp10f
#define __logf xnn_emulator_fast_logf
#define __log2f xnn_emulator_fast_log2f
#define __log10f xnn_emulator_fast_log10f
#define __powf xnn_emulator_fast_powf
#define __sinf xnn_emulator_fast_sinf
#define __cosf xnn_emulator_fast_cosf
#define __tanf xnn_emulator_fast_tanf
#define __tanhf xnn_emulator_fast_tanhf
#define __sincosf xnn_emulator_fast_sincosf
static inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }  // NaN gives 0
static inline float fdividef(float a, float b) { return a / b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __expf(float x) { return expf(x); }
static inline float __exp10f(float x) { return float(pow(10.0, double(x))); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __log10f(float x) { return log10f(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __tanf(float x) { return tanf(x); }
static inline float __tanhf(float x) { return tanhf(x); }
static inline void __sincosf(float x, float* s, float* c) { *s = sinf(x); *c = cosf(x); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.f / a; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frsqrt_rn(float a) { return rsqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __drcp_rn(double a) { return 1.0 / a; }
static inline double __dsqrt_rn(double a) { return sqrt(a); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
