// What kernels share: types, 16-byte loads and stores, and reductions that give the same bits on every run.
//
// T is the dtype of the arrays and A the type in which they are computed and added up. Only what NVRTC knows by itself
// is used, no header of the standard library, so that the same text compiles for a GPU and for the emulator.
//
// Reductions add in a fixed order. None uses atomic operations on floating-point numbers, whose order is up to chance.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using T = XNN_T;  // __half, __nv_bfloat16, float, double

template <class U> struct Accumulator { using type = float; };
template <> struct Accumulator<double> { using type = double; };
template <class U> using acc_t = typename Accumulator<U>::type;
using A = acc_t<T>;

constexpr int WARP = 32;
constexpr unsigned FULL = 0xffffffffu;  // the mask of all lanes of a warp

// --- numbers ---------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float widen(__half x) { return __half2float(x); }
__device__ __forceinline__ float widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }

template <class U> struct Narrow;
template <> struct Narrow<__half> {
    static __device__ __forceinline__ __half of(float x) { return __float2half(x); }
};
template <> struct Narrow<__nv_bfloat16> {
    static __device__ __forceinline__ __nv_bfloat16 of(float x) { return __float2bfloat16(x); }
};
template <> struct Narrow<float> {
    static __device__ __forceinline__ float of(float x) { return x; }
};
template <> struct Narrow<double> {
    static __device__ __forceinline__ double of(double x) { return x; }
};
__device__ __forceinline__ T narrow(A x) { return Narrow<T>::of(x); }

__device__ __forceinline__ A infinity() { return static_cast<A>(__int_as_float(0x7f800000)); }
__device__ __forceinline__ A nan_value() { return static_cast<A>(__int_as_float(0x7fc00000)); }

__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

// e^x for x <= 0 or not far above. In float one multiplication and one ex2 instruction instead of expf's dozen, for
// kernels that take an exponential of every element; the error is |x| 2^-24, which matters only where e^x is tiny.
__device__ __forceinline__ float exponential(float x) { return exp2f(x * 1.44269504088896341f); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }
__device__ __forceinline__ float logarithm(float x) { return logf(x); }
__device__ __forceinline__ double logarithm(double x) { return log(x); }

// --- rows of memory --------------------------------------------------------------------------------------------------

constexpr int VECTOR = 16 / sizeof(T);  // elements of one 16-byte load, the widest that there is

// Vectors that a thread asks for before it uses the first: 32 or 64 bytes on the way per thread keep the memory busy,
// and more would not fit into 64 registers.
constexpr int UNROLL = sizeof(T) == 4 ? 4 : 2;

// Blocks of 256 threads that an SM should hold at once: the compiler may take 64 registers a thread, or 128 for double.
// Left to itself it takes fewer and spills.
constexpr int MIN_BLOCKS = sizeof(T) == 8 ? 2 : 4;

struct alignas(16) Pack { T at[VECTOR]; };

template <int N> struct Count { static constexpr int value = N; };

// x[0 .. N), for N = VECTOR from an address that is a multiple of 16 bytes, and N = 1.
template <int N> __device__ __forceinline__ void load(A (&values)[N], const T* x) {
    if constexpr (N == VECTOR && N > 1) {
        const uint4 bits = *reinterpret_cast<const uint4*>(x);  // a Pack itself may be taken apart by the compiler
        const Pack& pack = reinterpret_cast<const Pack&>(bits);
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = widen(pack.at[i]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = widen(x[i]);
    }
}

// One 16-byte store to global memory. nvcc makes it of an assignment only sometimes, and four or eight small ones
// otherwise, so it is said in PTX. There is no "memory" clobber, so that loads of the next elements may overtake it: a
// kernel must not read again what it stores with this.
__device__ __forceinline__ void store_pack(T* y, const Pack& pack) {
#ifndef XNN_EMULATOR
    const uint4& bits = reinterpret_cast<const uint4&>(pack);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(y), "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w));
#else
    *reinterpret_cast<Pack*>(y) = pack;
#endif
}

template <int N> __device__ __forceinline__ void store(T* y, const A (&values)[N]) {
    if constexpr (N == VECTOR && N > 1) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < N; i++) pack.at[i] = narrow(values[i]);
        store_pack(y, pack);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = narrow(values[i]);
    }
}

