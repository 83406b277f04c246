// The engine: runs a grid block by block, and the threads of a block in turns.
//
// Each CUDA thread is a fiber. It runs until it waits at a barrier or a warp operation, or ends; then the scheduler
// picks the next one that can run. The thread that arrives last completes the operation for all who wait. If nobody
// can run and not all have ended, the kernel would hang on a GPU: that is an error which says who waits where.
//
// This file is compiled without sanitizers (only the kernel is looked at), but it tells them what it does:
// AddressSanitizer on which stack it is, ThreadSanitizer which memory accesses a barrier puts in order. A barrier is a
// release by all who arrive and an acquire by all who leave. Between blocks nothing is put in order, although they
// run one after another, so that ThreadSanitizer sees races between blocks too: consecutive blocks use different sets
// of fibers, and memory that belongs to a block is declared new at its beginning.
#include "xnn_emulator/fiber.h"
#include "xnn_emulator/launch.h"
#include "xnn_emulator/thread.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

namespace xnn_emulator {

Thread* current;
Grid grid;

namespace {

constexpr int MAX_THREADS = 1024;
constexpr int WARP = 32;
constexpr int MAX_WARPS = MAX_THREADS / WARP;
constexpr unsigned MAX_SPINS = 1000;
constexpr unsigned char POISON = 0xFF;  // a NaN in every floating-point type, -1 in integers

#if defined(XNN_EMULATOR_THREAD)
constexpr int FIBER_SETS = 2;  // ThreadSanitizer's time for a barrier grows with the number of fibers
#define ORDER(statement) statement
#else
constexpr int FIBER_SETS = 1;
#define ORDER(statement)
#endif
constexpr int MAX_FIBERS = FIBER_SETS * MAX_THREADS;

const Launch* launch;
Thread threads[MAX_THREADS];
Fiber fibers[MAX_FIBERS];
Fiber scheduler;
int thread_count;
int ended;             // threads of the block that have ended
int waiting;           // at the block barrier
int order[MAX_THREADS];
unsigned warp_waiting[MAX_WARPS];  // lanes at a warp operation
unsigned warp_ended[MAX_WARPS];    // lanes that have ended or that do not exist
char* dynamic_memory;
[[maybe_unused]] size_t dynamic_mapped;
uint64_t random_state;
unsigned idle_rounds;  // rounds in which threads did nothing but spin on atomics
bool progress;
char error[4096];
uint64_t fault_address;

// Tokens of ThreadSanitizer's release and acquire: their addresses count, their values do not. Those of barriers are
// per set of fibers, so that they order nothing between blocks.
struct Tokens {
    char barrier[2];
    char lane[MAX_THREADS];
    char warp[MAX_WARPS][8];
};
[[maybe_unused]] Tokens tokens[FIBER_SETS];
[[maybe_unused]] char start_token, end_token;
[[maybe_unused]] int fiber_set;
unsigned barrier_generation;
unsigned warp_generation[MAX_WARPS];

unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return unsigned((random_state >> 33) % n);
}

void arrange_threads() {
    for (int i = 0; i < thread_count; i++)
        order[i] = launch->thread_order == descending ? thread_count - 1 - i : i;
    if (launch->thread_order != random) return;
    for (int i = thread_count - 1; i > 0; i--) {
        int j = int(random_below(unsigned(i + 1)));
        int swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}

void give_control_back() { switch_fiber(*current->fiber, scheduler); }

// --- reports ---------------------------------------------------------------------------------------------------------

size_t append(const char* format, ...) __attribute__((format(printf, 1, 2)));
size_t append(const char* format, ...) {
    size_t used = strlen(error);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error + used, sizeof error - used, format, arguments);
    va_end(arguments);
    return strlen(error);
}

void append_block() {
    append("block (%u, %u, %u)", grid.block_index.x, grid.block_index.y, grid.block_index.z);
}

void append_thread(const Thread& t) { append("thread (%u, %u, %u)", t.index.x, t.index.y, t.index.z); }

bool same_place(const Thread& a, const Thread& b) {
    return a.state == b.state && (a.state == State::ended || (!strcmp(a.where, b.where) && a.mask == b.mask));
}

// "threads 0-31 wait at __syncthreads (k.cu:7); threads 32-63 have ended": every thread, those alike together.
void append_who_waits_where() {
    bool told[MAX_THREADS] = {};
    for (int i = 0, groups = 0; i < thread_count && groups < 8; i++) {
        if (told[i]) continue;
        int members = 0;
        for (int j = i; j < thread_count; j++) members += same_place(threads[i], threads[j]);
        append("%s%s ", groups++ ? "; " : "", members > 1 ? "threads" : "thread");
        for (int j = i; j < thread_count; j++) {
            if (told[j] || !same_place(threads[i], threads[j])) continue;
            int end = j;
            while (end + 1 < thread_count && same_place(threads[i], threads[end + 1])) end++;
            for (int k = j; k <= end; k++) told[k] = true;
            append(j == i ? "%d" : ", %d", j);
            if (end > j) append("-%d", end);
        }
        const Thread& t = threads[i];
        const char* wait = members > 1 ? "wait" : "waits";
        if (t.state == State::ended) append(members > 1 ? " have ended" : " has ended");
        if (t.state == State::at_block_barrier) append(" %s at a block barrier (%s)", wait, t.where);
        if (t.state == State::at_warp_operation)
            append(" %s at a warp operation with mask 0x%08x (%s)", wait, t.mask, t.where);
        if (t.state == State::ready) append(members > 1 ? " are on their way" : " is on its way");
    }
}

// --- barriers and warp operations --------------------------------------------------------------------------------------

void complete_block_barrier() {
    if (!waiting || waiting + ended < thread_count) return;
    BarrierResult all{0, true, false};
    const Thread* first = nullptr;
    for (int i = 0; i < thread_count; i++) {
        const Thread& t = threads[i];
        if (t.state != State::at_block_barrier) continue;
        if (!first) first = &t;
        if (first->where != t.where && strcmp(first->where, t.where)) {
            append_block();
            append(": the threads of the block wait at different barriers: ");
            append_who_waits_where();
            return;
        }
        all.count += t.value != 0;
        all.all &= t.value != 0;
        all.any |= t.value != 0;
    }
    uint64_t result = uint64_t(all.count) | uint64_t(all.all) << 32 | uint64_t(all.any) << 33;
    for (int i = 0; i < thread_count; i++)
        if (threads[i].state == State::at_block_barrier) {
            threads[i].state = State::ready;
            threads[i].result = result;
        }
    waiting = 0;
    barrier_generation++;
}

uint64_t combine(WarpOperation operation, uint64_t a, uint64_t b) {
    switch (operation) {
        case WarpOperation::reduce_add: return a + b;
        case WarpOperation::reduce_min: return a < b ? a : b;
        case WarpOperation::reduce_max: return a < b ? b : a;
        case WarpOperation::reduce_and: return a & b;
        case WarpOperation::reduce_or: return a | b;
        default: return a ^ b;
    }
}

// What each of `lanes` gets. A GPU leaves a value undefined that comes from a lane which does not take part.
void give_results(Thread* warp, unsigned lanes, WarpOperation operation) {
    unsigned ballot = 0;
    bool all_equal = true;
    uint64_t total = 0;
    int first = __builtin_ctz(lanes);
    for (int l = 0; l < WARP; l++) {
        if (!(lanes >> l & 1)) continue;
        if (warp[l].value) ballot |= 1u << l;
        all_equal &= warp[l].value == warp[first].value;
        total = l == first ? warp[l].value : combine(operation, total, warp[l].value);
    }
    for (int l = 0; l < WARP; l++) {
        if (!(lanes >> l & 1)) continue;
        Thread& t = warp[l];
        switch (operation) {
            case WarpOperation::sync: break;
            case WarpOperation::shuffle:
                t.result = lanes >> t.source & 1 ? warp[t.source].value : ~uint64_t(0);
                break;
            case WarpOperation::ballot: t.result = ballot; break;
            case WarpOperation::match_all: t.result = all_equal ? lanes : 0; break;
            case WarpOperation::match_any:
                t.result = 0;
                for (int k = 0; k < WARP; k++)
                    if (lanes >> k & 1 && warp[k].value == t.value) t.result |= 1u << k;
                break;
            default: t.result = total;
        }
    }
}

// Let the lanes of `mask` go if all of them that live have arrived, at the same operation.
void complete_warp_operation(int w, unsigned mask) {
    unsigned lanes = mask & ~warp_ended[w];
    if (!lanes || (warp_waiting[w] & lanes) != lanes) return;
    Thread* warp = threads + WARP * w;
    const Thread& first = warp[__builtin_ctz(lanes)];
    for (int l = 0; l < WARP; l++)
        if (lanes >> l & 1 && (warp[l].mask != mask || warp[l].operation != first.operation ||
                               (warp[l].where != first.where && strcmp(warp[l].where, first.where))))
            return;  // if this never changes, nobody can run at last, and that is reported
    give_results(warp, lanes, first.operation);
    // Only __syncwarp puts memory accesses in order; shuffles and votes do not.
    [[maybe_unused]] char* token = &tokens[fiber_set].warp[w][warp_generation[w]++ & 7];
    [[maybe_unused]] bool orders = first.operation == WarpOperation::sync;
    ORDER(if (orders) for (int l = 0; l < WARP; l++) if (lanes >> l & 1)
              __tsan_acquire(&tokens[fiber_set].lane[WARP * w + l]);)
    ORDER(if (orders) __tsan_release(token);)
    for (int l = 0; l < WARP; l++)
        if (lanes >> l & 1) {
            warp[l].state = State::ready;
            warp[l].warp_token = orders ? token : nullptr;
        }
    warp_waiting[w] &= ~lanes;
}

// A thread that ends may be the last one that others waited for.
void end_thread(Thread& t) {
    t.state = State::ended;
    ended++;
    progress = true;
    int w = t.number / WARP;
    warp_ended[w] |= 1u << t.lane;
    for (unsigned rest = warp_waiting[w]; rest;) {
        const Thread& other = threads[WARP * w + __builtin_ctz(rest)];
        rest &= ~other.mask & (rest - 1);
        complete_warp_operation(w, other.mask);
    }
    complete_block_barrier();
}

// --- the scheduler -----------------------------------------------------------------------------------------------------

void fiber_main() {
    arrived_first_time(scheduler);
    for (;;) {
        ORDER(__tsan_acquire(&start_token);)
        launch->kernel(launch->arguments);
        ORDER(__tsan_release(&end_token);)
        end_thread(*current);
        give_control_back();
    }
}

void run_thread(Thread& t) {
    current = &t;
    Fiber& fiber = *t.fiber;
    if (!fiber.started) prepare(fiber, fiber_main);
#if defined(XNN_EMULATOR_THREAD)
    if (!t.named) {  // for the report of a race
        char name[64];
        snprintf(name, sizeof name, "block (%u, %u, %u) thread (%u, %u, %u)", grid.block_index.x,
                 grid.block_index.y, grid.block_index.z, t.index.x, t.index.y, t.index.z);
        __tsan_set_fiber_name(fiber.thread_state, name);
        t.named = true;
    }
#endif
    switch_fiber(scheduler, fiber);
}

// memset and memcpy, unseen by the sanitizers, who put their own in place of C's.
void fill_unseen(char* to, unsigned char value, size_t bytes) {
#if defined(XNN_EMULATOR_ADDRESS) || defined(XNN_EMULATOR_THREAD)
    for (volatile char* p = to; p < to + bytes; p++) *p = char(value);
#else
    memset(to, value, bytes);
#endif
}

[[maybe_unused]] void copy_unseen(char* to, const char* from, size_t bytes) {
    volatile char* p = to;
    for (size_t i = 0; i < bytes; i++) p[i] = from[i];
}

// Let ThreadSanitizer forget who used this memory: it does when memory is mapped anew.
void forget([[maybe_unused]] char* begin, [[maybe_unused]] char* end) {
#if defined(XNN_EMULATOR_THREAD)
    if (begin == end) return;
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    char* first = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(begin) & ~(page - 1));
    char* last = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(end) + page - 1) & ~(page - 1));
    const size_t size = size_t(last - first);
    static char* kept;  // what else is on these pages
    static size_t kept_size;
    if (kept_size < size) {
        free(kept);
        kept = static_cast<char*>(malloc(size));
        kept_size = size;
    }
    char* const copy = kept;  // `kept` itself may lie there
    copy_unseen(copy, first, size);
    mmap(first, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    copy_unseen(first, copy, size);
#endif
}

