// Layer normalisation (CENTRED) and root-mean-square normalisation of rows, forward and backward.
//
//     CENTRED: μ = 1/d Σ x_i; otherwise μ = 0.      r = 1 / √(1/d Σ (x_i - μ)² + ε),   x_hat = (x - μ) r
//     y = γ x_hat + β
//     g = γ dy,   dx = r (g - 1/d Σ g - x_hat 1/d Σ g x_hat)     without 1/d Σ g where μ = 0
//     dγ = Σ dy x_hat,   dβ = Σ dy                               over the rows
//
// Bytes: forward reads x and writes y, backward reads x and dy and writes dx: each once, because a row stays in the
// registers of the threads that work on it. Kept between the two: μ and r, 4 bytes each (8 for double) a row.
//
// The sum of squares is taken from the centred values, after the mean is known: the row is at hand, so the exact way
// costs nothing but one more reduction.
//
// Shape, forward: rows up to 512 bytes belong to some lanes of a warp, up to 4 KiB to a warp, up to 64 KiB to a block,
// four 16-byte vectors a thread. Longer ones are read twice, the second time from the L2 cache.
//
// Shape, backward: rows up to 512 bytes belong to some lanes, up to 12 KiB to a block with one vector for each thread. A
// thread meets the same columns in every row that it works on, so it keeps their γ and their share of dγ and dβ in
// registers; the next row is asked for before the current one is reduced. What blocks have added up is joined by a second
// small kernel, in a fixed order. For longer rows dγ and dβ come from a pass of their own.
#pragma once

#include "column_tiles.cuh"
#include "common.cuh"

constexpr int THREADS = 256;       // of a block whose warps share out rows
constexpr int MAX_THREADS = 1024;  // of a block that works on one row
constexpr int HELD_THREADS = 768;  // of one that holds what its columns give to dγ and dβ, and has 80 registers each for it
constexpr int BLOCK_PACKS = 4;     // vectors that a thread of it holds

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// Where the elements of a row are that a thread holds: every lanes-th vector, as many as there are packs.
struct Place {
    int lane, lanes, columns;

    __device__ __forceinline__ int column(int k) const { return (k * lanes + lane) * VECTOR; }
    __device__ __forceinline__ bool has(int k) const { return column(k) < columns; }

    __device__ __forceinline__ Pack get(const T* row, int k) const {
        uint4 bits = make_uint4(0, 0, 0, 0);
        if (has(k)) bits = *reinterpret_cast<const uint4*>(row + column(k));
        return reinterpret_cast<const Pack&>(bits);
    }

    __device__ __forceinline__ void put(T* row, int k, const A (&values)[VECTOR]) const {
        if (has(k)) store(row + column(k), values);
    }
};

// One row by one group of threads. A group without a row comes with no columns.
template <bool CENTRED, int K, class Group>
__device__ __forceinline__ void norm_row(
    Group group, const T* x, T* y, const T* weight, const T* bias, int columns, A eps, A* mean_of_row,
    A* inv_std_of_row) {
    const Place place{group.lane, group.lanes, columns};
    Pack held[K];
#pragma unroll
    for (int k = 0; k < K; k++) held[k] = place.get(x, k);
    A mean = A(0);
    if constexpr (CENTRED) {
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int j = 0; j < VECTOR; j++) mean += widen(held[k].at[j]);
        mean = group.sum(mean, A(0)) / static_cast<A>(columns);
    }
    A squares = A(0);
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            const A centred = widen(held[k].at[j]) - mean;
            if (place.has(k)) squares += centred * centred;
        }
    squares = group.sum(squares, A(0));
    const A inv_std = A(1) / root(squares / static_cast<A>(columns) + eps);
    if (group.lane == 0 && columns > 0) {
        if constexpr (CENTRED) *mean_of_row = mean;
        *inv_std_of_row = inv_std;
    }
#pragma unroll
    for (int k = 0; k < K; k++) {
        A values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = (widen(held[k].at[j]) - mean) * inv_std;
        if (weight) {
            const Pack scale = place.get(weight, k);
#pragma unroll
            for (int j = 0; j < VECTOR; j++) values[j] *= widen(scale.at[j]);
        }
        if (CENTRED && bias) {
            const Pack shift = place.get(bias, k);
#pragma unroll
            for (int j = 0; j < VECTOR; j++) values[j] += widen(shift.at[j]);
        }
        place.put(y, k, values);
    }
}

