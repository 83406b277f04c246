// What __half and __nv_bfloat16 have in common: exact rounding, operators, and the intrinsics whose names they share.
//
// Every operation computes in float (or double) and rounds once to the nearest 16-bit number, ties to even, as the GPU's
// own instructions do. For + - * / this is exact, because float has more than twice the bits of a half; a fused
// multiply-add needs the care of round_to_odd. Functions such as hexp are rounded from float, which is within a unit in
// the last place of what a GPU gives.
#pragma once

namespace xnn_emulator {

template <class T> constexpr bool is_narrow = false;
template <class T> constexpr bool is_narrow_pair = false;
template <class T> using Narrow = typename EnableIf<is_narrow<T>, T>::type;
template <class T> using NarrowPair = typename EnableIf<is_narrow_pair<T>, T>::type;
template <class T> using IfNarrow = typename EnableIf<is_narrow<T>, bool>::type;

// Rounding twice goes wrong only where the first result lies exactly between two narrower numbers. A first result whose
// last bit is 1 if anything was cut off never does.
static inline float round_to_odd(double x) {
    const float y = __double2float_rz(x);
    if (double(y) == x || x != x || isinf(x)) return y;
    return bit_cast<float>(bit_cast<uint32_t>(y) | 1u);
}

// a * b + c, rounded to odd. The product of two 16-bit numbers is exact in double.
static inline double fused_multiply_add(float a, float b, float c) {
    const double product = double(a) * double(b), sum = product + double(c);
    const double part = sum - product, rest = (product - (sum - part)) + (double(c) - part);  // Knuth's TwoSum
    if (!(rest != 0.0) || !isfinite(sum) || rest != rest) return sum;
    uint64_t bits = bit_cast<uint64_t>(sum);
    if ((rest > 0) != (sum > 0)) bits--;  // it was rounded away from zero
    return bit_cast<double>(bits | 1u);
}

}  // namespace xnn_emulator

