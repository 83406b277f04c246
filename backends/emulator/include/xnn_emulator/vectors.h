// float4 and its like, with CUDA's alignment.
#pragma once

#define XNN_EMULATOR_VECTORS(T, name, align2, align4)                                      \
    struct name##1 { T x; };                                                               \
    struct alignas(align2) name##2 { T x, y; };                                            \
    struct name##3 { T x, y, z; };                                                         \
    struct alignas(align4) name##4 { T x, y, z, w; };                                      \
    static inline name##1 make_##name##1(T x) { return {x}; }                              \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                      \
    static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }              \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

XNN_EMULATOR_VECTORS(signed char, char, 2, 4)
XNN_EMULATOR_VECTORS(unsigned char, uchar, 2, 4)
XNN_EMULATOR_VECTORS(short, short, 4, 8)
XNN_EMULATOR_VECTORS(unsigned short, ushort, 4, 8)
XNN_EMULATOR_VECTORS(int, int, 8, 16)
XNN_EMULATOR_VECTORS(float, float, 8, 16)
XNN_EMULATOR_VECTORS(long, long, 16, 16)
XNN_EMULATOR_VECTORS(unsigned long, ulong, 16, 16)
XNN_EMULATOR_VECTORS(long long, longlong, 16, 16)
XNN_EMULATOR_VECTORS(unsigned long long, ulonglong, 16, 16)
XNN_EMULATOR_VECTORS(double, double, 16, 16)
#undef XNN_EMULATOR_VECTORS

// uint3 is the type of threadIdx and stands in thread.h.
struct uint1 { unsigned x; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline uint1 make_uint1(unsigned x) { return {x}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
