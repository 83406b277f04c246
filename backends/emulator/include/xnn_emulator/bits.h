// Values as bit patterns, and back.
#pragma once

namespace xnn_emulator {

template <class To, class From> static inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

// For warp operations: any value of at most 8 bytes.
template <class T> static inline uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> static inline T from_bits(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace xnn_emulator

static inline int __float_as_int(float x) { return ::xnn_emulator::bit_cast<int>(x); }
static inline unsigned __float_as_uint(float x) { return ::xnn_emulator::bit_cast<unsigned>(x); }
static inline float __int_as_float(int x) { return ::xnn_emulator::bit_cast<float>(x); }
static inline float __uint_as_float(unsigned x) { return ::xnn_emulator::bit_cast<float>(x); }
static inline long long __double_as_longlong(double x) { return ::xnn_emulator::bit_cast<long long>(x); }
static inline double __longlong_as_double(long long x) { return ::xnn_emulator::bit_cast<double>(x); }
static inline int __double2hiint(double x) { return int(::xnn_emulator::to_bits(x) >> 32); }
static inline int __double2loint(double x) { return int(::xnn_emulator::to_bits(x)); }
static inline double __hiloint2double(int high, int low) {
    return ::xnn_emulator::bit_cast<double>(uint64_t(unsigned(high)) << 32 | unsigned(low));
}