#define XNN_EMULATOR_NARROW(H, from_float_bits, to_float_value)                                                  \
    struct alignas(2) H {                                                                                        \
        unsigned short __x;                                                                                      \
        H() = default;                                                                                           \
        H(float x) : __x(from_float_bits(x)) {}                                                                  \
        H(double x) : __x(from_float_bits(::xnn_emulator::round_to_odd(x))) {}                                   \
        H(int x) : H(double(x)) {}                                                                               \
        H(unsigned x) : H(double(x)) {}                                                                          \
        H(short x) : H(float(x)) {}                                                                              \
        H(unsigned short x) : H(float(x)) {}                                                                     \
        H(long long x) : H(double(x)) {}                                                                         \
        H(unsigned long long x) : H(double(x)) {}                                                                \
        operator float() const { return to_float_value(__x); }                                                   \
        static H from_bits(unsigned short bits) { H h; h.__x = bits; return h; }                                 \
    };                                                                                                           \
    struct alignas(4) H##2;                                                                                      \
    namespace xnn_emulator { template <> inline constexpr bool is_narrow<H> = true; }                            \
    static inline H operator+(const H& a, const H& b) { return H(float(a) + float(b)); }                         \
    static inline H operator-(const H& a, const H& b) { return H(float(a) - float(b)); }                         \
    static inline H operator*(const H& a, const H& b) { return H(float(a) * float(b)); }                         \
    static inline H operator/(const H& a, const H& b) { return H(float(a) / float(b)); }                         \
    static inline H operator+(const H& a) { return a; }                                                          \
    static inline H operator-(const H& a) { return H::from_bits((unsigned short)(a.__x ^ 0x8000u)); }            \
    static inline H& operator+=(H& a, const H& b) { return a = a + b; }                                          \
    static inline H& operator-=(H& a, const H& b) { return a = a - b; }                                          \
    static inline H& operator*=(H& a, const H& b) { return a = a * b; }                                          \
    static inline H& operator/=(H& a, const H& b) { return a = a / b; }                                          \
    static inline bool operator==(const H& a, const H& b) { return float(a) == float(b); }                       \
    static inline bool operator!=(const H& a, const H& b) { return float(a) != float(b); }                       \
    static inline bool operator<(const H& a, const H& b) { return float(a) < float(b); }                         \
    static inline bool operator<=(const H& a, const H& b) { return float(a) <= float(b); }                       \
    static inline bool operator>(const H& a, const H& b) { return float(a) > float(b); }                         \
    static inline bool operator>=(const H& a, const H& b) { return float(a) >= float(b); }                       \
    struct alignas(4) H##2 {                                                                                     \
        H x, y;                                                                                                  \
        H##2() = default;                                                                                        \
        H##2(const H& x, const H& y) : x(x), y(y) {}                                                             \
    };                                                                                                           \
    namespace xnn_emulator {                                                                                     \
    template <> inline constexpr bool is_narrow_pair<H##2> = true;                                               \
    template <> inline constexpr const char* type_name<H> = #H;                                                  \
    template <> inline constexpr const char* type_name<H##2> = #H "2";                                           \
    }                                                                                                            \
    static inline H##2 operator+(const H##2& a, const H##2& b) { return {a.x + b.x, a.y + b.y}; }                \
    static inline H##2 operator-(const H##2& a, const H##2& b) { return {a.x - b.x, a.y - b.y}; }                \
    static inline H##2 operator*(const H##2& a, const H##2& b) { return {a.x * b.x, a.y * b.y}; }                \
    static inline H##2 operator/(const H##2& a, const H##2& b) { return {a.x / b.x, a.y / b.y}; }                \
    static inline H##2 operator-(const H##2& a) { return {-a.x, -a.y}; }                                         \
    static inline H##2& operator+=(H##2& a, const H##2& b) { return a = a + b; }                                 \
    static inline H##2& operator-=(H##2& a, const H##2& b) { return a = a - b; }                                 \
    static inline H##2& operator*=(H##2& a, const H##2& b) { return a = a * b; }                                 \
    static inline H##2& operator/=(H##2& a, const H##2& b) { return a = a / b; }                                 \
    static inline float __low2float(H##2 a) { return float(a.x); }                                               \
    static inline float __high2float(H##2 a) { return float(a.y); }                                              \
    static inline H##2 __lowhigh2highlow(H##2 a) { return {a.y, a.x}; }                                          \
    XNN_EMULATOR_ATOMIC(atomicAdd, H, old + value)                                                               \
    static inline H##2 atomicAdd(H##2* p, H##2 v) { return {atomicAdd(&p->x, v.x), atomicAdd(&p->y, v.y)}; }

// --- intrinsics of one number, of both types ---
#define XNN_EMULATOR_BINARY(name, expression) \
    template <class H> static inline ::xnn_emulator::Narrow<H> name(H a, H b) { return expression; }
XNN_EMULATOR_BINARY(__hadd, a + b)
XNN_EMULATOR_BINARY(__hsub, a - b)
XNN_EMULATOR_BINARY(__hmul, a * b)
XNN_EMULATOR_BINARY(__hdiv, a / b)
XNN_EMULATOR_BINARY(__hadd_rn, a + b)
XNN_EMULATOR_BINARY(__hsub_rn, a - b)
XNN_EMULATOR_BINARY(__hmul_rn, a * b)
XNN_EMULATOR_BINARY(__hadd_sat, H(__saturatef(float(a) + float(b))))
XNN_EMULATOR_BINARY(__hsub_sat, H(__saturatef(float(a) - float(b))))
XNN_EMULATOR_BINARY(__hmul_sat, H(__saturatef(float(a) * float(b))))
XNN_EMULATOR_BINARY(__hmax, H(fmaxf(float(a), float(b))))
XNN_EMULATOR_BINARY(__hmin, H(fminf(float(a), float(b))))
XNN_EMULATOR_BINARY(__hmax_nan, isnan(float(a)) ? a : isnan(float(b)) ? b : __hmax(a, b))
XNN_EMULATOR_BINARY(__hmin_nan, isnan(float(a)) ? a : isnan(float(b)) ? b : __hmin(a, b))
#undef XNN_EMULATOR_BINARY

template <class H> static inline ::xnn_emulator::Narrow<H> __hfma(H a, H b, H c) {
    return H(::xnn_emulator::fused_multiply_add(float(a), float(b), float(c)));
}
template <class H> static inline ::xnn_emulator::Narrow<H> __hfma_sat(H a, H b, H c) {
    return H(__saturatef(float(__hfma(a, b, c))));
}
template <class H> static inline ::xnn_emulator::Narrow<H> __hfma_relu(H a, H b, H c) {
    const float y = float(__hfma(a, b, c));
    return isnan(y) ? H(y) : H(fmaxf(y, 0.f));
}

#define XNN_EMULATOR_COMPARE(name, op)                                                                       \
    template <class H, ::xnn_emulator::IfNarrow<H> = true> static inline bool __h##name(H a, H b) { return a op b; } \
    template <class H, ::xnn_emulator::IfNarrow<H> = true> static inline bool __h##name##u(H a, H b) {       \
        return isnan(float(a)) || isnan(float(b)) || a op b;                                                 \
    }
XNN_EMULATOR_COMPARE(eq, ==)
XNN_EMULATOR_COMPARE(ne, !=)
XNN_EMULATOR_COMPARE(lt, <)
XNN_EMULATOR_COMPARE(le, <=)
XNN_EMULATOR_COMPARE(gt, >)
XNN_EMULATOR_COMPARE(ge, >=)
#undef XNN_EMULATOR_COMPARE
template <class H, ::xnn_emulator::IfNarrow<H> = true> static inline bool __hisnan(H a) { return isnan(float(a)); }
template <class H, ::xnn_emulator::IfNarrow<H> = true> static inline int __hisinf(H a) {
    return isinf(float(a)) ? (float(a) > 0 ? 1 : -1) : 0;
}

#define XNN_EMULATOR_UNARY(name, pair_name, expression)                                                          \
    template <class H> static inline ::xnn_emulator::Narrow<H> name(H h) {                                       \
        const float x = float(h);                                                                                \
        return H(expression);                                                                                    \
    }                                                                                                            \
    template <class H2> static inline ::xnn_emulator::NarrowPair<H2> pair_name(H2 a) { return {name(a.x), name(a.y)}; }
XNN_EMULATOR_UNARY(__hneg, __hneg2, -x)
XNN_EMULATOR_UNARY(__habs, __habs2, fabsf(x))
XNN_EMULATOR_UNARY(hexp, h2exp, expf(x))
XNN_EMULATOR_UNARY(hexp2, h2exp2, exp2f(x))
XNN_EMULATOR_UNARY(hexp10, h2exp10, __exp10f(x))
XNN_EMULATOR_UNARY(hlog, h2log, logf(x))
XNN_EMULATOR_UNARY(hlog2, h2log2, log2f(x))
XNN_EMULATOR_UNARY(hlog10, h2log10, log10f(x))
XNN_EMULATOR_UNARY(hsqrt, h2sqrt, sqrtf(x))
XNN_EMULATOR_UNARY(hrsqrt, h2rsqrt, rsqrtf(x))
XNN_EMULATOR_UNARY(hrcp, h2rcp, 1.f / x)
XNN_EMULATOR_UNARY(hsin, h2sin, sinf(x))
XNN_EMULATOR_UNARY(hcos, h2cos, cosf(x))
XNN_EMULATOR_UNARY(htanh, h2tanh, tanhf(x))
XNN_EMULATOR_UNARY(hfloor, h2floor, floorf(x))
XNN_EMULATOR_UNARY(hceil, h2ceil, ceilf(x))
XNN_EMULATOR_UNARY(htrunc, h2trunc, truncf(x))
XNN_EMULATOR_UNARY(hrint, h2rint, rintf(x))
#undef XNN_EMULATOR_UNARY

// --- intrinsics of pairs ---
#define XNN_EMULATOR_BINARY(name, one) \
    template <class H2> static inline ::xnn_emulator::NarrowPair<H2> name(H2 a, H2 b) { return {one(a.x, b.x), one(a.y, b.y)}; }
XNN_EMULATOR_BINARY(__hadd2, __hadd)
XNN_EMULATOR_BINARY(__hsub2, __hsub)
XNN_EMULATOR_BINARY(__hmul2, __hmul)
XNN_EMULATOR_BINARY(__h2div, __hdiv)
XNN_EMULATOR_BINARY(__hadd2_rn, __hadd)
XNN_EMULATOR_BINARY(__hsub2_rn, __hsub)
XNN_EMULATOR_BINARY(__hmul2_rn, __hmul)
XNN_EMULATOR_BINARY(__hadd2_sat, __hadd_sat)
XNN_EMULATOR_BINARY(__hsub2_sat, __hsub_sat)
XNN_EMULATOR_BINARY(__hmul2_sat, __hmul_sat)
XNN_EMULATOR_BINARY(__hmax2, __hmax)
XNN_EMULATOR_BINARY(__hmin2, __hmin)
XNN_EMULATOR_BINARY(__hmax2_nan, __hmax_nan)
XNN_EMULATOR_BINARY(__hmin2_nan, __hmin_nan)
XNN_EMULATOR_BINARY(__heq2, __heq)
XNN_EMULATOR_BINARY(__hne2, __hne)
XNN_EMULATOR_BINARY(__hlt2, __hlt)
XNN_EMULATOR_BINARY(__hle2, __hle)
XNN_EMULATOR_BINARY(__hgt2, __hgt)
XNN_EMULATOR_BINARY(__hge2, __hge)
#undef XNN_EMULATOR_BINARY
template <class H2> static inline ::xnn_emulator::NarrowPair<H2> __hfma2(H2 a, H2 b, H2 c) {
    return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
template <class H2> static inline ::xnn_emulator::NarrowPair<H2> __hfma2_relu(H2 a, H2 b, H2 c) {
    return {__hfma_relu(a.x, b.x, c.x), __hfma_relu(a.y, b.y, c.y)};
}
