// What one CUDA thread, its block and its grid look like to a kernel that runs in the emulator.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr operator uint3() const { return {x, y, z}; }
};

namespace xnn_emulator {

enum class State { ready, at_block_barrier, at_warp_operation, ended };

enum class WarpOperation {
    sync,
    shuffle,
    ballot,
    match_any,
    match_all,
    reduce_add,
    reduce_min,  // of values whose sign bit was flipped if they are signed, so that one unsigned order serves both
    reduce_max,
    reduce_and,
    reduce_or,
    reduce_xor,
};

// A CUDA thread. Kernels read `index` and `lane`; the rest belongs to the scheduler (engine.cpp).
struct Thread {
    uint3 index;
    int number;  // in its block: x + y * blockDim.x + z * blockDim.x * blockDim.y
    int lane;    // in its warp
    State state;
    const char* where;  // "kernel.cu:12": the barrier or warp operation at which it waits

    // The operand of the barrier or warp operation at which the thread waits, and what it gets from it.
    WarpOperation operation;
    unsigned mask;
    int source;
    uint64_t value;
    uint64_t result;

    unsigned spins;     // atomic operations since the thread last gave way to others
    bool fenced;        // __threadfence() was called since the last atomic operation
    void* warp_token;   // for ThreadSanitizer: what the lanes of a released warp operation acquire
    bool named;         // to ThreadSanitizer
    struct Fiber* fiber;
};

struct Grid {
    uint3 block_index;
    dim3 block_size;
    dim3 size;
};

extern Thread* current;
extern Grid grid;

struct BarrierResult {
    int count;
    bool all, any;
};

// All of these may switch to other threads of the block before they return.
BarrierResult block_barrier(bool predicate, const char* where);
uint64_t warp_operation(WarpOperation, unsigned mask, uint64_t value, int source, const char* where);
void give_way();
void fence();
void before_atomic(void* address);
void after_atomic(void* address);

[[noreturn]] void fail(const char* format, ...);  // ends the launch with an error that names block and thread
void* dynamic_shared(size_t alignment);
uint64_t clock_ticks();

}  // namespace xnn_emulator

#define XNN_EMULATOR_STRING_(x) #x
#define XNN_EMULATOR_STRING(x) XNN_EMULATOR_STRING_(x)
#define XNN_EMULATOR_HERE __FILE__ ":" XNN_EMULATOR_STRING(__LINE__)
