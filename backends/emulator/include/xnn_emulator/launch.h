// How Python, or the program of a sanitizer run, asks the engine for a launch. compiler.py has the same layout.
#pragma once
#include <stdint.h>

namespace xnn_emulator {

enum Order : uint32_t { ascending, descending, random };

struct Range {
    char* begin;
    uint64_t size;
};

struct Launch {
    void (*kernel)(void**);  // calls the kernel with arguments by address, as cuLaunchKernel takes them
    void** arguments;
    const Range* shared;  // the static __shared__ variables of the module, by address
    uint64_t shared_count;
    const uint64_t* blocks;  // numbers of the blocks to run, in this order; null: all, ascending
    uint64_t block_count;
    uint64_t dynamic_shared_bytes;
    uint64_t seed;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t thread_order;
};

}  // namespace xnn_emulator

// Returns the error, or null. `fault` receives the address of an illegal access, if the error is one.
extern "C" const char* xnn_emulator_launch(const xnn_emulator::Launch*, uint64_t* fault);
