// Softmax followed by cross-entropy with class indices, and its derivative with respect to the logits.
//
//     z = logits[n, :],  t = target[n],  m = max_c z_c,  s = Σ_c e^{z_c - m},  ln p_c = z_c - m - ln s
//     q_c = w_c ((1 - ε) [c = t] + ε / C)
//     loss_n = -Σ_c q_c ln p_c = (1 - ε) w_t (ln s + m - z_t) + ε / C (W (ln s + m - r) - Σ_c w_c (z_c - r)),  W = Σ_c w_c
//     dz_c = g_n (p_c Σ_k q_k - q_c),   p_c = e^{z_c - m} / s
//
// r is the row's first logit: sums of z_c - r lose less than sums of z_c where all logits are large.
//
// Bytes: the loss reads the logits once and keeps m and s, 8 bytes a row; the gradient reads them once more and writes
// itself. The probabilities are never stored.
//
// Shape: m, s and the smoothing sum come together in one visit (SoftmaxSum). Short rows belong to some lanes of a warp,
// long ones to a block. Few long rows would leave most of the GPU idle: they are cut into parts, one block each, and
// joined by a second kernel. A "mean" or "sum" is added up in two steps, blocks and then one block, each in a fixed order.
//
// A target outside of [0, C) that is not ignore_index gives NaN as loss and gradient; nothing is read with it.
#include "common.cuh"

using Index = XNN_INDEX;  // int, long long

constexpr int THREADS = 256;
constexpr int MAX_THREADS = 512;

// What the visit of a row, or of a part of one, gives.
struct RowSums {
    SoftmaxSum exponentials;
    A weighted;  // Σ_c w_c (z_c - r), for label smoothing

    static __device__ __forceinline__ RowSums none() { return {SoftmaxSum::none(), A(0)}; }
    template <class Shuffle> __device__ __forceinline__ RowSums shuffled(Shuffle s) const {
        return {exponentials.shuffled(s), s(weighted)};
    }
    __device__ __forceinline__ RowSums operator+(RowSums b) const {
        return {exponentials + b.exponentials, weighted + b.weighted};
    }
};

__device__ __forceinline__ A reference(const T* row) {
    const A first = widen(row[0]);
    return first > -infinity() && first < infinity() ? first : A(0);
}

// The sums of columns [begin, begin + columns) of a row.
template <class Group>
__device__ __forceinline__ RowSums row_sums(
    Group group, const T* row, int begin, int columns, const T* weight, bool smooth) {
    RowSums sums = RowSums::none();
    const A r = smooth && columns > 0 ? reference(row) : A(0);
    visit(row + begin, columns, group.lane, group.lanes, true, [&](int c, auto count) {
        constexpr int N = decltype(count)::value;
        A z[N];
        load(z, row + begin + c);
        sums.exponentials.add(z);
        if (smooth) {
#pragma unroll
            for (int i = 0; i < N; i++) sums.weighted += (weight ? widen(weight[begin + c + i]) : A(1)) * (z[i] - r);
        }
    });
    return group.sum(sums, RowSums::none());
}

