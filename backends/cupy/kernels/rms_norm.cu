// Root-mean-square normalisation of rows and its derivatives. Formulas, bytes and shape: row_norm.cuh.
#include "row_norm.cuh"

// Rows up to 1 KiB. A row belongs to `lanes` lanes, which hold one or two vectors each.
extern "C" __global__ void __launch_bounds__(THREADS, 5) rms_norm_by_lanes(
    const T* __restrict__ x,       // rows * columns
    const T* __restrict__ weight,  // columns, or null
    T* __restrict__ y,             // rows * columns
    A* __restrict__ inv_std,       // rows
    long long rows, int columns, A eps, int lanes, int packs) {
    if (packs == 1)
        norm_by_lanes<false, 1>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps, lanes);
    else
        norm_by_lanes<false, 2>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps, lanes);
}

// Rows up to 4 KiB. A row belongs to a warp, whose lanes hold up to eight vectors each.
extern "C" __global__ void __launch_bounds__(THREADS, 2) rms_norm_by_warp(
    const T* __restrict__ x,       // rows * columns
    const T* __restrict__ weight,  // columns, or null
    T* __restrict__ y,             // rows * columns
    A* __restrict__ inv_std,       // rows
    long long rows, int columns, A eps, int packs) {
    if (packs <= 4)
        norm_by_lanes<false, 4>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps, WARP);
    else
        norm_by_lanes<false, 8>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps, WARP);
}

// Rows of up to BLOCK_PACKS vectors for each thread.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) rms_norm_by_block(
    const T* __restrict__ x,       // rows * columns
    const T* __restrict__ weight,  // columns, or null
    T* __restrict__ y,             // rows * columns
    A* __restrict__ inv_std,       // rows
    long long rows, int columns, A eps) {
    norm_by_block<false>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps);
}

// Rows of any length and alignment: up to 4 KiB by lanes, longer ones by a block.
extern "C" __global__ void __launch_bounds__(THREADS, 4) rms_norm_any_by_lanes(
    const T* __restrict__ x,       // rows * columns
    const T* __restrict__ weight,  // columns, or null
    T* __restrict__ y,             // rows * columns
    A* __restrict__ inv_std,       // rows
    long long rows, int columns, A eps, int lanes) {
    norm_any_by_lanes<false>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps, lanes);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) rms_norm_any_by_block(
    const T* __restrict__ x,       // rows * columns
    const T* __restrict__ weight,  // columns, or null
    T* __restrict__ y,             // rows * columns
    A* __restrict__ inv_std,       // rows
    long long rows, int columns, A eps) {
    norm_any_by_block<false>(x, y, weight, nullptr, nullptr, inv_std, rows, columns, eps);
}

// Rows up to one vector for each of `lanes` lanes. partial: dγ of every block.
extern "C" __global__ void __launch_bounds__(THREADS, 3) rms_norm_backward_by_lanes(
    const T* __restrict__ x,        // rows * columns
    const T* __restrict__ dy,       // rows * columns
    const T* __restrict__ weight,   // columns, or null
    const A* __restrict__ inv_std,  // rows
    T* __restrict__ dx,             // rows * columns, or null
    A* __restrict__ partial,        // blocks * columns, or null
    long long rows, int columns, int blocks, int lanes) {
    A* mine = partial ? partial + static_cast<long long>(blockIdx.x) * columns : nullptr;
    norm_backward_by_lanes<false>(x, dy, weight, nullptr, inv_std, dx, mine, 0, rows, columns, lanes);
}

// Rows up to one vector for each thread.
extern "C" __global__ void __launch_bounds__(HELD_THREADS, 1) rms_norm_backward_by_block(
    const T* __restrict__ x,        // rows * columns
    const T* __restrict__ dy,       // rows * columns
    const T* __restrict__ weight,   // columns, or null
    const A* __restrict__ inv_std,  // rows
    T* __restrict__ dx,             // rows * columns, or null
    A* __restrict__ partial,        // blocks * columns, or null
    long long rows, int columns, int blocks) {
    A* mine = partial ? partial + static_cast<long long>(blockIdx.x) * columns : nullptr;
    norm_backward_by_block<false>(x, dy, weight, nullptr, inv_std, dx, mine, 0, rows, columns);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) rms_norm_backward_any_by_lanes(
    const T* __restrict__ x,        // rows * columns
    const T* __restrict__ dy,       // rows * columns
    const T* __restrict__ weight,   // columns, or null
    const A* __restrict__ inv_std,  // rows
    T* __restrict__ dx,             // rows * columns
    long long rows, int columns, int lanes) {
    norm_backward_any_by_lanes<false>(x, dy, weight, nullptr, inv_std, dx, rows, columns, lanes);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) rms_norm_backward_any_by_block(
    const T* __restrict__ x,        // rows * columns
    const T* __restrict__ dy,       // rows * columns
    const T* __restrict__ weight,   // columns, or null
    const A* __restrict__ inv_std,  // rows
    T* __restrict__ dx,             // rows * columns
    long long rows, int columns) {
    norm_backward_any_by_block<false>(x, dy, weight, nullptr, inv_std, dx, rows, columns);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS) rms_norm_columns(
    const T* __restrict__ x,        // rows * columns
    const T* __restrict__ dy,       // rows * columns
    const A* __restrict__ inv_std,  // rows
    A* __restrict__ partial,        // blocks * columns
    int rows, int columns, int part_rows, int blocks) {
    __shared__ A shared[TILE_WARPS * TILE_COLUMNS];
    if (fits_vectors(x, columns) && misalignment(dy) == 0)
        norm_columns<false, true>(x, dy, nullptr, inv_std, partial, shared, 0, rows, columns, part_rows);
    else
        norm_columns<false, false>(x, dy, nullptr, inv_std, partial, shared, 0, rows, columns, part_rows);
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) rms_norm_total(
    T* __restrict__ dweight,        // columns
    const A* __restrict__ partial,  // blocks * columns
    int blocks, int columns) {
    norm_total(partial, dweight, blocks, columns);
}
