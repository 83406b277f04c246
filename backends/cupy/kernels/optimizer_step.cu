// One step of an optimizer for all parameters of a group: SGD, Adam (AdamW), Lion.
//
//     SGD     g = ±∇ + λ θ,  b = μ b + (1 - τ) g (at first b = g),  θ = θ - η b,  or with Nesterov  θ - η (μ b + g)
//     Adam    θ = d θ,  g = ±∇ + λ θ,  m = β₁ m + (1 - β₁) g,  v = β₂ v + (1 - β₂) g²,
//             θ = θ - rate m / (√v + ε),  with the corrections of both biases in rate and ε: see xnn/optim/adam.py
//     Lion    g = ±∇,  c = β₁ m + (1 - β₁) g,  θ = d θ - η sign(c),  m = β₂ m + (1 - β₂) g
//
// Bytes: every array is read once, and all but the gradient written once: 12 bytes an element for SGD in float32, 20
// with momentum and for Lion, 28 for Adam. Written with arrays it is a launch and two or three passes for each
// operation and parameter; here it is one launch for all of them.
//
// Shape: a block works on a part of one array (tables.cuh), every element by itself, 16 bytes of T at once where all
// arrays are aligned. Nothing depends on the order of blocks, so the bits are the same on every run.
//
// The order of operations is that of the rules in xnn/optim. In half precision they are computed in float and rounded
// once, when they are stored; the `_wide` kernels keep states in float whatever the parameters are.
#include "tables.cuh"

constexpr int THREADS = 256;

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

// The larger number, NaN if there is one, as the standard's maximum has it; fmax would drop it.
__device__ __forceinline__ A maximum(A a, A b) { return a >= b || a != a ? a : b; }

template <class S>
__device__ __forceinline__ void sgd_part(
    const Table& table, A lr, A momentum, A gain, A weight_decay, bool first, bool nesterov, bool maximize) {
    const Part part = part_of_block(table);
    T* params = part_pointer<T, 0>(table, part);
    const T* grads = part_pointer<const T, 1>(table, part);
    S* buffers = part_pointer<S, 2>(table, part);
    visit_part(part.length, all_aligned(params, grads) && all_aligned(buffers), [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A p[N], g[N], b[N];
        load_as<N>(p, params + i);
        load_as<N>(g, grads + i);
        if (buffers != nullptr && !first) load_as<N>(b, buffers + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            if (maximize) g[j] = -g[j];
            if (weight_decay != A(0)) g[j] = weight_decay * p[j] + g[j];
            A step = g[j];
            if (buffers != nullptr) {
                b[j] = first ? g[j] : b[j] * momentum + gain * g[j];
                step = nesterov ? momentum * b[j] + g[j] : b[j];
            }
            p[j] -= lr * step;
        }
        store_as<N>(params + i, p);
        if (buffers != nullptr) store_as<N>(buffers + i, b);
    });
}

template <class S>
__device__ __forceinline__ void adam_part(
    const Table& table, A rate, A beta1, A rest1, A beta2, A rest2, A eps, A weight_decay, A decay, bool maximize) {
    const Part part = part_of_block(table);
    T* params = part_pointer<T, 0>(table, part);
    const T* grads = part_pointer<const T, 1>(table, part);
    S* means = part_pointer<S, 2>(table, part);
    S* squares = part_pointer<S, 3>(table, part);
    S* largest = part_pointer<S, 4>(table, part);
    const bool vectors = all_aligned(params, grads) && all_aligned(means, squares, largest);
    visit_part(part.length, vectors, [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A p[N], g[N], m[N], v[N], high[N];
        load_as<N>(p, params + i);
        load_as<N>(g, grads + i);
        load_as<N>(m, means + i);
        load_as<N>(v, squares + i);
        if (largest != nullptr) load_as<N>(high, largest + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            p[j] *= decay;
            if (maximize) g[j] = -g[j];
            if (weight_decay != A(0)) g[j] = weight_decay * p[j] + g[j];
            m[j] = m[j] * beta1 + rest1 * g[j];
            v[j] = v[j] * beta2 + g[j] * g[j] * rest2;
            if (largest != nullptr) high[j] = maximum(high[j], v[j]);
            const A scale = root(largest != nullptr ? high[j] : v[j]) + eps;
            p[j] -= m[j] / scale * rate;
        }
        store_as<N>(params + i, p);
        store_as<N>(means + i, m);
        store_as<N>(squares + i, v);
        if (largest != nullptr) store_as<N>(largest + i, high);
    });
}

