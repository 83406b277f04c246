// The words that CUDA C++ adds to the language, and the built-in variables.
#pragma once

// __CUDACC_RTC__ and __CUDACC__ are not defined: this is neither NVRTC nor nvcc, and knows no PTX.
#define __CUDA_ARCH__ 900
#define XNN_EMULATOR 1

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __managed__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
#define __builtin_align__(n) __attribute__((aligned(n)))

// Blocks run one after another, so that one static variable serves them all. Python finds where these lie (the only
// variables local to functions that are static) and has them filled with poison before each block. A section of their
// own would be simpler, but GCC ignores the attribute in templates (bug 41091).
// `used` keeps the compiler from thinking that it knows the first value.
#define __shared__ static __attribute__((used))

#define threadIdx (::xnn_emulator::current->index)
#define blockIdx (::xnn_emulator::grid.block_index)
#define blockDim (::xnn_emulator::grid.block_size)
#define gridDim (::xnn_emulator::grid.size)
#define warpSize 32

#undef assert
#define assert(condition) \
    ((condition) ? (void)0 : ::xnn_emulator::fail("%s: assertion failed: %s", XNN_EMULATOR_HERE, #condition))
#define __trap() ::xnn_emulator::fail("%s: __trap() was called", XNN_EMULATOR_HERE)
#define __brkpt() ((void)0)
#define __builtin_assume(condition) ((void)0)

static inline long long clock64() { return (long long)(::xnn_emulator::clock_ticks()); }
static inline int clock() { return int(::xnn_emulator::clock_ticks()); }
static inline unsigned long long __globaltimer() { return ::xnn_emulator::clock_ticks(); }
static inline void __nanosleep(unsigned) { ::xnn_emulator::give_way(); }
