// Numbers uniform in [low, high), the same bits as xnn.random draws on the host for the same key.
//
//     float32: u = (32 bits >> 8) 2^-24,  float64: u = (64 bits >> 11) 2^-53,   out = min(u (high - low) + low, below)
//
// `below` is the largest number under high: the sum may have been rounded up to high.
//
// Bytes: one write. Shape: a thread calls Philox once and writes what it gives, 32 bytes.
#include "philox.cuh"

using T = XNN_T;  // float, double

constexpr int THREADS = 256;

// Two roundings, never one (a fused multiply-add): as on the host.
__device__ __forceinline__ float scaled(float u, float range, float low) { return __fadd_rn(__fmul_rn(u, range), low); }
__device__ __forceinline__ double scaled(double u, double range, double low) {
    return __dadd_rn(__dmul_rn(u, range), low);
}

template <class U> __device__ __forceinline__ U uniform_number(const Random& random, int i) {
    if constexpr (sizeof(U) == 4)
        return static_cast<U>(random.bits(i) >> 8) * U(0x1p-24);
    else
        return static_cast<U>(random.word[i] >> 11) * U(0x1p-53);
}

extern "C" __global__ void __launch_bounds__(THREADS) uniform(
    T* __restrict__ out,  // elements
    long long elements, unsigned long long seed_low, unsigned long long seed_high, unsigned long long draw, T low,
    T range, T below) {
    constexpr int DRAWN = 32 / sizeof(T);
    const long long block = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    const long long first = block * DRAWN;
    if (first >= elements) return;
    const Random random = philox(seed_low, seed_high, draw, block);
    T values[DRAWN];
#pragma unroll
    for (int i = 0; i < DRAWN; i++) {
        const T value = scaled(uniform_number<T>(random, i), range, low);
        values[i] = value < below ? value : below;
    }
    if (first + DRAWN <= elements && reinterpret_cast<unsigned long long>(out) % 16 == 0) {
#pragma unroll
        for (int i = 0; i < 2; i++)
            reinterpret_cast<uint4*>(out + first)[i] = reinterpret_cast<const uint4*>(values)[i];
    } else {
        for (int i = 0; i < DRAWN && first + i < elements; i++) out[first + i] = values[i];
    }
}