void forget_static_shared() {
    if (!launch->shared_count) return;
    const Range& last = launch->shared[launch->shared_count - 1];
    forget(launch->shared[0].begin, last.begin + last.size);
}

void begin_block(uint64_t number, uint64_t position) {
    grid.block_index = {unsigned(number % grid.size.x), unsigned(number / grid.size.x % grid.size.y),
                        unsigned(number / grid.size.x / grid.size.y)};
    fiber_set = int(position % FIBER_SETS);
    forget_static_shared();
    for (uint64_t i = 0; i < launch->shared_count; i++)
        fill_unseen(launch->shared[i].begin, POISON, launch->shared[i].size);
    forget(dynamic_memory, dynamic_memory + launch->dynamic_shared_bytes);
    fill_unseen(dynamic_memory, POISON, launch->dynamic_shared_bytes);
    ORDER(__tsan_release(&start_token);)
    ended = waiting = 0;
    idle_rounds = 0;
    for (int w = 0; w < MAX_WARPS; w++) {
        int lanes = thread_count - WARP * w;
        warp_waiting[w] = 0;
        warp_ended[w] = lanes >= WARP ? 0 : lanes <= 0 ? ~0u : ~0u << lanes;
    }
    for (int i = 0; i < thread_count; i++) {
        Thread& t = threads[i];
        unsigned x = grid.block_size.x, y = grid.block_size.y, n = unsigned(i);
        t.index = {n % x, n / x % y, n / (x * y)};
        t.number = i;
        t.lane = i % WARP;
        t.state = State::ready;
        t.where = "";
        t.mask = 0;
        t.spins = 0;
        t.fenced = false;
        t.warp_token = nullptr;
        t.named = false;
        t.fiber = &fibers[fiber_set * thread_count + i];
    }
    arrange_threads();
}