// The rows of a grid of blocks whose groups of `lanes` lanes take one each: each(group, row, whether it is there). Lanes
// without a row go along with row 0 until the end: a shuffle needs the whole warp.
template <class Each> __device__ __forceinline__ void rows_of_lanes(long long rows, int lanes, Each each) {
    const int groups = THREADS / lanes;
    const long long stride = static_cast<long long>(gridDim.x) * groups;
    for (long long first = static_cast<long long>(blockIdx.x) * groups; first < rows; first += stride) {
        const long long row = first + threadIdx.x / lanes;
        each(Lanes(lanes), row < rows ? row : 0, row < rows);
    }
}

template <bool CENTRED, int K>
__device__ __forceinline__ void norm_by_lanes(
    const T* x, T* y, const T* weight, const T* bias, A* mean, A* inv_std, long long rows, int columns, A eps,
    int lanes) {
    rows_of_lanes(rows, lanes, [&](Lanes group, long long row, bool there) {
        norm_row<CENTRED, K>(
            group, x + row * columns, y + row * columns, weight, bias, there ? columns : 0, eps,
            CENTRED ? mean + row : nullptr, inv_std + row);
    });
}

template <bool CENTRED>
__device__ __forceinline__ void norm_by_block(
    const T* x, T* y, const T* weight, const T* bias, A* mean, A* inv_std, long long rows, int columns, A eps) {
    for (long long row = blockIdx.x; row < rows; row += gridDim.x)
        norm_row<CENTRED, BLOCK_PACKS>(
            Block(), x + row * columns, y + row * columns, weight, bias, columns, eps,
            CENTRED ? mean + row : nullptr, inv_std + row);
}

// One row of any length and alignment: looked at up to three times, the later ones in the caches.
template <bool CENTRED, class Group>
__device__ __forceinline__ void norm_any_row(
    Group group, const T* x, T* y, const T* weight, const T* bias, int columns, A eps, A* mean_of_row,
    A* inv_std_of_row) {
    A mean = A(0);
    if constexpr (CENTRED) {
        visit(x, columns, group.lane, group.lanes, true, [&](int c, auto count) {
            constexpr int N = decltype(count)::value;
            A values[N];
            load(values, x + c);
#pragma unroll
            for (int i = 0; i < N; i++) mean += values[i];
        });
        mean = group.sum(mean, A(0)) / static_cast<A>(columns);
    }
    A squares = A(0);
    visit(x, columns, group.lane, group.lanes, true, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A values[N];
        load(values, x + c);
#pragma unroll
        for (int i = 0; i < N; i++) squares += (values[i] - mean) * (values[i] - mean);
    });
    squares = group.sum(squares, A(0));
    const A inv_std = A(1) / root(squares / static_cast<A>(columns) + eps);
    if (group.lane == 0 && columns > 0) {
        if constexpr (CENTRED) *mean_of_row = mean;
        *inv_std_of_row = inv_std;
    }
    visit(x, columns, group.lane, group.lanes, same_alignment(x, y), [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A values[N];
        load(values, x + c);
#pragma unroll
        for (int i = 0; i < N; i++) {
            values[i] = (values[i] - mean) * inv_std;
            if (weight) values[i] *= widen(weight[c + i]);
            if (CENTRED && bias) values[i] += widen(bias[c + i]);
        }
        store(y + c, values);
    });
}

template <bool CENTRED>
__device__ __forceinline__ void norm_any_by_lanes(
    const T* x, T* y, const T* weight, const T* bias, A* mean, A* inv_std, long long rows, int columns, A eps,
    int lanes) {
    rows_of_lanes(rows, lanes, [&](Lanes group, long long row, bool there) {
        norm_any_row<CENTRED>(
            group, x + row * columns, y + row * columns, weight, bias, there ? columns : 0, eps,
            CENTRED ? mean + row : nullptr, inv_std + row);
    });
}

template <bool CENTRED>
__device__ __forceinline__ void norm_any_by_block(
    const T* x, T* y, const T* weight, const T* bias, A* mean, A* inv_std, long long rows, int columns, A eps) {
    for (long long row = blockIdx.x; row < rows; row += gridDim.x)
        norm_any_row<CENTRED>(
            Block(), x + row * columns, y + row * columns, weight, bias, columns, eps,
            CENTRED ? mean + row : nullptr, inv_std + row);
}

