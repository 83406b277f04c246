// Rows of a table by their numbers, and the sum of what comes back to each row.
//
//     y_n = w_{i_n},      dw_v = Σ_{n: i_n = v} dy_n,   0 for v = padding_idx;  divided by the number of terms if asked
//
// Bytes: forward reads each row that is named, once for each time, and writes y. Backward reads dy once and writes the
// rows that were named; that the others are zeros is written before.
//
// Shape, forward: some lanes of a warp copy one row in 16-byte steps.
//
// Shape, backward: the indices come sorted, equal ones in the order of their places, so that the terms of a row stand
// side by side. They are cut into chunks of CHUNK terms, whatever rows these are for; a column of threads goes through
// one chunk and adds. A row all of whose terms lie in the chunk is finished and written. What was begun in an earlier
// chunk or goes on in the next is left as a partial sum, at most two for each chunk, and a second kernel adds those, for
// every row that spans chunks. So one word that fills half of the batch is summed by as many threads as any other
// half, no atomic operation is needed, and the order of the additions depends on nothing but the indices.
//
// An index outside of [0, rows) gives a row of NaN and no gradient; nothing is read or written with it.
#include "tile.cuh"

using Index = XNN_INDEX;  // int, long long

constexpr int THREADS = 256;
constexpr int JOIN_THREADS = 512;
constexpr int CHUNK = 32;
constexpr int AHEAD = 4;  // terms that are on the way for each thread

extern "C" __global__ void __launch_bounds__(THREADS) embedding(
    const Index* __restrict__ indices,  // count
    const T* __restrict__ weight,       // rows * columns
    T* __restrict__ y,                  // count * columns
    long long count, long long rows, int columns, int lanes) {
    const int groups = THREADS / lanes, lane = threadIdx.x % lanes;
    const long long stride = static_cast<long long>(gridDim.x) * groups;
    for (long long n = static_cast<long long>(blockIdx.x) * groups + threadIdx.x / lanes; n < count; n += stride) {
        const long long row = indices[n];
        const bool inside = row >= 0 && row < rows;
        const T* from = weight + (inside ? row * columns : 0);
        T* to = y + n * columns;
        if (inside) {
            visit(to, columns, lane, lanes, same_alignment(from, to), [&](int c, auto width) {
                if constexpr (decltype(width)::value > 1)
                    *reinterpret_cast<uint4*>(to + c) = *reinterpret_cast<const uint4*>(from + c);
                else
                    to[c] = from[c];
            });
        } else {
            for (int c = lane; c < columns; c += lanes) to[c] = narrow(nan_value());
        }
    }
}

__device__ __forceinline__ bool is_trained(long long row, long long rows, long long padding_idx) {
    return row >= 0 && row < rows && row != padding_idx;
}

__device__ __forceinline__ void clear(A (&sums)[VECTOR]) {
#pragma unroll
    for (int i = 0; i < VECTOR; i++) sums[i] = A(0);
}

__device__ __forceinline__ void divide(A (&sums)[VECTOR], long long terms) {
#pragma unroll
    for (int i = 0; i < VECTOR; i++) sums[i] /= static_cast<A>(terms);
}

// Blocks of (lanes, THREADS / lanes) threads; threadIdx.y counts chunks, blockIdx.y tiles of columns.
extern "C" __global__ void __launch_bounds__(THREADS) embedding_backward(
    const Index* __restrict__ sorted,     // count
    const long long* __restrict__ order,  // count: where each of them stood
    const T* __restrict__ dy,             // count * columns
    T* __restrict__ dweight,              // rows * columns
    A* __restrict__ partial,              // 2 * chunks * columns
    long long count, long long rows, int columns, long long chunks, long long padding_idx, bool by_frequency) {
    const Columns mine(blockIdx.y, threadIdx.x, blockDim.x, columns, rows_are_aligned(columns, dy, dweight));
    const long long chunk = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (chunk >= chunks || !mine.any()) return;
    const long long begin = chunk * CHUNK, end = begin + CHUNK < count ? begin + CHUNK : count;
    A* from_before = partial + 2 * chunk * columns;  // what ends a row, or goes on with one, that began earlier
    A* begun_here = from_before + columns;           // what begins a row that goes on in the next chunk
    bool is_begun_here = begin == 0 || sorted[begin - 1] != sorted[begin];
    long long start = begin;
    A sums[VECTOR];
    clear(sums);
    for (long long first = begin; first < end; first += AHEAD) {
        A terms[AHEAD][VECTOR];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            clear(terms[k]);
            if (first + k < end && is_trained(sorted[first + k], rows, padding_idx))
                mine.load_from(dy + order[first + k] * columns, terms[k]);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const long long i = first + k;
            if (i >= end) break;
#pragma unroll
            for (int j = 0; j < VECTOR; j++) sums[j] += terms[k][j];
            const long long row = sorted[i];
            const bool goes_on = i + 1 < count && sorted[i + 1] == row;
            if (goes_on && i + 1 < end) continue;
            if (is_trained(row, rows, padding_idx)) {
                if (!is_begun_here) {
                    mine.store_to_sums(from_before, sums);
                } else if (goes_on) {
                    mine.store_to_sums(begun_here, sums);
                } else {
                    if (by_frequency) divide(sums, i + 1 - start);
                    mine.store_to(dweight + row * columns, sums);
                }
            }
            clear(sums);
            is_begun_here = true;
            start = i + 1;
        }
    }
}

// The first place in [low, high) of the sorted indices that is not below `row`, or with `past` not at it either.
__device__ __forceinline__ long long find(const Index* sorted, long long low, long long high, Index row, bool past) {
    while (low < high) {
        const long long middle = low + (high - low) / 2;
        if (sorted[middle] < row || (past && sorted[middle] == row))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The rows that span chunks, each by the block of the chunk in which it begins. Blocks of (lanes, JOIN_THREADS / lanes)
// threads: threadIdx.y shares out the partial sums, blockIdx.y tiles of columns.
extern "C" __global__ void __launch_bounds__(JOIN_THREADS, 1) embedding_join(
    const Index* __restrict__ sorted,  // count
    const A* __restrict__ partial,     // 2 * chunks * columns
    T* __restrict__ dweight,           // rows * columns
    long long count, long long rows, int columns, long long chunks, long long padding_idx, bool by_frequency) {
    __shared__ A shared[JOIN_THREADS * VECTOR];
    const long long chunk = blockIdx.x;
    const long long begin = chunk * CHUNK, end = begin + CHUNK;
    if (end >= count) return;
    const Index row = sorted[end - 1];
    if (sorted[end] != row || (begin > 0 && sorted[begin - 1] == row)) return;
    if (!is_trained(row, rows, padding_idx)) return;
    const long long past = find(sorted, end, count, row, true), last = (past - 1) / CHUNK;
    const Columns mine(blockIdx.y, threadIdx.x, blockDim.x, columns, rows_are_aligned(columns, dweight, nullptr));
    A sums[VECTOR];
    clear(sums);
    if (mine.any()) {
        if (threadIdx.y == 0) mine.add_from(partial + (2 * chunk + 1) * columns, sums);
#pragma unroll 4
        for (long long k = chunk + 1 + threadIdx.y; k <= last; k += blockDim.y)
            mine.add_from(partial + 2 * k * columns, sums);
    }
    sum_down_block(sums, shared);
    if (threadIdx.y != 0 || !mine.any()) return;
    if (by_frequency) divide(sums, past - find(sorted, begin, end, row, false));
    mine.store_to(dweight + row * columns, sums);
}
