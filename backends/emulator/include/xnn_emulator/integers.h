// Integer intrinsics, min, max and abs.
#pragma once

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1u) << (31 - i);
    return y;
}
static inline unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev(unsigned(x)) << 32 | __brev(unsigned(x >> 32));
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
static inline int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
__extension__ typedef unsigned __int128 xnn_emulator_uint128;
__extension__ typedef __int128 xnn_emulator_int128;
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(xnn_emulator_uint128(a) * b >> 64);
}
static inline long long __mul64hi(long long a, long long b) { return (long long)(xnn_emulator_int128(a) * b >> 64); }
static inline int __mul24(int a, int b) {
    return int(unsigned(int(unsigned(a) << 8) >> 8) * unsigned(int(unsigned(b) << 8) >> 8));
}
static inline unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
static inline unsigned __sad(int a, int b, unsigned c) { return (a < b ? unsigned(b) - unsigned(a) : unsigned(a) - unsigned(b)) + c; }
static inline unsigned __usad(unsigned a, unsigned b, unsigned c) { return (a < b ? b - a : a - b) + c; }
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    uint64_t bytes = uint64_t(y) << 32 | x;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned choice = selector >> 4 * i;
        unsigned byte = unsigned(bytes >> 8 * (choice & 7)) & 0xff;
        if (choice & 8) byte = byte & 0x80 ? 0xff : 0;  // the sign, repeated
        result |= byte << 8 * i;
    }
    return result;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned((uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
static inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
    return shift >= 32 ? low : __funnelshift_l(low, high, shift);
}
static inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
    return shift >= 32 ? high : __funnelshift_r(low, high, shift);
}
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += int((signed char)(a >> 8 * i)) * int((signed char)(b >> 8 * i));
    return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 4; i++) c += (a >> 8 * i & 0xff) * (b >> 8 * i & 0xff);
    return c;
}

// For integers of equal type and, as CUDA has it, of int with unsigned (which gives unsigned).
#define XNN_EMULATOR_MINMAX(T, A, B)                                              \
    static inline T min(A a, B b) { T x = (T)a, y = (T)b; return y < x ? y : x; } \
    static inline T max(A a, B b) { T x = (T)a, y = (T)b; return x < y ? y : x; }
XNN_EMULATOR_MINMAX(int, int, int)
XNN_EMULATOR_MINMAX(unsigned, unsigned, unsigned)
XNN_EMULATOR_MINMAX(unsigned, int, unsigned)
XNN_EMULATOR_MINMAX(unsigned, unsigned, int)
XNN_EMULATOR_MINMAX(long, long, long)
XNN_EMULATOR_MINMAX(unsigned long, unsigned long, unsigned long)
XNN_EMULATOR_MINMAX(unsigned long, long, unsigned long)
XNN_EMULATOR_MINMAX(unsigned long, unsigned long, long)
XNN_EMULATOR_MINMAX(long long, long long, long long)
XNN_EMULATOR_MINMAX(unsigned long long, unsigned long long, unsigned long long)
XNN_EMULATOR_MINMAX(unsigned long long, long long, unsigned long long)
XNN_EMULATOR_MINMAX(unsigned long long, unsigned long long, long long)
#undef XNN_EMULATOR_MINMAX
static inline unsigned umin(unsigned a, unsigned b) { return min(a, b); }
static inline unsigned umax(unsigned a, unsigned b) { return max(a, b); }
static inline long long llmin(long long a, long long b) { return min(a, b); }
static inline long long llmax(long long a, long long b) { return max(a, b); }
static inline unsigned long long ullmin(unsigned long long a, unsigned long long b) { return min(a, b); }
static inline unsigned long long ullmax(unsigned long long a, unsigned long long b) { return max(a, b); }
static inline long abs(long x) { return labs(x); }
static inline long long abs(long long x) { return llabs(x); }
