// GELU, its tanh form and SiLU, with and without a bias along the last dimension, and their derivatives.
//
//     y = f(z),  z = x + b,      dx = f'(z) dy,      db_c = Σ_n dx_nc
//
//     gelu       f = z Φ(z),      f' = Φ(z) + z φ(z),           φ(z) = e^{-z²/2} / √(2π)
//     tanh form  f = z σ(2u),     f' = σ(2u) + 2 z σ'(2u) u',   u = √(2/π) (z + 0.044715 z³)
//     silu       f = z σ(z),      f' = σ(z) + z σ'(z),          σ(z) = 1 / (1 + e^{-z})
//
// The tanh form is written with (1 + tanh u) / 2 = σ(2u), which keeps its digits where it is small, and costs less.
//
// Bytes: forward reads x and writes y, backward reads x and dy and writes dx: what it must at the least. Only x is kept
// for the backward pass; z, and what f has computed of it, costs less to compute again than to store and load.
//
// Shape: without a bias one long row, cut into chunks of VECTORS vectors a thread. With one, each thread keeps its columns
// and goes down the rows (Columns), so that the bias is loaded once. In the backward pass it adds up what it writes; the
// threads of a block join their sums, and a second kernel adds those of the blocks: always in the same order.
//
// Half precision moves half the bytes for the same arithmetic, so it gets a shorter Φ, with the digits that it can show.
#include "tile.cuh"

constexpr int THREADS = 256;
constexpr int VECTORS = 4;         // of each thread where there is no bias
constexpr int MAX_THREADS = 1024;  // of a block that adds up sums

constexpr int BLOCKS = sizeof(T) == 8 ? 1 : 4;     // of a multiprocessor at least: 64 registers, or as many as there are
constexpr int WIDE_BLOCKS = sizeof(T) == 8 ? 1 : 3;  // where columns keep sums as well
constexpr int ROWS_AT_ONCE = sizeof(T) == 8 ? 1 : 2;  // that are on the way for each thread of the backward pass

constexpr int GELU = 0;
constexpr int GELU_TANH = 1;
constexpr int SILU = 2;

// --- functions -------------------------------------------------------------------------------------------------------

template <class U> struct Functions;

template <> struct Functions<double> {
    static __device__ __forceinline__ double power(double z) { return exp(z); }
    static __device__ __forceinline__ double reciprocal(double z) { return 1.0 / z; }
    static __device__ __forceinline__ double normal_cdf(double z) { return 0.5 + 0.5 * erf(0.70710678118654752 * z); }
    static __device__ __forceinline__ double normal_density(double z) {
        return 0.39894228040143268 * exp(-0.5 * z * z);
    }
};

template <> struct Functions<float> {
    static __device__ __forceinline__ float power(float z) { return expf(z); }
    // Off by two units in the last place at most, and 0 for a divisor above 2^126: so is the quotient.
    static __device__ __forceinline__ float reciprocal(float z) { return __fdividef(1.0f, z); }
    static __device__ __forceinline__ float normal_cdf(float z) { return 0.5f + 0.5f * erff(0.707106781f * z); }
    static __device__ __forceinline__ float normal_density(float z) { return 0.398942280f * expf(-0.5f * z * z); }
};

// float16 and bfloat16, computed in float.
struct ShortFunctions {
    static __device__ __forceinline__ float power(float z) { return exponential(z); }
    static __device__ __forceinline__ float reciprocal(float z) { return __fdividef(1.0f, z); }

    // Φ(z) = 1 / (1 + 2^{-z q(z²)}), q a polynomial fitted to log2(Φ(z) / Φ(-z)) by Lawson's iteration: the relative
    // error is below 2^-13 down to z = -2, and 2^-10 where Φ(z) = 2e-8, at z = -5.5. Beyond, z q(z²) grows on.
    static __device__ __forceinline__ float normal_cdf(float z) {
        const float s = z * z;
        float q = 1.23627452e-9f;
        q = fmaf(q, s, -1.33252441e-7f);
        q = fmaf(q, s, 5.45929228e-6f);
        q = fmaf(q, s, -9.29518032e-5f);
        q = fmaf(q, s, -4.39180676e-4f);
        q = fmaf(q, s, 0.105562387f);
        q = fmaf(q, s, 2.30178367f);
        return __fdividef(1.0f, 1.0f + exp2f(-z * q));
    }