// Loss of a row and the weight with which it enters the mean.
__device__ __forceinline__ Pair row_loss(
    RowSums sums, const T* row, long long t, const T* weight, const A* weight_sum, int classes,
    long long ignore_index, A smoothing) {
    if (t == ignore_index) return {A(0), A(0)};
    if (t < 0 || t >= classes) return {nan_value(), A(1)};
    const A w = weight ? widen(weight[t]) : A(1);
    const A m = sums.exponentials.max, log_sum = logarithm(sums.exponentials.sum);
    A loss = w * (log_sum + (m - widen(row[t])));
    if (smoothing != A(0)) {
        const A all = weight_sum ? *weight_sum : static_cast<A>(classes);
        const A spread = all * (log_sum + (m - reference(row))) - sums.weighted;
        loss = (A(1) - smoothing) * loss + smoothing / static_cast<A>(classes) * spread;
    }
    return {loss, w};
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) cross_entropy_by_lanes(
    const T* __restrict__ logits,      // rows * classes
    const Index* __restrict__ target,  // rows
    const T* __restrict__ weight,      // classes, or null
    const A* __restrict__ weight_sum,  // 1, or null
    T* losses,                         // rows, or null
    A* row_max,                        // rows
    A* row_sum,                        // rows
    A* block_sums,                     // 2 * blocks, or null
    long long rows, int classes, long long ignore_index, A smoothing, int lanes, int blocks) {
    const int groups = THREADS / lanes;
    const Lanes group(lanes);
    Pair total = {A(0), A(0)};
    // Lanes without a row stay until the end, with no columns: a shuffle needs the whole warp.
    for (long long first = static_cast<long long>(blockIdx.x) * groups; first < rows;
         first += static_cast<long long>(blocks) * groups) {
        const long long n = first + threadIdx.x / lanes;
        const T* row = logits + (n < rows ? n * classes : 0);
        const RowSums sums = row_sums(group, row, 0, n < rows ? classes : 0, weight, smoothing != A(0));
        if (group.lane == 0 && n < rows) {
            const Pair loss = row_loss(sums, row, target[n], weight, weight_sum, classes, ignore_index, smoothing);
            row_max[n] = sums.exponentials.max;
            row_sum[n] = sums.exponentials.sum;
            if (losses) losses[n] = narrow(loss.first);
            total = total + loss;
        }
    }
    if (block_sums == nullptr) return;
    total = reduce_block(total, Pair{A(0), A(0)}, Sum());
    if (threadIdx.x == 0) {
        block_sums[2 * blockIdx.x] = total.first;
        block_sums[2 * blockIdx.x + 1] = total.second;
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) cross_entropy_by_block(
    const T* __restrict__ logits,      // rows * classes
    const Index* __restrict__ target,  // rows
    const T* __restrict__ weight,      // classes, or null
    const A* __restrict__ weight_sum,  // 1, or null
    T* losses,                         // rows, or null
    A* row_max,                        // rows
    A* row_sum,                        // rows
    A* block_sums,                     // 2 * blocks, or null
    long long rows, int classes, long long ignore_index, A smoothing, int blocks) {
    Pair total = {A(0), A(0)};
    for (long long n = blockIdx.x; n < rows; n += blocks) {
        const T* row = logits + n * classes;
        const RowSums sums = row_sums(Block(), row, 0, classes, weight, smoothing != A(0));
        if (threadIdx.x == 0) {
            const Pair loss = row_loss(sums, row, target[n], weight, weight_sum, classes, ignore_index, smoothing);
            row_max[n] = sums.exponentials.max;
            row_sum[n] = sums.exponentials.sum;
            if (losses) losses[n] = narrow(loss.first);
            total = total + loss;
        }
    }
    if (block_sums && threadIdx.x == 0) {
        block_sums[2 * blockIdx.x] = total.first;
        block_sums[2 * blockIdx.x + 1] = total.second;
    }
}

// One block for each part of a row: blockIdx.x is the part, blockIdx.y the row.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) cross_entropy_parts(
    const T* __restrict__ logits,  // rows * classes
    const T* __restrict__ weight,  // classes, or null
    A* sums,                       // 3 * rows * parts
    int rows, int classes, bool smooth, int parts, int part_columns) {
    const int part = blockIdx.x;
    const long long n = blockIdx.y;
    const int begin = part * part_columns;
    const int columns = classes - begin < part_columns ? classes - begin : part_columns;
    const RowSums mine = row_sums(Block(), logits + n * classes, begin, columns, weight, smooth);
    if (threadIdx.x == 0) {
        A* to = sums + 3 * (n * parts + part);
        to[0] = mine.exponentials.max;
        to[1] = mine.exponentials.sum;
        to[2] = mine.weighted;
    }
}

// One warp joins the parts of a row.
extern "C" __global__ void __launch_bounds__(WARP) cross_entropy_join(
    const T* __restrict__ logits,      // rows * classes
    const Index* __restrict__ target,  // rows
    const T* __restrict__ weight,      // classes, or null
    const A* __restrict__ weight_sum,  // 1, or null
    const A* __restrict__ sums,        // 3 * rows * parts
    T* losses,                         // rows, or null
    A* row_max,                        // rows
    A* row_sum,                        // rows
    A* block_sums,                     // 2 * rows, or null
    int rows, int classes, long long ignore_index, A smoothing, int parts) {
    const long long n = blockIdx.x;
    RowSums mine = RowSums::none();
    for (int part = threadIdx.x; part < parts; part += WARP) {
        const A* from = sums + 3 * (n * parts + part);
        mine = mine + RowSums{{from[0], from[1]}, from[2]};
    }
    mine = reduce_lanes(mine, WARP, Sum());
    if (threadIdx.x != 0) return;
    const Pair loss =
        row_loss(mine, logits + n * classes, target[n], weight, weight_sum, classes, ignore_index, smoothing);
    row_max[n] = mine.exponentials.max;
    row_sum[n] = mine.exponentials.sum;
    if (losses) losses[n] = narrow(loss.first);
    if (block_sums) {
        block_sums[2 * n] = loss.first;
        block_sums[2 * n + 1] = loss.second;
    }
}