// The same to shared memory, to be read again by load().
template <int N> __device__ __forceinline__ void keep(T* kept, const A (&values)[N]) {
    if constexpr (N == VECTOR && N > 1) {
        Pack pack;
#pragma unroll
        for (int i = 0; i < N; i++) pack.at[i] = narrow(values[i]);
        *reinterpret_cast<Pack*>(kept) = pack;
    } else {
        kept[0] = narrow(values[0]);
    }
}

// How many elements lie between the 16-byte boundary at or before x and x.
__device__ __forceinline__ int misalignment(const T* x) {
    return static_cast<int>(reinterpret_cast<unsigned long long>(x) % 16 / sizeof(T));
}

__device__ __forceinline__ bool same_alignment(const T* x, const T* y) { return misalignment(x) == misalignment(y); }

// Visits columns [0, columns) of a row together with the other lanes: each(column, Count<N>()) for N columns at once.
// Vectors are aligned in `row`, wherever it begins; what is left before and after them comes one by one. With
// `vectors` false everything does: for when another array of the same visit is aligned differently.
template <class Each>
__device__ __forceinline__ void visit(
    const T* row, int columns, int lane, int lanes, bool vectors, Each each) {
    int begin = (VECTOR - misalignment(row)) % VECTOR;
    if (!vectors || begin > columns) begin = columns;
    const int end = begin + (columns - begin) / VECTOR * VECTOR;
    for (int c = lane; c < begin; c += lanes) each(c, Count<1>());
#pragma unroll UNROLL
    for (int c = begin + lane * VECTOR; c < end; c += lanes * VECTOR) each(c, Count<VECTOR>());
    for (int c = end + lane; c < columns; c += lanes) each(c, Count<1>());
}

// --- reductions ------------------------------------------------------------------------------------------------------

// What is reduced is a number or a struct with `shuffled`, which applies a shuffle to each of its numbers.
struct FromLane {
    int lane, lanes;
    __device__ __forceinline__ float operator()(float x) const { return __shfl_sync(FULL, x, lane, lanes); }
    __device__ __forceinline__ double operator()(double x) const { return __shfl_sync(FULL, x, lane, lanes); }
};

struct AcrossLanes {
    int step;
    __device__ __forceinline__ float operator()(float x) const { return __shfl_xor_sync(FULL, x, step); }
    __device__ __forceinline__ double operator()(double x) const { return __shfl_xor_sync(FULL, x, step); }
};

template <class Shuffle> __device__ __forceinline__ float shuffled(float x, Shuffle shuffle) { return shuffle(x); }
template <class Shuffle> __device__ __forceinline__ double shuffled(double x, Shuffle shuffle) { return shuffle(x); }
template <class V, class Shuffle> __device__ __forceinline__ V shuffled(V x, Shuffle shuffle) {
    return x.shuffled(shuffle);
}

struct Sum {
    template <class V> __device__ __forceinline__ V operator()(V a, V b) const { return a + b; }
};

struct Largest {
    __device__ __forceinline__ A operator()(A a, A b) const { return larger(a, b); }
};

// Two sums that are wanted together.
struct Pair {
    A first, second;
    template <class Shuffle> __device__ __forceinline__ Pair shuffled(Shuffle s) const { return {s(first), s(second)}; }
    __device__ __forceinline__ Pair operator+(Pair b) const { return {first + b.first, second + b.second}; }
};