    static __device__ __forceinline__ float normal_density(float z) { return 0.398942280f * exponential(-0.5f * z * z); }
};

template <> struct Functions<__half> : ShortFunctions {};
template <> struct Functions<__nv_bfloat16> : ShortFunctions {};

using F = Functions<T>;

__device__ __forceinline__ A sigmoid(A z) { return F::reciprocal(A(1) + F::power(-z)); }

// σ(z) and σ'(z) = σ(z) σ(-z), which as σ (1 - σ) would lose its digits where σ is nearly 1.
struct Sigmoid {
    A value, slope;
    __device__ __forceinline__ explicit Sigmoid(A z) {
        const A e = F::power(z < A(0) ? z : -z), upper = F::reciprocal(A(1) + e);
        value = z < A(0) ? e * upper : upper;
        slope = e * upper * upper;
    }
};

struct Gelu {
    static __device__ __forceinline__ A value(A z) { return z * F::normal_cdf(z); }
    static __device__ __forceinline__ A slope(A z) { return F::normal_cdf(z) + z * F::normal_density(z); }
};

struct GeluTanh {
    static constexpr double SCALE = 0.79788456080286536;  // √(2/π)
    static constexpr A LINEAR = static_cast<A>(2 * SCALE), CUBIC = static_cast<A>(2 * SCALE * 0.044715);

    static __device__ __forceinline__ A value(A z) { return z * sigmoid(z * (LINEAR + CUBIC * (z * z))); }
    static __device__ __forceinline__ A slope(A z) {
        // Beyond 30, σ' is 0 in every dtype; z² must not become infinite, since the product would be 0 times that.
        const A near = larger(-larger(-z, A(-30)), A(-30)), square = near * near;
        const Sigmoid s(near * (LINEAR + CUBIC * square));
        return s.value + z * s.slope * (LINEAR + A(3) * CUBIC * square);
    }
};

struct Silu {
    static __device__ __forceinline__ A value(A z) { return z * sigmoid(z); }
    static __device__ __forceinline__ A slope(A z) {
        const Sigmoid s(z);
        return s.value + z * s.slope;
    }
};

// body(Gelu()) or one of the others: the choice is made once, outside of all loops.
template <class Body> __device__ __forceinline__ void with_function(int number, Body body) {
    if (number == GELU)
        body(Gelu());
    else if (number == GELU_TANH)
        body(GeluTanh());
    else
        body(Silu());
}