template <class S>
__device__ __forceinline__ void lion_part(
    const Table& table, A lr, A beta1, A rest1, A beta2, A rest2, A decay, bool maximize) {
    const Part part = part_of_block(table);
    T* params = part_pointer<T, 0>(table, part);
    const T* grads = part_pointer<const T, 1>(table, part);
    S* means = part_pointer<S, 2>(table, part);
    visit_part(part.length, all_aligned(params, grads) && all_aligned(means), [&](int i, auto count) {
        constexpr int N = decltype(count)::value;
        A p[N], g[N], m[N];
        load_as<N>(p, params + i);
        load_as<N>(g, grads + i);
        load_as<N>(m, means + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            if (maximize) g[j] = -g[j];
            const A c = beta1 * m[j] + rest1 * g[j];
            const A sign = c > A(0) ? A(1) : c < A(0) ? A(-1) : c;  // 0 and NaN are their own
            p[j] = p[j] * decay - sign * lr;
            m[j] = m[j] * beta2 + rest2 * g[j];
        }
        store_as<N>(params + i, p);
        store_as<N>(means + i, m);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) sgd(
    const __grid_constant__ Table table,  // T* params, const T* grads, T* momentum_buffer or null
    A lr, A momentum, A gain, A weight_decay, bool first, bool nesterov, bool maximize) {
    sgd_part<T>(table, lr, momentum, gain, weight_decay, first, nesterov, maximize);
}

extern "C" __global__ void __launch_bounds__(THREADS) sgd_wide(
    const __grid_constant__ Table table,  // T* params, const T* grads, A* momentum_buffer or null
    A lr, A momentum, A gain, A weight_decay, bool first, bool nesterov, bool maximize) {
    sgd_part<A>(table, lr, momentum, gain, weight_decay, first, nesterov, maximize);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) adam(
    const __grid_constant__ Table table,  // T* params, const T* grads, T* exp_avg, T* exp_avg_sq, T* max_exp_avg_sq or null
    A rate, A beta1, A rest1, A beta2, A rest2, A eps, A weight_decay, A decay, bool maximize) {
    adam_part<T>(table, rate, beta1, rest1, beta2, rest2, eps, weight_decay, decay, maximize);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) adam_wide(
    const __grid_constant__ Table table,  // T* params, const T* grads, A* exp_avg, A* exp_avg_sq, A* max_exp_avg_sq or null
    A rate, A beta1, A rest1, A beta2, A rest2, A eps, A weight_decay, A decay, bool maximize) {
    adam_part<A>(table, rate, beta1, rest1, beta2, rest2, eps, weight_decay, decay, maximize);
}

extern "C" __global__ void __launch_bounds__(THREADS) lion(
    const __grid_constant__ Table table,  // T* params, const T* grads, T* exp_avg
    A lr, A beta1, A rest1, A beta2, A rest2, A decay, bool maximize) {
    lion_part<T>(table, lr, beta1, rest1, beta2, rest2, decay, maximize);
}

extern "C" __global__ void __launch_bounds__(THREADS) lion_wide(
    const __grid_constant__ Table table,  // T* params, const T* grads, A* exp_avg
    A lr, A beta1, A rest1, A beta2, A rest2, A decay, bool maximize) {
    lion_part<A>(table, lr, beta1, rest1, beta2, rest2, decay, maximize);
}
