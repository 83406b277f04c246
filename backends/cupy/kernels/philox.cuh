// Philox4x64-10: 256 random bits as a function of a 128-bit key and a 256-bit counter (Salmon, Moraes, Dror, Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4). The same bits as xnn.random draws on the host:
//
//     key = seed,   counter = (block + 1, 0, 0, draw)
//
// block 0, 1, 2 ... gives the first, second, third four words of draw number `draw`. (NumPy's generator counts up before
// it uses the counter, hence the 1.) A word gives two numbers of 32 bits, the low half first, or one of 64.
#pragma once

struct Random {
    unsigned long long word[4];

    // Half 0 to 7.
    __device__ __forceinline__ unsigned bits(int half) const {
        return static_cast<unsigned>(half % 2 == 0 ? word[half / 2] : word[half / 2] >> 32);
    }
};

// Ten rounds of two 64 by 64 bit products. The zeros of the counter are written down here, so that the compiler leaves
// out what is multiplied by them.
__device__ __forceinline__ Random philox(
    unsigned long long seed_low, unsigned long long seed_high, unsigned long long draw, unsigned long long block) {
    unsigned long long c0 = block + 1, c1 = 0, c2 = 0, c3 = draw;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        constexpr unsigned long long M0 = 0xD2E7470EE14C6C93ull, M1 = 0xCA5A826395121157ull;
        const unsigned long long high0 = __umul64hi(M0, c0), low0 = M0 * c0;
        const unsigned long long high1 = __umul64hi(M1, c2), low1 = M1 * c2;
        c0 = high1 ^ c1 ^ seed_low;
        c1 = low1;
        c2 = high0 ^ c3 ^ seed_high;
        c3 = low0;
        seed_low += 0x9E3779B97F4A7C15ull;   // the golden ratio, and
        seed_high += 0xBB67AE8584CAA73Bull;  // √3 - 1, as binary fractions
    }
    return {{c0, c1, c2, c3}};
}
