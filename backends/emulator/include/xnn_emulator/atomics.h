// Atomic operations, for the types that CUDA has them for and no others.
//
// They put nothing in order by themselves, as on a GPU. For ThreadSanitizer, an atomic operation of a thread that has
// called __threadfence() before publishes what the thread wrote, and every atomic operation sees what was published: so
// that the pattern "the last block to finish adds up" is in order with its fence, and a race without.
#pragma once

namespace xnn_emulator {

// Replace the value at `address` by change(value); returns the value before.
template <class T, class Change> static inline T atomic_change(T* address, Change change) {
    before_atomic(address);
    T before, after;
    __atomic_load(address, &before, __ATOMIC_RELAXED);
    do after = change(before);
    while (!__atomic_compare_exchange(address, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    after_atomic(address);
    return before;
}

// Integers wrap around.
template <class T> static inline T sum(T a, T b) { return a + b; }
static inline int sum(int a, int b) { return int(unsigned(a) + unsigned(b)); }

}  // namespace xnn_emulator

#define XNN_EMULATOR_ATOMIC_(name, T, expression)                                      \
    static inline T name(T* address, T value) {                                       \
        return ::xnn_emulator::atomic_change(address, [=](T old) -> T { return expression; }); \
    }
// An operation on the device, and its variants for a block and the whole system.
#define XNN_EMULATOR_ATOMIC(name, T, expression)     \
    XNN_EMULATOR_ATOMIC_(name, T, expression)        \
    XNN_EMULATOR_ATOMIC_(name##_block, T, expression) \
    XNN_EMULATOR_ATOMIC_(name##_system, T, expression)

#define XNN_EMULATOR_INTEGERS(T)                                        \
    XNN_EMULATOR_ATOMIC(atomicMax, T, old < value ? value : old)        \
    XNN_EMULATOR_ATOMIC(atomicMin, T, value < old ? value : old)        \
    XNN_EMULATOR_ATOMIC(atomicAnd, T, old & value)                      \
    XNN_EMULATOR_ATOMIC(atomicOr, T, old | value)                       \
    XNN_EMULATOR_ATOMIC(atomicXor, T, old ^ value)
XNN_EMULATOR_INTEGERS(int)
XNN_EMULATOR_INTEGERS(unsigned)
XNN_EMULATOR_INTEGERS(long long)
XNN_EMULATOR_INTEGERS(unsigned long long)
#undef XNN_EMULATOR_INTEGERS

#define XNN_EMULATOR_ADD(T) XNN_EMULATOR_ATOMIC(atomicAdd, T, ::xnn_emulator::sum(old, value))
XNN_EMULATOR_ADD(int)
XNN_EMULATOR_ADD(unsigned)
XNN_EMULATOR_ADD(unsigned long long)
XNN_EMULATOR_ADD(float)
XNN_EMULATOR_ADD(double)
XNN_EMULATOR_ATOMIC(atomicSub, int, ::xnn_emulator::sum(old, int(0u - unsigned(value))))
XNN_EMULATOR_ATOMIC(atomicSub, unsigned, old - value)
XNN_EMULATOR_ATOMIC(atomicInc, unsigned, old >= value ? 0u : old + 1u)
XNN_EMULATOR_ATOMIC(atomicDec, unsigned, old == 0u || old > value ? value : old - 1u)
XNN_EMULATOR_ATOMIC(atomicExch, int, ((void)old, value))
XNN_EMULATOR_ATOMIC(atomicExch, unsigned, ((void)old, value))
XNN_EMULATOR_ATOMIC(atomicExch, unsigned long long, ((void)old, value))
XNN_EMULATOR_ATOMIC(atomicExch, float, ((void)old, value))

// float2 and float4: each component is atomic, the whole is not.
static inline float2 atomicAdd(float2* p, float2 v) { return {atomicAdd(&p->x, v.x), atomicAdd(&p->y, v.y)}; }
static inline float4 atomicAdd(float4* p, float4 v) {
    return {atomicAdd(&p->x, v.x), atomicAdd(&p->y, v.y), atomicAdd(&p->z, v.z), atomicAdd(&p->w, v.w)};
}

#define XNN_EMULATOR_CAS_(name, T)                                                                         \
    static inline T name(T* address, T compare, T value) {                                                 \
        ::xnn_emulator::before_atomic(address);                                                            \
        __atomic_compare_exchange(address, &compare, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);   \
        ::xnn_emulator::after_atomic(address);                                                             \
        return compare;                                                                                    \
    }
#define XNN_EMULATOR_CAS(T) \
    XNN_EMULATOR_CAS_(atomicCAS, T) XNN_EMULATOR_CAS_(atomicCAS_block, T) XNN_EMULATOR_CAS_(atomicCAS_system, T)
XNN_EMULATOR_CAS(int)
XNN_EMULATOR_CAS(unsigned)
XNN_EMULATOR_CAS(unsigned short)
XNN_EMULATOR_CAS(unsigned long long)
#undef XNN_EMULATOR_CAS
#undef XNN_EMULATOR_CAS_