// --- without a bias --------------------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) activation(
    const T* __restrict__ x,  // elements
    T* __restrict__ y,        // elements
    long long elements, int function) {
    constexpr int CHUNK = THREADS * VECTORS * VECTOR;
    const long long begin = static_cast<long long>(blockIdx.x) * CHUNK;
    const int count = elements - begin < CHUNK ? static_cast<int>(elements - begin) : CHUNK;
    const T* its_x = x + begin;
    T* its_y = y + begin;
    with_function(function, [&](auto f) {
        visit(its_x, count, threadIdx.x, THREADS, same_alignment(its_x, its_y), [&](int c, auto n) {
            constexpr int N = decltype(n)::value;
            A values[N];
            load(values, its_x + c);
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = f.value(values[i]);
            store(its_y + c, values);
        });
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) activation_backward(
    const T* __restrict__ x,   // elements
    const T* __restrict__ dy,  // elements
    T* __restrict__ dx,        // elements
    long long elements, int function) {
    constexpr int CHUNK = THREADS * VECTORS * VECTOR;
    const long long begin = static_cast<long long>(blockIdx.x) * CHUNK;
    const int count = elements - begin < CHUNK ? static_cast<int>(elements - begin) : CHUNK;
    const T* its_x = x + begin;
    const T* its_dy = dy + begin;
    T* its_dx = dx + begin;
    const bool vectors = same_alignment(its_x, its_dy) && same_alignment(its_x, its_dx);
    with_function(function, [&](auto f) {
        visit(its_x, count, threadIdx.x, THREADS, vectors, [&](int c, auto n) {
            constexpr int N = decltype(n)::value;
            A values[N], dys[N];
            load(values, its_x + c);
            load(dys, its_dy + c);
#pragma unroll
            for (int i = 0; i < N; i++) values[i] = f.slope(values[i]) * dys[i];
            store(its_dx + c, values);
        });
    });
}

// --- with a bias -----------------------------------------------------------------------------------------------------

// Blocks of (lanes, THREADS / lanes) threads: blockIdx.x is a share of the rows, blockIdx.y a tile of columns.
extern "C" __global__ void __launch_bounds__(THREADS) bias_activation(
    const T* __restrict__ x,     // rows * columns
    const T* __restrict__ bias,  // columns
    T* __restrict__ y,           // rows * columns
    long long rows, int columns, int share, int function) {
    const bool vectors = rows_are_aligned(columns, x, y, bias);
    const Columns mine(blockIdx.y, threadIdx.x, blockDim.x, columns, vectors);
    if (!mine.any()) return;
    const long long begin = static_cast<long long>(blockIdx.x) * share;
    const long long end = begin + share < rows ? begin + share : rows;
    A biases[VECTOR];
    mine.load_from(bias, biases);
    with_function(function, [&](auto f) {
#pragma unroll UNROLL
        for (long long n = begin + threadIdx.y; n < end; n += blockDim.y) {
            A values[VECTOR];
            mine.load_from(x + n * columns, values);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) values[i] = f.value(values[i] + biases[i]);
            mine.store_to(y + n * columns, values);
        }
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, WIDE_BLOCKS) bias_activation_backward(
    const T* __restrict__ x,     // rows * columns
    const T* __restrict__ bias,  // columns
    const T* __restrict__ dy,    // rows * columns
    T* __restrict__ dx,          // rows * columns, or null
    A* __restrict__ sums,        // shares * columns, or null
    long long rows, int columns, int share, int shares, int function) {
    __shared__ A shared[THREADS * VECTOR];
    const bool vectors = rows_are_aligned(columns, x, dy, dx) && misalignment(bias) == 0;
    const Columns mine(blockIdx.y, threadIdx.x, blockDim.x, columns, vectors);
    const long long begin = static_cast<long long>(blockIdx.x) * share;
    const long long end = begin + share < rows ? begin + share : rows;
    A total[VECTOR];
#pragma unroll
    for (int i = 0; i < VECTOR; i++) total[i] = A(0);
    if (mine.any()) {
        A biases[VECTOR];
        mine.load_from(bias, biases);
        with_function(function, [&](auto f) {
#pragma unroll ROWS_AT_ONCE
            for (long long n = begin + threadIdx.y; n < end; n += blockDim.y) {
                A values[VECTOR], dys[VECTOR];
                mine.load_from(x + n * columns, values);
                mine.load_from(dy + n * columns, dys);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) {
                    values[i] = f.slope(values[i] + biases[i]) * dys[i];
                    total[i] += values[i];
                }
                if (dx) mine.store_to(dx + n * columns, values);
            }
        });
    }
    if (sums == nullptr) return;
    sum_down_block(total, shared);
    if (threadIdx.y == 0) mine.store_to_sums(sums + static_cast<long long>(blockIdx.x) * columns, total);
}

// Adds up what the blocks have left for each column. Blocks of (WARP, up to 32) threads, one for WARP columns.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) bias_activation_total(
    T* __restrict__ dbias,       // columns
    const A* __restrict__ sums,  // shares * columns
    int columns, int shares) {
    __shared__ A shared[MAX_THREADS];
    const int c = blockIdx.x * WARP + threadIdx.x;
    A total = A(0);
    if (c < columns)
#pragma unroll 4
        for (int k = threadIdx.y; k < shares; k += blockDim.y) total += sums[static_cast<long long>(k) * columns + c];
    shared[threadIdx.y * WARP + threadIdx.x] = total;
    __syncthreads();
    if (threadIdx.y != 0 || c >= columns) return;
    for (int y = 1; y < blockDim.y; y++) total += shared[y * WARP + threadIdx.x];
    dbias[c] = narrow(total);
}
