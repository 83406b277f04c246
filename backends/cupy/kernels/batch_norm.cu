// Batch normalisation of the channels of (N, C, L), L = d1 ... dk together: training, evaluation, and the derivatives.
//
//     μ_c = 1/m Σ x,   σ²_c = 1/m Σ (x - μ_c)²,   r_c = 1 / √(σ²_c + ε),   x_hat = (x - μ_c) r_c,   y = γ_c x_hat + β_c
//     dβ = Σ dy,   dγ = Σ dy x_hat,   sums over the m = N L values of a channel
//     dx = a dy + b x_hat + c,   a = γ r,   b = (2 dσ² / r - a dγ) / m,   c = (dμ - a dβ) / m
//
// dμ and dσ² are the gradients of the two other results; where nobody uses those, they are 0 and cost two numbers a
// channel. For evaluation μ and σ² are given: dx = a dy.
//
// Bytes: the statistics read x, the result reads x again (from the L2 cache while x fits) and writes y; the gradient reads
// x and dy twice and writes dx. A channel that fits into shared memory is read once.
//
// The mean and the sum of squared deviations come in one visit: of each vector by itself, joined after Chan, Golub and
// LeVeque; no sum of squares from which a large μ² would be taken. All sums are made in a fixed order.
//
// Shape. Three ways, so that loads are wide and there are enough blocks, whether channels are few or many, long or short:
//
//     fused     a block per channel, which keeps the channel in shared memory: one launch, one read
//     rows      long rows L: some blocks per channel, each of its rows for some lanes of a warp or the whole block
//     columns   short rows, L = 1 above all: x as a matrix of N rows and C L columns, and sums down its columns
//
// In the last two, blocks leave partial sums, which a small kernel joins, one warp for a channel.
#include "column_tiles.cuh"
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int FUSED_THREADS = 512;

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// Takes N more numbers into account: their own mean and squares, exact among themselves, then one join.
template <int N> __device__ __forceinline__ void add(Moments& moments, const A (&x)[N]) {
    A mean = A(0), m2 = A(0);
#pragma unroll
    for (int i = 0; i < N; i++) mean += x[i];
    mean *= A(1) / A(N);
#pragma unroll
    for (int i = 0; i < N; i++) m2 += (x[i] - mean) * (x[i] - mean);
    const A all = moments.count + A(N), delta = mean - moments.mean, share = A(N) / all;
    moments.m2 += m2 + delta * delta * moments.count * share;
    moments.mean += delta * share;
    moments.count = all;
}

// --- what belongs to a channel ---------------------------------------------------------------------------------------

// μ and r of channels: computed by a training forward, or given as running statistics; 0 and 1 where null.
struct Statistics {
    const A* mean;
    const A* inv_std;
    const T* running_mean;
    const T* running_var;
    A eps;

    __device__ __forceinline__ A mean_of(int c) const {
        return mean ? mean[c] : running_mean ? widen(running_mean[c]) : A(0);
    }
    __device__ __forceinline__ A inv_std_of(int c) const {
        return inv_std ? inv_std[c] : running_var ? A(1) / root(widen(running_var[c]) + eps) : A(1);
    }
};

// y = (x - mean) scale + shift. (Folding the mean into the shift would lose digits where it is large.)
struct Affine {
    A mean, scale, shift;
    __device__ __forceinline__ A operator()(A x) const { return (x - mean) * scale + shift; }
};

__device__ __forceinline__ Affine affine_of(const Statistics& of, const T* weight, const T* bias, int c) {
    return {of.mean_of(c), of.inv_std_of(c) * (weight ? widen(weight[c]) : A(1)), bias ? widen(bias[c]) : A(0)};
}

// dx = dy a + (x - mean) b + c, with b = b' r of the formula above.
struct Gradient {
    A mean, a, b, c;
    __device__ __forceinline__ A operator()(A x, A dy) const { return dy * a + (x - mean) * b + c; }
};

