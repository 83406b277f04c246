// The columns of a matrix shared out among the threads of a block, for kernels that work down the rows: a thread has the
// same columns in every row that it visits, so that what belongs to a column (a bias, a sum) stays in its registers.
#pragma once

#include "common.cuh"

// VECTOR columns of one thread, within a tile of lanes * VECTOR. Neighbours, where every row begins at a multiple of 16
// bytes: then a 16-byte load takes all of them at once. Else `lanes` apart, so that the threads of a warp, which load one
// element each, find theirs side by side.
struct Columns {
    int first, step, end;
    bool vectors;

    __device__ __forceinline__ Columns(int tile, int lane, int lanes, int columns, bool vectors)
        : first(tile * lanes * VECTOR + lane * (vectors ? VECTOR : 1)), step(vectors ? 1 : lanes), end(columns),
          vectors(vectors) {}

    __device__ __forceinline__ int operator[](int i) const { return first + i * step; }
    __device__ __forceinline__ bool any() const { return first < end; }

    __device__ __forceinline__ void load_from(const T* row, A (&values)[VECTOR]) const {
        if (vectors && VECTOR > 1) {
            load(values, row + first);
        } else {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) values[i] = (*this)[i] < end ? widen(row[(*this)[i]]) : A(0);
        }
    }

    __device__ __forceinline__ void store_to(T* row, const A (&values)[VECTOR]) const {
        if (vectors && VECTOR > 1) {
            store(row + first, values);
        } else {
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                if ((*this)[i] < end) row[(*this)[i]] = narrow(values[i]);
        }
    }

    // Rows of sums, which are of type A.
    __device__ __forceinline__ void add_from(const A* row, A (&sums)[VECTOR]) const {
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            if ((*this)[i] < end) sums[i] += row[(*this)[i]];
    }

    __device__ __forceinline__ void store_to_sums(A* row, const A (&sums)[VECTOR]) const {
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            if ((*this)[i] < end) row[(*this)[i]] = sums[i];
    }
};

// Whether vectors may be loaded from every row of these arrays. A null pointer has no say.
__device__ __forceinline__ bool rows_are_aligned(int columns, const T* a, const T* b, const T* c = nullptr) {
    return columns % VECTOR == 0 && misalignment(a) == 0 && misalignment(b) == 0 && misalignment(c) == 0;
}

// Adds up the sums of the threads of a block of (lanes, rows) threads that have the same columns: those with
// threadIdx.y = 0 get the total, added in the order of y. `shared` has blockDim.x * blockDim.y * VECTOR elements.
__device__ __forceinline__ void sum_down_block(A (&sums)[VECTOR], A* shared) {
    const int lanes = blockDim.x, rows = blockDim.y;
    if (rows == 1) return;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) shared[(i * rows + threadIdx.y) * lanes + threadIdx.x] = sums[i];
    __syncthreads();
    if (threadIdx.y != 0) return;
#pragma unroll
    for (int i = 0; i < VECTOR; i++)
        for (int y = 1; y < rows; y++) sums[i] += shared[(i * rows + y) * lanes + threadIdx.x];
}
