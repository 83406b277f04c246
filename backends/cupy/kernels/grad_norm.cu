// The norm of all gradients as of one long vector, and their scaling by it, without the host ever seeing the number.
//
//     ‖g‖₂ = √Σ gᵢ²,  ‖g‖₁ = Σ |gᵢ|,  ‖g‖∞ = max |gᵢ|;    g ← g min(1, max_norm / (‖g‖ + 10⁻⁶))
//
// Bytes: the norm reads every gradient once; the scaling reads them again and writes the new ones.
//
// Shape: each block of grad_norm_parts reduces a part of one array (tables.cuh) to one number, in a tree whose form
// depends on the sizes alone; grad_norm_total, one block, does the same with these numbers. So the bits are the same on
// every run. The parts are so long that there are at most some thousands of them. Half precision is added up in float.
#include "tables.cuh"

constexpr int THREADS = 256;

constexpr int SUM = 0;  // which norm: 1, 2, infinity
constexpr int SQUARES = 1;
constexpr int LARGEST = 2;

// NaN, if there is one, wins; fmax would drop it.
struct LargestOrNaN {
    __device__ __forceinline__ A operator()(A a, A b) const { return a >= b || a != a ? a : b; }
};

__device__ __forceinline__ float magnitude(float x) { return fabsf(x); }
__device__ __forceinline__ double magnitude(double x) { return fabs(x); }
__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// All threads of the block get the result.
__device__ __forceinline__ A joined(A x, int norm) {
    return norm == LARGEST ? reduce_block(x, A(0), LargestOrNaN()) : reduce_block(x, A(0), Sum());
}

template <int NORM> __device__ __forceinline__ A norm_of_part(const T* x, int length) {
    A total = A(0);
    visit_part<4>(length, all_aligned(x), [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A values[N];
        load_as<N>(values, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            if constexpr (NORM == SQUARES) total += values[j] * values[j];
            if constexpr (NORM == SUM) total += magnitude(values[j]);
            if constexpr (NORM == LARGEST) total = LargestOrNaN()(total, magnitude(values[j]));
        }
    });
    return total;
}

extern "C" __global__ void __launch_bounds__(THREADS) grad_norm_parts(
    const __grid_constant__ Table table,  // const T* grads
    A* __restrict__ parts,                // all_parts
    int all_parts, int first, int norm) {
    const Part part = part_of_block(table);
    const T* grads = part_pointer<const T, 0>(table, part);
    A total;
    if (norm == SQUARES)
        total = norm_of_part<SQUARES>(grads, part.length);
    else if (norm == SUM)
        total = norm_of_part<SUM>(grads, part.length);
    else
        total = norm_of_part<LARGEST>(grads, part.length);
    total = joined(total, norm);
    if (threadIdx.x == 0) parts[first + blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(1024) grad_norm_total(
    const A* __restrict__ parts,  // all_parts
    A* __restrict__ total,        // 1
    int all_parts, int norm) {
    A mine = A(0);
    for (int i = threadIdx.x; i < all_parts; i += blockDim.x)
        mine = norm == LARGEST ? LargestOrNaN()(mine, parts[i]) : mine + parts[i];
    mine = joined(mine, norm);
    if (threadIdx.x == 0) total[0] = norm == SQUARES ? root(mine) : mine;
}

extern "C" __global__ void __launch_bounds__(THREADS) grad_scale(
    const __grid_constant__ Table table,  // const T* grads, T* scaled
    const A* __restrict__ total,          // 1
    A max_norm) {
    const Part part = part_of_block(table);
    const T* grads = part_pointer<const T, 0>(table, part);
    T* scaled = part_pointer<T, 1>(table, part);
    const A ratio = max_norm / (total[0] + A(1e-6));
    const A factor = ratio > A(1) ? A(1) : ratio;  // NaN stays
    visit_part(part.length, all_aligned(grads, scaled), [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A values[N];
        load_as<N>(values, grads + i);
#pragma unroll
        for (int j = 0; j < N; j++) values[j] *= factor;
        store_as<N>(scaled + i, values);
    });
}
