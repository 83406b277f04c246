// Dropout, forward and backward in one: y = m x s with a mask m that is 0 with probability p, and s = 1 / (1 - p). The
// gradient is the same function of dy.
//
//     m_i = 1 where u_i >= p,   u_i = (bits of element i >> 8) 2^-24
//
// u_i is the i-th float32 that xnn.random draws on the host for the same key, in every bit; so the mask is that of the
// CPU. It is not stored: the backward pass draws it again.
//
// Bytes: read x, write y. One call of Philox, 18 products of 64 by 64 bits, is enough for eight elements.
//
// Shape: a warp takes 256 consecutive elements. Each lane draws the bits of eight of them, which become the eight bits
// of a mask; loads and stores run over the elements in 16-byte steps, lane beside lane, and each asks the lane that
// drew for it. Philox numbers come in eights from the start of the array, wherever that lies in memory: where it does
// not begin at a multiple of 16 bytes, and at the end, elements are loaded one by one.
#include "common.cuh"
#include "philox.cuh"

constexpr int THREADS = 256;
constexpr int DRAWN = 8;  // elements for which a lane draws

// Bit j: whether element j of eight is kept.
__device__ __forceinline__ unsigned kept(const Random& random, unsigned threshold) {
    unsigned mask = 0;
#pragma unroll
    for (int j = 0; j < DRAWN; j++) mask |= (random.bits(j) >> 8 >= threshold ? 1u : 0u) << j;
    return mask;
}

// N elements at once: VECTOR, or 1. `count` of the warp's elements exist.
template <int N>
__device__ __forceinline__ void dropout_warp(
    const T* x, T* y, int count, unsigned long long first, unsigned long long seed_low, unsigned long long seed_high,
    unsigned long long draw, unsigned threshold, A scale) {
    constexpr int STEPS = DRAWN / N;
    const int lane = threadIdx.x % WARP;
    A values[STEPS][N];
    // All loads are on their way before the bits are drawn.
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        const int e = (step * WARP + lane) * N;
        if (N > 1 || e < count) load(values[step], x + e);
    }
    const unsigned mine = kept(philox(seed_low, seed_high, draw, first / DRAWN + lane), threshold);
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        const int e = (step * WARP + lane) * N;
        const unsigned mask = __shfl_sync(FULL, mine, e / DRAWN) >> e % DRAWN;
        if (N > 1 || e < count) {
            // A product and no choice: NaN stays, and infinity becomes NaN, as on the CPU.
#pragma unroll
            for (int i = 0; i < N; i++) values[step][i] *= mask >> i & 1 ? scale : A(0);
            store(y + e, values[step]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) dropout(
    const T* __restrict__ x,  // elements
    T* __restrict__ y,        // elements
    long long elements, unsigned long long seed_low, unsigned long long seed_high, unsigned long long draw,
    unsigned threshold, A scale) {
    constexpr int EACH_WARP = WARP * DRAWN;
    const long long warp = static_cast<long long>(blockIdx.x) * (THREADS / WARP) + threadIdx.x / WARP;
    const long long first = warp * EACH_WARP;
    if (first >= elements) return;  // and with it the whole warp
    const int count = elements - first < EACH_WARP ? static_cast<int>(elements - first) : EACH_WARP;
    if (count == EACH_WARP && misalignment(x) == 0 && misalignment(y) == 0)
        dropout_warp<VECTOR>(x + first, y + first, count, first, seed_low, seed_high, draw, threshold, scale);
    else
        dropout_warp<1>(x + first, y + first, count, first, seed_low, seed_high, draw, threshold, scale);
}