void run_block(uint64_t number, uint64_t position) {
    begin_block(number, position);
    while (ended < thread_count && !error[0]) {
        bool ran = false;
        progress = false;
        for (int i = 0; i < thread_count && !error[0]; i++) {
            Thread& t = threads[order[i]];
            if (t.state != State::ready) continue;
            run_thread(t);
            ran = true;
        }
        if (error[0]) break;
        if (!ran && ended < thread_count) {
            append_block();
            append(": deadlock: ");
            append_who_waits_where();
        }
        idle_rounds = progress ? 0 : idle_rounds + 1;
        if (idle_rounds > 50000) {
            append_block();
            append(": threads spin on atomic operations for ever; blocks run one after another here, so that "
                   "one block cannot wait for a later one");
        }
        if (launch->thread_order == random) arrange_threads();
    }
}

void allocate_dynamic_memory() {
    size_t bytes = launch->dynamic_shared_bytes;
    dynamic_memory = nullptr;
    if (!bytes) return;
#if defined(XNN_EMULATOR_THREAD)
    dynamic_mapped = bytes;
    dynamic_memory = static_cast<char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
#else
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, bytes)) abort();  // exactly as large as asked, for AddressSanitizer
    dynamic_memory = static_cast<char*>(memory);
#endif
}

void free_dynamic_memory() {
#if defined(XNN_EMULATOR_THREAD)
    if (dynamic_memory) munmap(dynamic_memory, dynamic_mapped);
#else
    free(dynamic_memory);
#endif
    dynamic_memory = nullptr;
}

