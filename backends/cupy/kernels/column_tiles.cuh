// Sums down the columns of a matrix whose rows stand one behind the other in memory.
//
// A warp takes a row's piece of WARP * VECTOR columns at once, so that every load is one contiguous stretch of memory,
// and walks down the rows; each lane keeps sums for VECTOR columns in registers. The warps of a block take turns with
// the rows and join their sums in shared memory; blocks that share the rows of the same columns leave partial sums.
#pragma once

#include "common.cuh"

constexpr int TILE_WARPS = 8;
constexpr int TILE_THREADS = TILE_WARPS * WARP;
constexpr int TILE_COLUMNS = WARP * VECTOR;

// The columns of one lane: VECTOR neighbours where 16-byte loads are possible, else every WARP-th, so that a warp's loads
// are contiguous in both cases.
template <bool VECTORS> struct Tile {
    int first, columns, lane;

    __device__ __forceinline__ Tile(int tile, int columns)
        : first(tile * TILE_COLUMNS), columns(columns), lane(threadIdx.x % WARP) {}

    __device__ __forceinline__ int within(int j) const { return VECTORS ? lane * VECTOR + j : lane + j * WARP; }
    __device__ __forceinline__ int column(int j) const { return first + within(j); }
    __device__ __forceinline__ bool has(int j) const { return column(VECTORS ? 0 : j) < columns; }

    // Columns that are not there give 0.
    __device__ __forceinline__ void get(A (&values)[VECTOR], const T* row) const {
        if constexpr (VECTORS) {
            if (has(0)) {
                load(values, row + column(0));
                return;
            }
        }
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = !VECTORS && has(j) ? widen(row[column(j)]) : A(0);
    }

    __device__ __forceinline__ void put(T* row, const A (&values)[VECTOR]) const {
        if constexpr (VECTORS) {
            if (has(0)) store(row + column(0), values);
        } else {
#pragma unroll
            for (int j = 0; j < VECTOR; j++)
                if (has(j)) row[column(j)] = narrow(values[j]);
        }
    }
};

__device__ __forceinline__ bool fits_vectors(const T* x, long long columns) {
    return columns % VECTOR == 0 && misalignment(x) == 0;
}

// The rows [begin, end) of a part of a matrix.
struct Span {
    int begin, end;
    __device__ __forceinline__ Span(int part, int part_rows, int rows)
        : begin(part * part_rows), end(rows - begin < part_rows ? rows : begin + part_rows) {}
    // How many of them warp `warp` takes: begin + warp, begin + warp + TILE_WARPS, ...
    __device__ __forceinline__ int count(int warp) const {
        const int left = end - begin - warp;
        return left > 0 ? (left + TILE_WARPS - 1) / TILE_WARPS : 0;
    }
};

// out[column] = Σ over the warps of the block. `shared` has room for TILE_WARPS * TILE_COLUMNS numbers, and may be used
// again by the next call. Every thread of the block must come here.
template <bool VECTORS>
__device__ __forceinline__ void join_warps(
    const Tile<VECTORS>& tile, const A (&sums)[VECTOR], A* shared, A* out) {
    const int warp = threadIdx.x / WARP;
    __syncthreads();  // what an earlier call left has been read
#pragma unroll
    for (int j = 0; j < VECTOR; j++) shared[warp * TILE_COLUMNS + tile.within(j)] = sums[j];
    __syncthreads();
    for (int i = threadIdx.x; i < TILE_COLUMNS; i += TILE_THREADS) {
        if (tile.first + i >= tile.columns) continue;
        A total = A(0);
        for (int w = 0; w < TILE_WARPS; w++) total += shared[w * TILE_COLUMNS + i];
        out[tile.first + i] = total;
    }
}
