// Many arrays in one launch: a table of their addresses, passed by value among the kernel's parameters.
//
// A Table lists, for n arrays that belong together (a parameter, its gradient, its state), the addresses of each list
// and the number of elements; and which of the blocks of the grid work on which arrays: `part` elements a block, so
// that a large array gets many blocks and each small one a block of its own. It needs no memory on the device, no copy
// and no waiting, and a captured graph keeps it. What does not fit into one table takes another launch.
//
//     const Table table,  // T* params, const T* grads, T* momentum or null
//
// declares one; backends/cupy/tables.py fills it. All parameters of a kernel may have 4096 bytes, so a table with four
// lists has room for 82 arrays of each.
#pragma once

#include "common.cuh"

constexpr int TABLE_WORDS = 496;
constexpr int TABLE_HEADER = 3;

// n, elements per part, how many lists there are (optional ones at the end may be left out); and then n words each: the
// addresses of every list, the sizes, and the first block of each array.
struct Table {
    unsigned long long words[TABLE_WORDS];
};

// The elements of one array that a block works on.
struct Part {
    int array;        // which
    long long begin;  // the first of them in the array
    int length;
};

// The part of this block, by bisection: a handful of reads of the constant cache.
__device__ __forceinline__ Part part_of_block(const Table& table) {
    const int n = static_cast<int>(table.words[0]), lists = static_cast<int>(table.words[2]);
    const int sizes = TABLE_HEADER + lists * n, firsts = sizes + n;
    int low = 0, high = n;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (table.words[firsts + middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const long long part = static_cast<long long>(table.words[1]);
    const long long begin = (blockIdx.x - static_cast<long long>(table.words[firsts + low])) * part;
    const long long left = static_cast<long long>(table.words[sizes + low]) - begin;
    return {low, begin, static_cast<int>(left < part ? left : part)};
}

// Where the part begins in the array of list LIST; null if there is no such list.
template <class U, int LIST> __device__ __forceinline__ U* part_pointer(const Table& table, const Part& part) {
    if (LIST >= table.words[2]) return nullptr;
    const int n = static_cast<int>(table.words[0]);
    return reinterpret_cast<U*>(table.words[TABLE_HEADER + LIST * n + part.array]) + part.begin;
}

template <class... U> __device__ __forceinline__ bool all_aligned(const U*... x) {
    return ((reinterpret_cast<unsigned long long>(x) | ...) % 16) == 0;
}

// x[0 .. N) of any type, for N = VECTOR from an address that is a multiple of 16 bytes, and N = 1.
template <int N, class U> __device__ __forceinline__ void load_as(A (&values)[N], const U* x) {
    if constexpr (N > 1) {
        constexpr int EACH = 16 / sizeof(U);
        struct alignas(16) Bits { U at[EACH]; };
        static_assert(N % EACH == 0, "whole vectors");
#pragma unroll
        for (int i = 0; i < N; i += EACH) {
            const uint4 bits = *reinterpret_cast<const uint4*>(x + i);
            const Bits& pack = reinterpret_cast<const Bits&>(bits);
#pragma unroll
            for (int j = 0; j < EACH; j++) values[i + j] = widen(pack.at[j]);
        }
    } else {
        values[0] = widen(x[0]);
    }
}

template <int N, class U> __device__ __forceinline__ void store_as(U* y, const A (&values)[N]) {
    if constexpr (N > 1) {
        constexpr int EACH = 16 / sizeof(U);
        struct alignas(16) Bits { U at[EACH]; };
#pragma unroll
        for (int i = 0; i < N; i += EACH) {
            Bits pack;
#pragma unroll
            for (int j = 0; j < EACH; j++) pack.at[j] = Narrow<U>::of(values[i + j]);
            *reinterpret_cast<uint4*>(y + i) = reinterpret_cast<const uint4&>(pack);
        }
    } else {
        y[0] = Narrow<U>::of(values[0]);
    }
}

// Visits [0, length) together with the other threads of the block: each(i, Count<N>()) for N elements at once, vectors
// where every array of the visit begins at a multiple of 16 bytes. AT_ONCE of them are asked for before the first is
// used: for visits that only read and have too few arrays to keep the memory busy with one.
template <int AT_ONCE = 1, class Each>
__device__ __forceinline__ void visit_part(int length, bool vectors, Each each) {
    const int end = vectors ? length / VECTOR * VECTOR : 0;
    const int step = static_cast<int>(blockDim.x);
#pragma unroll AT_ONCE
    for (int i = static_cast<int>(threadIdx.x) * VECTOR; i < end; i += step * VECTOR) each(i, Count<VECTOR>());
    for (int i = end + static_cast<int>(threadIdx.x); i < length; i += step) each(i, Count<1>());
}