// Every row that a group works on, from `first` in steps of `stride`; rows that are not there have no columns. Adds to
// what this thread's columns give to dγ and dβ.
template <bool CENTRED, class Group>
__device__ __forceinline__ void norm_backward_rows(
    Group group, const T* x, const T* dy, const T* weight, const A* mean, const A* inv_std, T* dx, long long rows,
    int columns, long long first, int number, long long stride, A (&dweight)[VECTOR], A (&dbias)[VECTOR]) {
    const A share = A(1) / static_cast<A>(columns);
    const Place all{group.lane, group.lanes, columns};
    Pack scale;
#pragma unroll
    for (int j = 0; j < VECTOR; j++) scale.at[j] = narrow(A(1));
    if (weight) scale = all.get(weight, 0);

    Pack next_x, next_dy;
    A next_m = A(0), next_r = A(0);
    const auto ask = [&](long long row) {
        const bool there = row < rows;
        const long long offset = there ? row * columns : 0;
        const Place place{group.lane, group.lanes, there ? columns : 0};
        next_x = place.get(x + offset, 0);
        next_dy = place.get(dy + offset, 0);
        if (CENTRED) next_m = there ? mean[row] : A(0);
        next_r = there ? inv_std[row] : A(0);
    };
    ask(first + number);
    for (; first < rows; first += stride) {  // the same number of times for the whole block
        const long long row = first + number;
        const Pack its_x = next_x, its_dy = next_dy;
        const A m = next_m, r = next_r;
        ask(row + stride);
        Pair sums = {A(0), A(0)};
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            // A column that is not there has dy = 0.
            const A d = widen(its_dy.at[j]), x_hat = (widen(its_x.at[j]) - m) * r, g = d * widen(scale.at[j]);
            if (CENTRED) sums.first += g;
            sums.second += all.has(0) ? g * x_hat : A(0);
            dweight[j] += d * x_hat;
            if (CENTRED) dbias[j] += d;
        }
        if (dx == nullptr) continue;
        if constexpr (CENTRED)
            sums = group.sum(sums, Pair{A(0), A(0)});
        else
            sums.second = group.sum(sums.second, A(0));
        const A of_one = CENTRED ? sums.first * share : A(0), of_x_hat = sums.second * share;
        A values[VECTOR];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            const A x_hat = (widen(its_x.at[j]) - m) * r;
            values[j] = r * (widen(its_dy.at[j]) * widen(scale.at[j]) - of_one - x_hat * of_x_hat);
        }
        const Place place{group.lane, group.lanes, row < rows ? columns : 0};
        place.put(dx + (row < rows ? row * columns : 0), 0, values);
    }
}

// partial: what this block gives to dγ, [columns], and `apart` numbers further what it gives to dβ.
template <bool CENTRED>
__device__ __forceinline__ void norm_backward_by_lanes(
    const T* x, const T* dy, const T* weight, const A* mean, const A* inv_std, T* dx, A* partial, long long apart,
    long long rows, int columns, int lanes) {
    __shared__ A shared[2][TILE_COLUMNS];
    const int groups = THREADS / lanes, warp = threadIdx.x / WARP;
    const Lanes group(lanes);
    A dweight[VECTOR] = {}, dbias[VECTOR] = {};
    norm_backward_rows<CENTRED>(
        group, x, dy, weight, mean, inv_std, dx, rows, columns, static_cast<long long>(blockIdx.x) * groups,
        threadIdx.x / lanes, static_cast<long long>(gridDim.x) * groups, dweight, dbias);
    if (partial == nullptr) return;
    // First the groups of a warp, then one warp after the other.
    const Place place{group.lane, group.lanes, columns};
#pragma unroll
    for (int j = 0; j < VECTOR; j++)
        for (int step = lanes; step < WARP; step *= 2) {
            dweight[j] += __shfl_xor_sync(FULL, dweight[j], step);
            if (CENTRED) dbias[j] += __shfl_xor_sync(FULL, dbias[j], step);
        }
    for (int w = 0; w < THREADS / WARP; w++) {
        if (warp == w && threadIdx.x % WARP < lanes) {
#pragma unroll
            for (int j = 0; j < VECTOR; j++) {
                if (!place.has(0)) continue;
                A& to_weight = shared[0][place.column(0) + j];
                A& to_bias = shared[1][place.column(0) + j];
                to_weight = w == 0 ? dweight[j] : to_weight + dweight[j];
                if (CENTRED) to_bias = w == 0 ? dbias[j] : to_bias + dbias[j];
            }
        }
        __syncthreads();
    }
    for (int c = threadIdx.x; c < columns; c += THREADS) {
        partial[c] = shared[0][c];
        if (CENTRED) partial[apart + c] = shared[1][c];
    }
}

template <bool CENTRED>
__device__ __forceinline__ void norm_backward_by_block(
    const T* x, const T* dy, const T* weight, const A* mean, const A* inv_std, T* dx, A* partial, long long apart,
    long long rows, int columns) {
    const Block group;
    A dweight[VECTOR] = {}, dbias[VECTOR] = {};
    norm_backward_rows<CENTRED>(
        group, x, dy, weight, mean, inv_std, dx, rows, columns, blockIdx.x, 0, gridDim.x, dweight, dbias);
    if (partial == nullptr) return;
    const Place place{group.lane, group.lanes, columns};
#pragma unroll
    for (int j = 0; j < VECTOR; j++) {
        if (!place.has(0)) continue;
        partial[place.column(0) + j] = dweight[j];
        if (CENTRED) partial[apart + place.column(0) + j] = dbias[j];
    }
}