// One block adds up what the others have left.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) cross_entropy_total(
    T* loss,                            // 1
    A* count,                           // 1: the mean's divisor
    const A* __restrict__ block_sums,   // 2 * blocks
    int blocks, bool mean) {
    Pair total = {A(0), A(0)};
    for (int i = threadIdx.x; i < blocks; i += blockDim.x) total = total + Pair{block_sums[2 * i], block_sums[2 * i + 1]};
    total = reduce_block(total, Pair{A(0), A(0)}, Sum());
    if (threadIdx.x == 0) {
        *loss = narrow(mean ? total.first / total.second : total.first);
        *count = total.second;
    }
}

// Columns [begin, begin + columns) of a row of the gradient.
template <class Group>
__device__ __forceinline__ void gradient_row(
    Group group, const T* row, T* gradient, int begin, int columns, A m, A sum, A g, long long t, const T* weight,
    const A* weight_sum, int classes, long long ignore_index, A smoothing) {
    const bool ignored = t == ignore_index;
    const bool outside = !ignored && (t < 0 || t >= classes);
    const A w = weight && !ignored && !outside ? widen(weight[t]) : A(1);
    const A all = weight_sum ? *weight_sum : static_cast<A>(classes);
    const A even = smoothing / static_cast<A>(classes);      // ε / C
    const A at_target = g * (A(1) - smoothing) * w;          // g (1 - ε) w_t
    A scale = (at_target + g * even * all) / sum;            // g Σ_c q_c / s
    if (outside) scale = nan_value();
    const bool smooth = smoothing != A(0);
    const int hit = outside || ignored ? -1 : static_cast<int>(t);
    visit(
        row + begin, columns, group.lane, group.lanes, same_alignment(row + begin, gradient + begin),
        [&](int c, auto count) {
            constexpr int N = decltype(count)::value;
            A z[N];
            if (ignored) {
#pragma unroll
                for (int i = 0; i < N; i++) z[i] = A(0);
            } else {
                load(z, row + begin + c);
#pragma unroll
                for (int i = 0; i < N; i++) {
                    z[i] = exponential(z[i] - m) * scale;
                    if (smooth) z[i] -= g * even * (weight ? widen(weight[begin + c + i]) : A(1));
                    if (begin + c + i == hit) z[i] -= at_target;
                }
            }
            store(gradient + begin + c, z);
        });
}

extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS) cross_entropy_backward_by_lanes(
    const T* __restrict__ logits,      // rows * classes
    const Index* __restrict__ target,  // rows
    const T* __restrict__ weight,      // classes, or null
    const A* __restrict__ weight_sum,  // 1, or null
    const A* __restrict__ row_max,     // rows
    const A* __restrict__ row_sum,     // rows
    const T* __restrict__ dy,          // 1 + (rows - 1) * dy_step
    const A* __restrict__ count,       // 1, or null
    T* __restrict__ dlogits,           // rows * classes
    long long rows, int classes, long long ignore_index, A smoothing, int dy_step, int lanes) {
    const int groups = THREADS / lanes;
    const Lanes group(lanes);
    const long long stride = static_cast<long long>(gridDim.x) * groups;
    for (long long n = static_cast<long long>(blockIdx.x) * groups + threadIdx.x / lanes; n < rows; n += stride) {
        const A g = widen(dy[n * dy_step]) / (count ? *count : A(1));
        gradient_row(
            group, logits + n * classes, dlogits + n * classes, 0, classes, row_max[n], row_sum[n], g, target[n],
            weight, weight_sum, classes, ignore_index, smoothing);
    }
}

// One block for each part of a row: blockIdx.y is the part, blockIdx.x the row.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, 1) cross_entropy_backward_by_block(
    const T* __restrict__ logits,      // rows * classes
    const Index* __restrict__ target,  // rows
    const T* __restrict__ weight,      // classes, or null
    const A* __restrict__ weight_sum,  // 1, or null
    const A* __restrict__ row_max,     // rows
    const A* __restrict__ row_sum,     // rows
    const T* __restrict__ dy,          // 1 + (rows - 1) * dy_step
    const A* __restrict__ count,       // 1, or null
    T* __restrict__ dlogits,           // rows * classes
    long long rows, int classes, long long ignore_index, A smoothing, int dy_step, int part_columns) {
    const int begin = blockIdx.y * part_columns;
    const int columns = classes - begin < part_columns ? classes - begin : part_columns;
    for (long long n = blockIdx.x; n < rows; n += gridDim.x) {
        const A g = widen(dy[n * dy_step]) / (count ? *count : A(1));
        gradient_row(
            Block(), logits + n * classes, dlogits + n * classes, begin, columns, row_max[n], row_sum[n], g, target[n],
            weight, weight_sum, classes, ignore_index, smoothing);
    }
}
