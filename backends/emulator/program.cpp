// The program of a sanitizer run: reads a launch from a file, runs it, and writes the arrays back.
//
// Each array lies in memory of its own, exactly as large as the array, so that AddressSanitizer sees the first byte
// before and behind it. request.py writes the file; all numbers are 64-bit little endian.
#include "xnn_emulator/launch.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(XNN_EMULATOR_ADDRESS)
#include <sanitizer/asan_interface.h>
#endif

extern "C" const char* xnn_emulator_describe();
extern "C" void (*xnn_emulator_kernel(int number))(void**);

namespace {

constexpr size_t ALIGNMENT = 256;  // of memory that a CUDA allocator returns

struct Reader {
    FILE* file;
    void read(void* to, size_t bytes) {
        if (bytes && fread(to, 1, bytes, file) != bytes) {
            fprintf(stderr, "xnn-emulator: the request is cut off\n");
            exit(4);
        }
    }
    uint64_t number() {
        uint64_t n;
        read(&n, sizeof n);
        return n;
    }
};

// `bytes` of memory whose address has the remainder `offset` modulo ALIGNMENT.
char* allocate(size_t bytes, size_t offset) {
    void* memory = nullptr;
    size_t size = offset + bytes;
    if (posix_memalign(&memory, ALIGNMENT, size ? size : 1)) exit(4);
#if defined(XNN_EMULATOR_ADDRESS)
    ASAN_POISON_MEMORY_REGION(memory, offset);
    if (!size) ASAN_POISON_MEMORY_REGION(memory, 1);
#endif
    return static_cast<char*>(memory) + offset;
}

}  // namespace

int main(int count, char** words) {
    if (count < 3) {
        fputs(xnn_emulator_describe(), stdout);
        return 0;
    }
    Reader in{fopen(words[1], "rb")};
    if (!in.file) return 4;
    int kernel = int(in.number());
    xnn_emulator::Launch launch = {};
    launch.kernel = xnn_emulator_kernel(kernel);
    launch.dynamic_shared_bytes = in.number();
    launch.seed = in.number();
    for (uint32_t& n : launch.grid) n = uint32_t(in.number());
    for (uint32_t& n : launch.block) n = uint32_t(in.number());
    launch.thread_order = uint32_t(in.number());
    launch.block_count = in.number();
    bool chosen = in.number() != 0;
    uint64_t buffer_count = in.number(), argument_count = in.number();

    // The program does not lie where the linker put it: `anchor` is the linker's address of a function known here.
    uint64_t anchor = in.number();
    launch.shared_count = in.number();
    auto shared = static_cast<xnn_emulator::Range*>(malloc(sizeof(xnn_emulator::Range) * launch.shared_count + 8));
    for (uint64_t i = 0; i < launch.shared_count; i++) {
        shared[i].begin = reinterpret_cast<char*>(in.number() - anchor + reinterpret_cast<uint64_t>(&xnn_emulator_describe));
        shared[i].size = in.number();
    }
    launch.shared = shared;

    uint64_t* blocks = static_cast<uint64_t*>(malloc(8 * launch.block_count + 8));
    if (chosen) in.read(blocks, 8 * launch.block_count);
    launch.blocks = chosen ? blocks : nullptr;

    char** buffers = static_cast<char**>(malloc(8 * buffer_count + 8));
    uint64_t* sizes = static_cast<uint64_t*>(malloc(8 * buffer_count + 8));
    for (uint64_t i = 0; i < buffer_count; i++) {
        sizes[i] = in.number();
        buffers[i] = allocate(sizes[i], in.number());
        in.read(buffers[i], sizes[i]);
    }
    void** arguments = static_cast<void**>(malloc(8 * argument_count + 8));
    for (uint64_t i = 0; i < argument_count; i++) {
        uint64_t kind = in.number(), a = in.number(), b = in.number();
        if (kind == 0) {  // at offset b in buffer a
            char** pointer = static_cast<char**>(malloc(sizeof(char*)));
            *pointer = buffers[a] + b;
            arguments[i] = pointer;
        } else if (kind == 1) {  // a null pointer
            arguments[i] = calloc(1, sizeof(char*));
        } else {  // a value of `a` bytes, in which `b` addresses stand if its kind is 3
            if (posix_memalign(&arguments[i], 64, a ? a : 1)) return 4;
            in.read(arguments[i], a);
            for (uint64_t j = 0; kind == 3 && j < b; j++) {
                uint64_t at = in.number(), buffer = in.number(), offset = in.number();
                char* address = buffers[buffer] + offset;
                memcpy(static_cast<char*>(arguments[i]) + at, &address, sizeof address);
            }
        }
    }
    fclose(in.file);
    launch.arguments = arguments;

    uint64_t fault = 0;
    if (const char* error = xnn_emulator_launch(&launch, &fault)) {
        fprintf(stderr, "%s", error);
        fflush(stderr);
        _Exit(3);
    }
    FILE* out = fopen(words[2], "wb");
    if (!out) return 4;
    for (uint64_t i = 0; i < buffer_count; i++)
        if (sizes[i] && fwrite(buffers[i], 1, sizes[i], out) != sizes[i]) return 4;
    if (fclose(out)) return 4;
    fflush(stdout);
    _Exit(0);
}
