// Softmax and its logarithm along rows, and their derivatives.
//
//     softmax       y_i = e^{x_i - m} / s,         dx_j = y_j (dy_j - Σ_i dy_i y_i)
//     logarithm     y_i = x_i - m - ln s,          dx_j = dy_j - e^{y_j} Σ_i dy_i
//     m = max_k x_k,  s = Σ_k e^{x_k - m}
//
// Bytes: forward reads x and writes y; backward reads y and dy and writes dx: what it must at the least, plus one more
// read of what a row does not keep, which comes from the caches.
//
// Shape: m and s come together in one visit of the row (SoftmaxSum), the result in a second one. A short row (up to
// 4 KiB) belongs to `lanes` neighbouring lanes, so that a warp works on up to 32 rows at once and no barrier is
// needed; its second visit finds it in the L1 cache. A long row belongs to a block, which keeps what it has read in
// shared memory while that is at most 48 KiB (every thread reads back only what it wrote itself: no barrier); a longer
// one is read again from the L2 cache.
#include "common.cuh"

constexpr int THREADS = 256;      // of a block whose warps share out short rows
constexpr int MAX_THREADS = 512;  // of a block that works on one row

// KEEP: what the first visit reads is left in `kept` for the second.
template <bool LOG, bool KEEP, class Group>
__device__ __forceinline__ void softmax_row(Group group, const T* x, T* y, int columns, T* kept) {
    const bool vectors = same_alignment(x, y);
    SoftmaxSum total = SoftmaxSum::none();
    visit(x, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        A values[decltype(count)::value];
        load(values, x + c);
        total.add(values);
        if constexpr (KEEP) keep(kept + c, values);
    });
    total = group.sum(total, SoftmaxSum::none());
    const A m = total.max, inverse = A(1) / total.sum, log_sum = logarithm(total.sum);
    visit(x, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A values[N];
        load(values, (KEEP ? kept : x) + c);
#pragma unroll
        for (int i = 0; i < N; i++)
            values[i] = LOG ? values[i] - m - log_sum : exponential(values[i] - m) * inverse;
        store(y + c, values);
    });
}

template <bool LOG, bool KEEP, class Group>
__device__ __forceinline__ void softmax_backward_row(
    Group group, const T* y, const T* dy, T* dx, int columns, T* kept) {
    const bool vectors = same_alignment(y, dy) && same_alignment(y, dx);
    A total = A(0);
    visit(dy, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A dys[N], ys[N];
        load(dys, dy + c);
        if constexpr (!LOG) load(ys, y + c);
#pragma unroll
        for (int i = 0; i < N; i++) total += LOG ? dys[i] : dys[i] * ys[i];
        if constexpr (KEEP) keep(kept + c, dys);
    });
    total = group.sum(total, A(0));
    visit(dy, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A dys[N], ys[N];
        load(dys, (KEEP ? kept : dy) + c);
        load(ys, y + c);
#pragma unroll
        for (int i = 0; i < N; i++)
            dys[i] = LOG ? dys[i] - exponential(ys[i]) * total : ys[i] * (dys[i] - total);
        store(dx + c, dys);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) softmax_by_lanes(
    const T* __restrict__ x,  // rows * columns
    T* __restrict__ y,        // rows * columns
    long long rows, int columns, int lanes, bool logarithmic) {
    const int groups = THREADS / lanes;
    const long long stride = static_cast<long long>(gridDim.x) * groups;
    // Lanes without a row stay until the end, with no columns: a shuffle needs the whole warp.
    for (long long first = static_cast<long long>(blockIdx.x) * groups; first < rows; first += stride) {
        const long long row = first + threadIdx.x / lanes;
        const long long offset = row < rows ? row * columns : 0;
        const int width = row < rows ? columns : 0;
        if (logarithmic)
            softmax_row<true, false>(Lanes(lanes), x + offset, y + offset, width, nullptr);
        else
            softmax_row<false, false>(Lanes(lanes), x + offset, y + offset, width, nullptr);
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) softmax_by_block(
    const T* __restrict__ x,  // rows * columns
    T* __restrict__ y,        // rows * columns
    long long rows, int columns, bool keeps, bool logarithmic) {
    extern __shared__ __align__(16) unsigned char shared[];
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* its_x = x + row * columns;
        T* its_y = y + row * columns;
        // Kept at the same distance from a 16-byte boundary as in the row: vectors fit here where they fit there.
        T* kept = reinterpret_cast<T*>(shared) + misalignment(its_x);
        if (logarithmic && keeps)
            softmax_row<true, true>(Block(), its_x, its_y, columns, kept);
        else if (logarithmic)
            softmax_row<true, false>(Block(), its_x, its_y, columns, kept);
        else if (keeps)
            softmax_row<false, true>(Block(), its_x, its_y, columns, kept);
        else
            softmax_row<false, false>(Block(), its_x, its_y, columns, kept);
        if (keeps) __syncthreads();  // the next row may place its elements differently
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) softmax_backward_by_lanes(
    const T* __restrict__ y,   // rows * columns
    const T* __restrict__ dy,  // rows * columns
    T* __restrict__ dx,        // rows * columns
    long long rows, int columns, int lanes, bool logarithmic) {
    const int groups = THREADS / lanes;
    const long long stride = static_cast<long long>(gridDim.x) * groups;
    for (long long first = static_cast<long long>(blockIdx.x) * groups; first < rows; first += stride) {
        const long long row = first + threadIdx.x / lanes;
        const long long offset = row < rows ? row * columns : 0;
        const int width = row < rows ? columns : 0;
        if (logarithmic)
            softmax_backward_row<true, false>(Lanes(lanes), y + offset, dy + offset, dx + offset, width, nullptr);
        else
            softmax_backward_row<false, false>(Lanes(lanes), y + offset, dy + offset, dx + offset, width, nullptr);
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) softmax_backward_by_block(
    const T* __restrict__ y,   // rows * columns
    const T* __restrict__ dy,  // rows * columns
    T* __restrict__ dx,        // rows * columns
    long long rows, int columns, bool keeps, bool logarithmic) {
    extern __shared__ __align__(16) unsigned char shared[];
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long offset = row * columns;
        T* kept = reinterpret_cast<T*>(shared) + misalignment(dy + offset);
        if (logarithmic && keeps)
            softmax_backward_row<true, true>(Block(), y + offset, dy + offset, dx + offset, columns, kept);
        else if (logarithmic)
            softmax_backward_row<true, false>(Block(), y + offset, dy + offset, dx + offset, columns, kept);
        else if (keeps)
            softmax_backward_row<false, true>(Block(), y + offset, dy + offset, dx + offset, columns, kept);
        else
            softmax_backward_row<false, false>(Block(), y + offset, dy + offset, dx + offset, columns, kept);
        if (keeps) __syncthreads();
    }
}