// The gradient of one row of any length and alignment.
template <bool CENTRED, class Group>
__device__ __forceinline__ void norm_backward_any_row(
    Group group, const T* x, const T* dy, const T* weight, A mean, A inv_std, T* dx, int columns) {
    const bool vectors = same_alignment(x, dy) && same_alignment(x, dx);
    Pair sums = {A(0), A(0)};
    visit(x, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A xs[N], gs[N];
        load(xs, x + c);
        load(gs, dy + c);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const A g = weight ? gs[i] * widen(weight[c + i]) : gs[i];
            if (CENTRED) sums.first += g;
            sums.second += g * ((xs[i] - mean) * inv_std);
        }
    });
    sums = group.sum(sums, Pair{A(0), A(0)});
    const A of_one = sums.first / static_cast<A>(columns), of_x_hat = sums.second / static_cast<A>(columns);
    visit(x, columns, group.lane, group.lanes, vectors, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A xs[N], gs[N];
        load(xs, x + c);
        load(gs, dy + c);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const A g = weight ? gs[i] * widen(weight[c + i]) : gs[i];
            gs[i] = inv_std * (g - of_one - (xs[i] - mean) * inv_std * of_x_hat);
        }
        store(dx + c, gs);
    });
}

template <bool CENTRED>
__device__ __forceinline__ void norm_backward_any_by_lanes(
    const T* x, const T* dy, const T* weight, const A* mean, const A* inv_std, T* dx, long long rows, int columns,
    int lanes) {
    rows_of_lanes(rows, lanes, [&](Lanes group, long long row, bool there) {
        norm_backward_any_row<CENTRED>(
            group, x + row * columns, dy + row * columns, weight, CENTRED ? mean[row] : A(0), inv_std[row],
            dx + row * columns, there ? columns : 0);
    });
}

template <bool CENTRED>
__device__ __forceinline__ void norm_backward_any_by_block(
    const T* x, const T* dy, const T* weight, const A* mean, const A* inv_std, T* dx, long long rows, int columns) {
    for (long long row = blockIdx.x; row < rows; row += gridDim.x)
        norm_backward_any_row<CENTRED>(
            Block(), x + row * columns, dy + row * columns, weight, CENTRED ? mean[row] : A(0), inv_std[row],
            dx + row * columns, columns);
}

// dγ and dβ of rows that are not held in registers: blockIdx.x is the tile of columns, blockIdx.y the part of the rows.
template <bool CENTRED, bool VECTORS>
__device__ __forceinline__ void norm_columns(
    const T* x, const T* dy, const A* mean, const A* inv_std, A* partial, A* shared, long long apart, int rows,
    int columns, int part_rows) {
    const Tile<VECTORS> tile(blockIdx.x, columns);
    const Span span(blockIdx.y, part_rows, rows);
    A dweight[VECTOR] = {}, dbias[VECTOR] = {};
#pragma unroll 2
    for (int row = span.begin + threadIdx.x / WARP; row < span.end; row += TILE_WARPS) {
        A xs[VECTOR], dys[VECTOR];
        const long long offset = static_cast<long long>(row) * columns;
        tile.get(xs, x + offset);
        tile.get(dys, dy + offset);
        const A m = CENTRED ? mean[row] : A(0), r = inv_std[row];
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            dweight[j] += dys[j] * ((xs[j] - m) * r);
            if (CENTRED) dbias[j] += dys[j];
        }
    }
    A* mine = partial + static_cast<long long>(blockIdx.y) * columns;
    join_warps(tile, dweight, shared, mine);
    if (CENTRED) join_warps(tile, dbias, shared, mine + apart);
}

// Σ over the blocks of what they left for each column: 32 columns for a block, WARP of its threads for each.
__device__ __forceinline__ void norm_total(const A* partial, T* out, int blocks, int columns) {
    __shared__ A shared[WARP][WARP + 1];
    const int c = blockIdx.x * WARP + threadIdx.x, c_there = c < columns ? c : 0;
    A total = A(0);
#pragma unroll 4
    for (int b = threadIdx.y; b < blocks; b += WARP) total += partial[static_cast<long long>(b) * columns + c_there];
    shared[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    // Turned round, so that the numbers of a column lie in one warp. (One more number a line: no bank twice.)
    total = reduce_lanes(shared[threadIdx.x][threadIdx.y], WARP, Sum());
    const int mine = blockIdx.x * WARP + threadIdx.y;
    if (threadIdx.x == 0 && mine < columns) out[mine] = narrow(total);
}