// The maximum m of numbers x and the sum of e^{x - m}, kept while they come (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018): one look at each number instead of two.
//
// While all of them are -inf, the sum is relative to 0, since -inf - (-inf) is no number.
struct SoftmaxSum {
    A max, sum;

    static __device__ __forceinline__ SoftmaxSum none() { return {-infinity(), A(0)}; }
    static __device__ __forceinline__ A base(A max) { return max == -infinity() ? A(0) : max; }

    // The new numbers share one correction of the old sum, which is skipped where the maximum stays.
    template <int N> __device__ __forceinline__ void add(const A (&x)[N]) {
        A high = max;
#pragma unroll
        for (int i = 0; i < N; i++) high = larger(high, x[i]);
        const A from = base(high);
        if (high > max) sum *= exponential(max - from);
#pragma unroll
        for (int i = 0; i < N; i++) sum += exponential(x[i] - from);
        max = high;
    }

    template <class Shuffle> __device__ __forceinline__ SoftmaxSum shuffled(Shuffle s) const {
        return {s(max), s(sum)};
    }

    __device__ __forceinline__ SoftmaxSum operator+(SoftmaxSum b) const {
        const A high = larger(max, b.max), from = base(high);
        return {high, sum * exponential(max - from) + b.sum * exponential(b.max - from)};
    }
};

// Count, mean and sum of squared deviations of numbers, kept while they come (Welford 1962), and joined (Chan, Golub
// and LeVeque 1979): no difference of large squares, so no cancellation.
struct Moments {
    A count, mean, m2;

    static __device__ __forceinline__ Moments none() { return {A(0), A(0), A(0)}; }

    __device__ __forceinline__ void add(A x) {
        count += A(1);
        const A delta = x - mean;
        mean += delta / count;
        m2 += delta * (x - mean);
    }

    template <class Shuffle> __device__ __forceinline__ Moments shuffled(Shuffle s) const {
        return {s(count), s(mean), s(m2)};
    }

    __device__ __forceinline__ Moments operator+(Moments b) const {
        const A all = count + b.count;
        if (all == A(0)) return none();
        const A delta = b.mean - mean, share = b.count / all;
        return {all, mean + delta * share, m2 + b.m2 + delta * delta * count * share};
    }
};

// Joins the values of `lanes` neighbouring lanes (a power of 2) of a warp; all of them get the first one's result, so
// that they agree in every bit. Every lane of the warp must come here.
template <class V, class Join> __device__ __forceinline__ V reduce_lanes(V x, int lanes, Join join) {
    for (int step = lanes / 2; step > 0; step /= 2) x = join(x, shuffled(x, AcrossLanes{step}));
    return shuffled(x, FromLane{0, lanes});
}

// Joins the values of all threads of a block of whole warps; all of them get the result. Every thread must come here.
template <class V, class Join> __device__ __forceinline__ V reduce_block(V x, V none, Join join) {
    __shared__ V of_warp[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = reduce_lanes(x, WARP, join);
    if (warps == 1) return x;
    __syncthreads();  // the results of an earlier call have been read
    if (lane == 0) of_warp[warp] = x;
    __syncthreads();
    return reduce_lanes(lane < warps ? of_warp[lane] : none, WARP, join);
}

// --- rows of arrays --------------------------------------------------------------------------------------------------

// The threads that work on one row together: some lanes of a warp, or a whole block. A kernel written for a Group
// serves short rows, several to a warp, and long ones.
struct Lanes {
    int lane, lanes;
    __device__ __forceinline__ explicit Lanes(int lanes) : lane(threadIdx.x % lanes), lanes(lanes) {}
    template <class V> __device__ __forceinline__ V sum(V x, V) const { return reduce_lanes(x, lanes, Sum()); }
};

struct Block {
    int lane, lanes;
    __device__ __forceinline__ Block() : lane(threadIdx.x), lanes(blockDim.x) {}
    template <class V> __device__ __forceinline__ V sum(V x, V none) const { return reduce_block(x, none, Sum()); }
};