// dβ and dγ as first and second.
__device__ __forceinline__ Gradient gradient_of(
    Pair sums, A mean, A inv_std, A weight, A dmean, A dvar, long long count) {
    const A m = static_cast<A>(count), a = inv_std * weight;
    return {mean, a, (A(2) * dvar - a * inv_std * sums.second) / m, (dmean - a * sums.first) / m};
}

// --- rows: some blocks for each channel ------------------------------------------------------------------------------

// Rows of L values, each cut into parts; a part is an item of work for a group of `lanes` threads.
struct Rows {
    int batch, channels, length, parts, part_length, lanes;

    // Item after item of a channel, shared out among `splits` blocks: each(offset, columns, lane, item).
    template <class Each> __device__ __forceinline__ void visit_items(int channel, int split, int splits, Each each) const {
        const int groups = blockDim.x / lanes, lane = threadIdx.x % lanes, items = batch * parts;
        for (int item = split * groups + threadIdx.x / lanes; item < items; item += splits * groups) {
            const int n = parts == 1 ? item : item / parts, begin = (item - n * parts) * part_length;
            const int columns = length - begin < part_length ? length - begin : part_length;
            each((static_cast<long long>(n) * channels + channel) * length + begin, columns, lane, item);
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_rows_statistics(
    const T* __restrict__ x,  // batch * channels * length
    A* __restrict__ partial,  // 3 * splits * channels
    int batch, int channels, int length, int parts, int part_length, int lanes, int splits) {
    const Rows rows{batch, channels, length, parts, part_length, lanes};
    const int channel = blockIdx.x % channels, split = blockIdx.x / channels;
    Moments moments = Moments::none();
    rows.visit_items(channel, split, splits, [&](long long offset, int columns, int lane, int) {
        visit(x + offset, columns, lane, lanes, true, [&](int i, auto count) {
            A values[decltype(count)::value];
            load(values, x + offset + i);
            add(moments, values);
        });
    });
    moments = reduce_block(moments, Moments::none(), Sum());
    if (threadIdx.x == 0) {
        const long long plane = static_cast<long long>(splits) * channels;
        partial[blockIdx.x] = moments.count;
        partial[plane + blockIdx.x] = moments.mean;
        partial[2 * plane + blockIdx.x] = moments.m2;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_rows_apply(
    const T* __restrict__ x,             // batch * channels * length
    const A* __restrict__ mean,          // channels, or null
    const A* __restrict__ inv_std,       // channels, or null
    const T* __restrict__ running_mean,  // channels, or null
    const T* __restrict__ running_var,   // channels, or null
    const T* __restrict__ weight,        // channels, or null
    const T* __restrict__ bias,          // channels, or null
    T* __restrict__ y,                   // batch * channels * length
    A eps, int batch, int channels, int length, int parts, int part_length, int lanes, int splits) {
    const Rows rows{batch, channels, length, parts, part_length, lanes};
    const int block = gridDim.x - 1 - blockIdx.x;  // backwards: what was read last is still in the cache
    const int channel = block % channels, split = block / channels;
    const Affine affine = affine_of({mean, inv_std, running_mean, running_var, eps}, weight, bias, channel);
    rows.visit_items(channel, split, splits, [&](long long offset, int columns, int lane, int) {
        visit(x + offset, columns, lane, lanes, same_alignment(x, y), [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A values[N];
            load(values, x + offset + i);
#pragma unroll
            for (int j = 0; j < N; j++) values[j] = affine(values[j]);
            store(y + offset + i, values);
        });
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_rows_sums(
    const T* __restrict__ x,             // batch * channels * length
    const T* __restrict__ dy,            // batch * channels * length
    const A* __restrict__ mean,          // channels, or null
    const A* __restrict__ inv_std,       // channels, or null
    const T* __restrict__ running_mean,  // channels, or null
    const T* __restrict__ running_var,   // channels, or null
    A* __restrict__ partial,             // 2 * splits * channels
    A eps, int batch, int channels, int length, int parts, int part_length, int lanes, int splits) {
    const Rows rows{batch, channels, length, parts, part_length, lanes};
    const int channel = blockIdx.x % channels, split = blockIdx.x / channels;
    const Statistics of{mean, inv_std, running_mean, running_var, eps};
    const A m = of.mean_of(channel), r = of.inv_std_of(channel);
    Pair sums = {A(0), A(0)};
    rows.visit_items(channel, split, splits, [&](long long offset, int columns, int lane, int) {
        visit(x + offset, columns, lane, lanes, same_alignment(x, dy), [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A xs[N], dys[N];
            load(xs, x + offset + i);
            load(dys, dy + offset + i);
#pragma unroll
            for (int j = 0; j < N; j++) {
                sums.first += dys[j];
                sums.second += dys[j] * ((xs[j] - m) * r);
            }
        });
    });
    sums = reduce_block(sums, Pair{A(0), A(0)}, Sum());
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sums.first;
        partial[static_cast<long long>(splits) * channels + blockIdx.x] = sums.second;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_rows_gradient(
    const T* __restrict__ x,             // batch * channels * length
    const T* __restrict__ dy,            // batch * channels * length
    const A* __restrict__ coefficients,  // 4 * channels
    T* __restrict__ dx,                  // batch * channels * length
    int batch, int channels, int length, int parts, int part_length, int lanes, int splits) {
    const Rows rows{batch, channels, length, parts, part_length, lanes};
    const int block = gridDim.x - 1 - blockIdx.x;
    const int channel = block % channels, split = block / channels;
    const A* mine = coefficients + 4LL * channel;
    const Gradient gradient{mine[0], mine[1], mine[2], mine[3]};
    const bool vectors = same_alignment(x, dy) && same_alignment(x, dx);
    rows.visit_items(channel, split, splits, [&](long long offset, int columns, int lane, int) {
        visit(x + offset, columns, lane, lanes, vectors, [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A xs[N], dys[N];
            load(xs, x + offset + i);
            load(dys, dy + offset + i);
#pragma unroll
            for (int j = 0; j < N; j++) dys[j] = gradient(xs[j], dys[j]);
            store(dx + offset + i, dys);
        });
    });
}

// --- fused: one block for each channel, which it keeps in shared memory ----------------------------------------------

// Rows lie there at the same distance from a 16-byte boundary as in the array, and every thread reads back only what it
// wrote itself: no barrier.
__device__ __forceinline__ int pitch(int length) { return (length + VECTOR - 1) / VECTOR * VECTOR + VECTOR; }

extern "C" __global__ void __launch_bounds__(FUSED_THREADS, 2) batch_norm_fused(
    const T* __restrict__ x,       // batch * channels * length
    const T* __restrict__ weight,  // channels, or null
    const T* __restrict__ bias,    // channels, or null
    T* __restrict__ y,             // batch * channels * length
    T* __restrict__ mean,          // channels
    T* __restrict__ var,           // channels
    A* __restrict__ kept_mean,     // channels
    A* __restrict__ inv_std,       // channels
    A eps, int batch, int channels, int length, int lanes) {
    extern __shared__ __align__(16) unsigned char shared[];
    const Rows rows{batch, channels, length, 1, length, lanes};
    const int channel = blockIdx.x;
    const bool vectors = same_alignment(x, y);
    Moments moments = Moments::none();
    rows.visit_items(channel, 0, 1, [&](long long offset, int columns, int lane, int n) {
        const T* row = x + offset;
        T* kept = reinterpret_cast<T*>(shared) + n * pitch(length) + misalignment(row);
        visit(row, columns, lane, lanes, vectors, [&](int i, auto count) {
            A values[decltype(count)::value];
            load(values, row + i);
            add(moments, values);
            store(kept + i, values);
        });
    });
    moments = reduce_block(moments, Moments::none(), Sum());
    const A variance = moments.m2 / moments.count, r = A(1) / root(variance + eps);
    if (threadIdx.x == 0) {
        mean[channel] = narrow(moments.mean);
        var[channel] = narrow(variance);
        kept_mean[channel] = moments.mean;
        inv_std[channel] = r;
    }
    const Affine affine{
        moments.mean, r * (weight ? widen(weight[channel]) : A(1)), bias ? widen(bias[channel]) : A(0)};
    rows.visit_items(channel, 0, 1, [&](long long offset, int columns, int lane, int n) {
        const T* kept = reinterpret_cast<const T*>(shared) + n * pitch(length) + misalignment(x + offset);
        visit(x + offset, columns, lane, lanes, vectors, [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A values[N];
            load(values, kept + i);
#pragma unroll
            for (int j = 0; j < N; j++) values[j] = affine(values[j]);
            store(y + offset + i, values);
        });
    });
}

extern "C" __global__ void __launch_bounds__(FUSED_THREADS, 2) batch_norm_fused_backward(
    const T* __restrict__ x,        // batch * channels * length
    const T* __restrict__ dy,       // batch * channels * length
    const T* __restrict__ weight,   // channels, or null
    const A* __restrict__ mean,     // channels
    const A* __restrict__ inv_std,  // channels
    const T* __restrict__ dmean,    // channels, or null
    const T* __restrict__ dvar,     // channels, or null
    T* __restrict__ dx,             // batch * channels * length
    T* __restrict__ dweight,        // channels
    T* __restrict__ dbias,          // channels
    int batch, int channels, int length, int lanes) {
    extern __shared__ __align__(16) unsigned char shared[];
    const Rows rows{batch, channels, length, 1, length, lanes};
    const int channel = blockIdx.x, behind = batch * pitch(length);
    const bool vectors = same_alignment(x, dy) && same_alignment(x, dx);
    const A m = mean[channel], r = inv_std[channel];
    Pair sums = {A(0), A(0)};
    rows.visit_items(channel, 0, 1, [&](long long offset, int columns, int lane, int n) {
        T* kept = reinterpret_cast<T*>(shared) + n * pitch(length) + misalignment(x + offset);
        visit(x + offset, columns, lane, lanes, vectors, [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A xs[N], dys[N];
            load(xs, x + offset + i);
            load(dys, dy + offset + i);
#pragma unroll
            for (int j = 0; j < N; j++) {
                sums.first += dys[j];
                sums.second += dys[j] * ((xs[j] - m) * r);
            }
            store(kept + i, xs);
            store(kept + behind + i, dys);
        });
    });
    sums = reduce_block(sums, Pair{A(0), A(0)}, Sum());
    if (threadIdx.x == 0) {
        dbias[channel] = narrow(sums.first);
        dweight[channel] = narrow(sums.second);
    }
    const Gradient gradient = gradient_of(
        sums, m, r, weight ? widen(weight[channel]) : A(1), dmean ? widen(dmean[channel]) : A(0),
        dvar ? widen(dvar[channel]) : A(0), static_cast<long long>(batch) * length);
    rows.visit_items(channel, 0, 1, [&](long long offset, int columns, int lane, int n) {
        const T* kept = reinterpret_cast<const T*>(shared) + n * pitch(length) + misalignment(x + offset);
        visit(x + offset, columns, lane, lanes, vectors, [&](int i, auto count) {
            constexpr int N = decltype(count)::value;
            A xs[N], dys[N];
            load(xs, kept + i);
            load(dys, kept + behind + i);
#pragma unroll
            for (int j = 0; j < N; j++) dys[j] = gradient(xs[j], dys[j]);
            store(dx + offset + i, dys);
        });
    });
}

// --- columns: x as a matrix of `batch` rows and channels * length columns --------------------------------------------

// blockIdx.x is the tile of columns, blockIdx.y the part of the rows: the same for all four kernels.

// Welford's update; all columns of a warp have the same count, so one division serves them all.
template <bool VECTORS>
__device__ __forceinline__ void columns_statistics(
    const T* x, A* partial, A* shared, int rows, int columns, int part_rows, int splits) {
    const Tile<VECTORS> tile(blockIdx.x, columns);
    const Span span(blockIdx.y, part_rows, rows);
    const int warp = threadIdx.x / WARP;
    A mean[VECTOR] = {}, m2[VECTOR] = {}, count = A(0);
#pragma unroll 4
    for (int row = span.begin + warp; row < span.end; row += TILE_WARPS) {
        A values[VECTOR];
        tile.get(values, x + static_cast<long long>(row) * columns);
        count += A(1);
        const A share = A(1) / count;
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            const A delta = values[j] - mean[j];
            mean[j] += delta * share;
            m2[j] += delta * (values[j] - mean[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < VECTOR; j++) {
        A* at = shared + 2 * (warp * TILE_COLUMNS + tile.within(j));
        at[0] = mean[j];
        at[1] = m2[j];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE_COLUMNS; i += TILE_THREADS) {
        if (tile.first + i >= columns) continue;
        Moments total = Moments::none();
        for (int w = 0; w < TILE_WARPS; w++) {
            const A* at = shared + 2 * (w * TILE_COLUMNS + i);
            total = total + Moments{static_cast<A>(span.count(w)), at[0], at[1]};
        }
        const long long plane = static_cast<long long>(splits) * columns;
        A* to = partial + static_cast<long long>(blockIdx.y) * columns + tile.first + i;
        to[0] = total.count;
        to[plane] = total.mean;
        to[2 * plane] = total.m2;
    }
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 3) batch_norm_columns_statistics(
    const T* __restrict__ x,  // batch * channels * length
    A* __restrict__ partial,  // 3 * splits * channels * length
    int batch, int channels, int length, int part_rows, int splits) {
    __shared__ A shared[2 * TILE_WARPS * TILE_COLUMNS];
    if (fits_vectors(x, channels * length))
        columns_statistics<true>(x, partial, shared, batch, channels * length, part_rows, splits);
    else
        columns_statistics<false>(x, partial, shared, batch, channels * length, part_rows, splits);
}

template <bool VECTORS>
__device__ __forceinline__ void columns_apply(
    const T* x, const Statistics& of, const T* weight, const T* bias, T* y, int rows, int columns, int length,
    int part_rows) {
    const Tile<VECTORS> tile(gridDim.x - 1 - blockIdx.x, columns);
    const Span span(gridDim.y - 1 - blockIdx.y, part_rows, rows);
    Affine affine[VECTOR];
#pragma unroll
    for (int j = 0; j < VECTOR; j++)
        affine[j] = tile.has(j) ? affine_of(of, weight, bias, tile.column(j) / length) : Affine{A(0), A(0), A(0)};
#pragma unroll 4
    for (int row = span.begin + threadIdx.x / WARP; row < span.end; row += TILE_WARPS) {
        A values[VECTOR];
        const long long offset = static_cast<long long>(row) * columns;
        tile.get(values, x + offset);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) values[j] = affine[j](values[j]);
        tile.put(y + offset, values);
    }
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) batch_norm_columns_apply(
    const T* __restrict__ x,             // batch * channels * length
    const A* __restrict__ mean,          // channels, or null
    const A* __restrict__ inv_std,       // channels, or null
    const T* __restrict__ running_mean,  // channels, or null
    const T* __restrict__ running_var,   // channels, or null
    const T* __restrict__ weight,        // channels, or null
    const T* __restrict__ bias,          // channels, or null
    T* __restrict__ y,                   // batch * channels * length
    A eps, int batch, int channels, int length, int part_rows) {
    const Statistics of{mean, inv_std, running_mean, running_var, eps};
    if (fits_vectors(x, channels * length) && misalignment(y) == 0)
        columns_apply<true>(x, of, weight, bias, y, batch, channels * length, length, part_rows);
    else
        columns_apply<false>(x, of, weight, bias, y, batch, channels * length, length, part_rows);
}

template <bool VECTORS>
__device__ __forceinline__ void columns_sums(
    const T* x, const T* dy, const Statistics& of, A* partial, A* shared, int rows, int columns, int length,
    int part_rows, int splits) {
    const Tile<VECTORS> tile(blockIdx.x, columns);
    const Span span(blockIdx.y, part_rows, rows);
    A mean[VECTOR], dbias[VECTOR] = {}, dweight[VECTOR] = {};
#pragma unroll
    for (int j = 0; j < VECTOR; j++) mean[j] = tile.has(j) ? of.mean_of(tile.column(j) / length) : A(0);
#pragma unroll 2
    for (int row = span.begin + threadIdx.x / WARP; row < span.end; row += TILE_WARPS) {
        A xs[VECTOR], dys[VECTOR];
        const long long offset = static_cast<long long>(row) * columns;
        tile.get(xs, x + offset);
        tile.get(dys, dy + offset);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) {
            dbias[j] += dys[j];
            dweight[j] += dys[j] * (xs[j] - mean[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < VECTOR; j++)
        if (tile.has(j)) dweight[j] *= of.inv_std_of(tile.column(j) / length);
    A* mine = partial + static_cast<long long>(blockIdx.y) * columns;
    join_warps(tile, dbias, shared, mine);
    join_warps(tile, dweight, shared, mine + static_cast<long long>(splits) * columns);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 3) batch_norm_columns_sums(
    const T* __restrict__ x,             // batch * channels * length
    const T* __restrict__ dy,            // batch * channels * length
    const A* __restrict__ mean,          // channels, or null
    const A* __restrict__ inv_std,       // channels, or null
    const T* __restrict__ running_mean,  // channels, or null
    const T* __restrict__ running_var,   // channels, or null
    A* __restrict__ partial,             // 2 * splits * channels * length
    A eps, int batch, int channels, int length, int part_rows, int splits) {
    __shared__ A shared[TILE_WARPS * TILE_COLUMNS];
    const Statistics of{mean, inv_std, running_mean, running_var, eps};
    if (fits_vectors(x, channels * length) && misalignment(dy) == 0)
        columns_sums<true>(x, dy, of, partial, shared, batch, channels * length, length, part_rows, splits);
    else
        columns_sums<false>(x, dy, of, partial, shared, batch, channels * length, length, part_rows, splits);
}

template <bool VECTORS>
__device__ __forceinline__ void columns_gradient(
    const T* x, const T* dy, const A* coefficients, T* dx, int rows, int columns, int length, int part_rows) {
    const Tile<VECTORS> tile(gridDim.x - 1 - blockIdx.x, columns);
    const Span span(gridDim.y - 1 - blockIdx.y, part_rows, rows);
    Gradient gradient[VECTOR];
#pragma unroll
    for (int j = 0; j < VECTOR; j++) {
        const A* of = coefficients + 4LL * (tile.has(j) ? tile.column(j) / length : 0);
        gradient[j] = {of[0], of[1], of[2], of[3]};
    }
#pragma unroll 2
    for (int row = span.begin + threadIdx.x / WARP; row < span.end; row += TILE_WARPS) {
        A xs[VECTOR], dys[VECTOR];
        const long long offset = static_cast<long long>(row) * columns;
        tile.get(xs, x + offset);
        tile.get(dys, dy + offset);
#pragma unroll
        for (int j = 0; j < VECTOR; j++) dys[j] = gradient[j](xs[j], dys[j]);
        tile.put(dx + offset, dys);
    }
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) batch_norm_columns_gradient(
    const T* __restrict__ x,             // batch * channels * length
    const T* __restrict__ dy,            // batch * channels * length
    const A* __restrict__ coefficients,  // 4 * channels
    T* __restrict__ dx,                  // batch * channels * length
    int batch, int channels, int length, int part_rows) {
    if (fits_vectors(x, channels * length) && misalignment(dy) == 0 && misalignment(dx) == 0)
        columns_gradient<true>(x, dy, coefficients, dx, batch, channels * length, length, part_rows);
    else
        columns_gradient<false>(x, dy, coefficients, dx, batch, channels * length, length, part_rows);
}

// --- one warp joins what blocks left of a channel --------------------------------------------------------------------

// Partial sums lie in planes, one for each number, of `splits` times `columns` = channels * each; each(index) gets every
// one of the channel.
template <class Each>
__device__ __forceinline__ void visit_partial(int channel, int channels, int splits, int each_channel, Each each) {
    const int all = splits * each_channel;
#pragma unroll 2
    for (int i = threadIdx.x % WARP; i < all; i += WARP) {
        const int split = each_channel == 1 ? i : i / each_channel;
        each((static_cast<long long>(split) * channels + channel) * each_channel + (i - split * each_channel));
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_join(
    T* __restrict__ mean,           // channels
    T* __restrict__ var,            // channels
    const A* __restrict__ partial,  // 3 * splits * channels * each
    A* __restrict__ kept_mean,      // channels
    A* __restrict__ inv_std,        // channels
    A eps, int channels, int splits, int each) {
    const int channel = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (channel >= channels) return;  // the whole warp
    const long long plane = static_cast<long long>(splits) * channels * each;
    Moments moments = Moments::none();
    visit_partial(channel, channels, splits, each, [&](long long i) {
        moments = moments + Moments{partial[i], partial[plane + i], partial[2 * plane + i]};
    });
    moments = reduce_lanes(moments, WARP, Sum());
    if (threadIdx.x % WARP != 0) return;
    const A variance = moments.m2 / moments.count;
    mean[channel] = narrow(moments.mean);
    var[channel] = narrow(variance);
    kept_mean[channel] = moments.mean;
    inv_std[channel] = A(1) / root(variance + eps);
}

extern "C" __global__ void __launch_bounds__(THREADS) batch_norm_join_sums(
    T* __restrict__ dweight,        // channels
    T* __restrict__ dbias,          // channels
    const T* __restrict__ weight,   // channels, or null
    const T* __restrict__ dmean,    // channels, or null
    const T* __restrict__ dvar,     // channels, or null
    const A* __restrict__ mean,     // channels, or null
    const A* __restrict__ inv_std,  // channels, or null
    const A* __restrict__ partial,  // 2 * splits * channels * each
    A* __restrict__ coefficients,   // 4 * channels, or null: with them, mean and inv_std are wanted
    long long count, int channels, int splits, int each) {
    const int channel = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (channel >= channels) return;
    const long long plane = static_cast<long long>(splits) * channels * each;
    Pair sums = {A(0), A(0)};
    visit_partial(channel, channels, splits, each, [&](long long i) {
        sums = sums + Pair{partial[i], partial[plane + i]};
    });
    sums = reduce_lanes(sums, WARP, Sum());
    if (threadIdx.x % WARP != 0) return;
    dbias[channel] = narrow(sums.first);
    dweight[channel] = narrow(sums.second);
    if (coefficients == nullptr) return;
    const Gradient gradient = gradient_of(
        sums, mean[channel], inv_std[channel], weight ? widen(weight[channel]) : A(1),
        dmean ? widen(dmean[channel]) : A(0), dvar ? widen(dvar[channel]) : A(0), count);
    A* to = coefficients + 4LL * channel;
    to[0] = gradient.mean;
    to[1] = gradient.a;
    to[2] = gradient.b;
    to[3] = gradient.c;
}