// --- illegal accesses ----------------------------------------------------------------------------------------------------

#if defined(XNN_EMULATOR_ADDRESS) || defined(XNN_EMULATOR_THREAD)
// The sanitizers report these, with the line.
extern "C" void __sanitizer_set_death_callback(void (*)(void));

void say_who_died() {
    if (current)
        fprintf(stderr, "xnn-emulator: block (%u, %u, %u) thread (%u, %u, %u)\n", grid.block_index.x,
                grid.block_index.y, grid.block_index.z, current->index.x, current->index.y, current->index.z);
}

struct Guard {
    Guard() { __sanitizer_set_death_callback(say_who_died); }
};
#define GUARDED(guard) true
#else
constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
sigjmp_buf after_signal;

void on_signal(int signal, siginfo_t* info, void*) {
    append_block();
    append(" ");
    append_thread(*current);
    if (signal == SIGFPE) {
        append(": integer division by zero");
    } else if (signal == SIGILL) {
        append(": illegal instruction");
    } else {
        auto address = reinterpret_cast<uintptr_t>(info->si_addr);
        auto stack = reinterpret_cast<uintptr_t>(current->fiber->stack);
        if (address - stack < STACK_SIZE) {
            append(": the thread's stack of %zu KiB is full", STACK_SIZE / 1024);
        } else {
            fault_address = address;
            append(": illegal access to memory at address %p", info->si_addr);
        }
    }
    siglongjmp(after_signal, 1);
}

