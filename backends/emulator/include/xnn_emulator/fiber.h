// Fibers: each CUDA thread of a block has a stack of its own, and a switch from one to another is a few instructions.
//
// The sanitizers are told of every switch: AddressSanitizer must know which stack is in use, ThreadSanitizer which
// fiber runs. (Both keep a per-thread picture of the call stack that a bare exchange of the stack pointer would break.)
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(XNN_EMULATOR_ADDRESS)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(XNN_EMULATOR_THREAD)
#include <sanitizer/tsan_interface.h>
#endif

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace xnn_emulator {

struct Fiber {
#if defined(__x86_64__) || defined(__aarch64__)
    void* stack_pointer = nullptr;  // valid while the fiber does not run
#else
    ucontext_t context;
#endif
    char* stack = nullptr;
    size_t stack_size = 0;
    bool started = false;
    void* address_state = nullptr;  // AddressSanitizer's fake stack
    void* thread_state = nullptr;   // ThreadSanitizer's fiber
};

constexpr size_t STACK_SIZE = 256 * 1024;

#if defined(__x86_64__)
// Saves the registers that the System V ABI asks a function to preserve, exchanges stacks, and restores.
asm(R"(
    .pushsection .text
    .type xnn_emulator_switch, @function
    .hidden xnn_emulator_switch
    .globl xnn_emulator_switch
xnn_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size xnn_emulator_switch, .-xnn_emulator_switch
    .popsection
)");
constexpr int SAVED_WORDS = 8;  // six registers, the return address, and one word that keeps the alignment
constexpr int ENTRY_WORD = 6;
#elif defined(__aarch64__)
asm(R"(
    .pushsection .text
    .type xnn_emulator_switch, %function
    .hidden xnn_emulator_switch
    .globl xnn_emulator_switch
xnn_emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size xnn_emulator_switch, .-xnn_emulator_switch
    .popsection
)");
constexpr int SAVED_WORDS = 20;
constexpr int ENTRY_WORD = 11;  // x30, the link register
#endif

#if defined(__x86_64__) || defined(__aarch64__)
extern "C" void xnn_emulator_switch(void** save, void* to) __attribute__((visibility("hidden")));
#endif

// `count` stacks in one mapping, of which only the pages that are touched take memory. A page without access ends each.
inline void allocate_stacks(Fiber* fibers, int count) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    char* memory = static_cast<char*>(mmap(nullptr, STACK_SIZE * size_t(count), PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory == MAP_FAILED) abort();
    for (int i = 0; i < count; i++) {
        fibers[i].stack = memory + STACK_SIZE * size_t(i);
        // Stacks a power of two apart would fight for the same lines of the cache: shift each a little.
        fibers[i].stack_size = STACK_SIZE - size_t(i % 61) * 1088;
        mprotect(fibers[i].stack, page, PROT_NONE);
    }
}

// Make `fiber` begin at `entry` when it is first switched to.
inline void prepare(Fiber& fiber, void (*entry)()) {
#if defined(__x86_64__) || defined(__aarch64__)
    auto top = (reinterpret_cast<uintptr_t>(fiber.stack) + fiber.stack_size) & ~uintptr_t(15);
    auto words = reinterpret_cast<uintptr_t*>(top) - SAVED_WORDS;
    for (int i = 0; i < SAVED_WORDS; i++) words[i] = 0;
    words[ENTRY_WORD] = reinterpret_cast<uintptr_t>(entry);
    fiber.stack_pointer = words;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.stack_size;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#endif
    fiber.started = true;
#if defined(XNN_EMULATOR_THREAD)
    if (!fiber.thread_state) fiber.thread_state = __tsan_create_fiber(0);
#endif
}

// Called first thing on a fiber that was switched to for the first time.
inline void arrived_first_time([[maybe_unused]] Fiber& from) {
#if defined(XNN_EMULATOR_ADDRESS)
    const void* bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    from.stack = static_cast<char*>(const_cast<void*>(bottom));  // the scheduler's stack, which only this tells
    from.stack_size = size;
#endif
}

inline void switch_fiber(Fiber& from, Fiber& to) {
#if defined(XNN_EMULATOR_THREAD)
    __tsan_switch_to_fiber(to.thread_state, 1);  // 1: the switch orders nothing; barriers do
#endif
#if defined(XNN_EMULATOR_ADDRESS)
    __sanitizer_start_switch_fiber(&from.address_state, to.stack, to.stack_size);
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    xnn_emulator_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
#if defined(XNN_EMULATOR_ADDRESS)
    __sanitizer_finish_switch_fiber(from.address_state, nullptr, nullptr);
#endif
}

}  // namespace xnn_emulator