// Takes over the signals of illegal accesses for the time of a launch, on a stack of their own.
struct Guard {
    struct sigaction before[4];
    stack_t stack_before;
    Guard() {
        static char memory[64 * 1024];
        stack_t stack = {};
        stack.ss_sp = memory;
        stack.ss_size = sizeof memory;
        sigaltstack(&stack, &stack_before);
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        for (int i = 0; i < 4; i++) sigaction(SIGNALS[i], &action, &before[i]);
    }
    ~Guard() {
        for (int i = 0; i < 4; i++) sigaction(SIGNALS[i], &before[i], nullptr);
        sigaltstack(&stack_before, nullptr);
    }
};
#define GUARDED(guard) !sigsetjmp(after_signal, 1)
#endif

}  // namespace

// --- what kernels call -----------------------------------------------------------------------------------------------------

BarrierResult block_barrier(bool predicate, const char* where) {
    Thread& t = *current;
    t.state = State::at_block_barrier;
    t.where = where;
    t.value = predicate;
    t.mask = 0;
    progress = true;
    waiting++;
    [[maybe_unused]] char* token = &tokens[fiber_set].barrier[barrier_generation & 1];
    ORDER(__tsan_release(token);)
    complete_block_barrier();
    if (t.state != State::ready || error[0]) give_control_back();
    ORDER(__tsan_acquire(token);)
    t.spins = 0;
    return {int(t.result & 0xffff), (t.result >> 32 & 1) != 0, (t.result >> 33 & 1) != 0};
}

uint64_t warp_operation(WarpOperation operation, unsigned mask, uint64_t value, int source, const char* where) {
    Thread& t = *current;
    if (!(mask >> t.lane & 1))
        fail("%s: lane %d calls a warp operation with mask 0x%08x, in which it is not", where, t.lane, mask);
    t.state = State::at_warp_operation;
    t.where = where;
    t.operation = operation;
    t.mask = mask;
    t.value = value;
    t.source = source;
    progress = true;
    int w = t.number / WARP;
    warp_waiting[w] |= 1u << t.lane;
    ORDER(if (operation == WarpOperation::sync) __tsan_release(&tokens[fiber_set].lane[t.number]);)
    complete_warp_operation(w, mask);
    if (t.state != State::ready) give_control_back();
    ORDER(if (t.warp_token) __tsan_acquire(t.warp_token);)
    t.spins = 0;
    return t.result;
}

void give_way() {
    current->spins = 0;
    give_control_back();
}

void fence() { current->fenced = true; }

void before_atomic([[maybe_unused]] void* address) {
    if (++current->spins > MAX_SPINS) give_way();  // perhaps a spin lock: let its owner run
    ORDER(if (current->fenced) __tsan_release(address);)
}

void after_atomic([[maybe_unused]] void* address) { ORDER(__tsan_acquire(address);) }

void fail(const char* format, ...) {
    append_block();
    append(" ");
    append_thread(*current);
    append(": ");
    size_t used = strlen(error);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error + used, sizeof error - used, format, arguments);
    va_end(arguments);
    for (;;) give_control_back();
}

void* dynamic_shared(size_t alignment) {
    static char none[128] __attribute__((aligned(128)));
    if (alignment > 128) fail("extern __shared__ is aligned to 128 bytes, asked for %zu", alignment);
    return dynamic_memory ? dynamic_memory : none + 128;  // one past the end: nothing may be read there
}

uint64_t clock_ticks() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}

}  // namespace xnn_emulator

extern "C" __attribute__((visibility("default"))) const char* xnn_emulator_launch(
    const xnn_emulator::Launch* request, uint64_t* fault) {
    using namespace xnn_emulator;
    launch = request;
    error[0] = 0;
    fault_address = 0;
    random_state = request->seed * 2862933555777941757u + 3037000493u;
    grid.size = dim3(request->grid[0], request->grid[1], request->grid[2]);
    grid.block_size = dim3(request->block[0], request->block[1], request->block[2]);
    thread_count = int(request->block[0] * request->block[1] * request->block[2]);
    if (!fibers[0].stack) allocate_stacks(fibers, MAX_FIBERS);
    ORDER(scheduler.thread_state = __tsan_get_current_fiber();)
    allocate_dynamic_memory();
    {
        Guard guard;
        if (GUARDED(guard))
            for (uint64_t i = 0; i < request->block_count && !error[0]; i++)
                run_block(request->blocks ? request->blocks[i] : i, i);
    }
    ORDER(__tsan_acquire(&end_token);)
    if (error[0])  // threads were left in the middle of the kernel: their stacks begin anew
        for (Fiber& fiber : fibers) fiber.started = false;
    current = nullptr;
    free_dynamic_memory();
    fflush(stdout);  // printf of the kernel
    *fault = fault_address;
    return error[0] ? error : nullptr;
}
