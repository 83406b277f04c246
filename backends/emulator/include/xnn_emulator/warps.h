// Warp operations: shuffles, votes, matches, reductions.
//
// The lane that arrives last completes the operation for all lanes of the mask that still live (engine.cpp). A value
// that is read from a lane outside the mask, or from one that has ended, is undefined on a GPU; here it is all ones (a
// NaN, or -1).
#pragma once

namespace xnn_emulator {

enum class Shuffle { index, up, down, exclusive_or };

template <Shuffle kind, class T>
static inline T shuffle(const char* where, unsigned mask, T value, int offset, int width = 32) {
    if (width < 1 || width > 32 || (width & (width - 1)))
        fail("%s: a shuffle's width is a power of two from 1 to 32, got %d", where, width);
    const int lane = current->lane, begin = lane & ~(width - 1), end = begin + width;
    int source = kind == Shuffle::index ? begin + (offset & (width - 1))
                 : kind == Shuffle::up  ? lane - offset
                 : kind == Shuffle::down ? lane + offset
                                         : lane ^ offset;
    // Out of the segment: the own value. (xor may reach into earlier segments, as on a GPU.)
    if (kind == Shuffle::up ? source < begin : source >= end) source = lane;
    source &= 31;
    return from_bits<T>(warp_operation(WarpOperation::shuffle, mask, to_bits(value), source, where));
}

static inline unsigned vote(const char* where, unsigned mask, bool predicate) {
    return unsigned(warp_operation(WarpOperation::ballot, mask, predicate, 0, where));
}

template <class T> static inline unsigned match_all(const char* where, unsigned mask, T value, int* all) {
    const unsigned lanes = unsigned(warp_operation(WarpOperation::match_all, mask, to_bits(value), 0, where));
    *all = lanes != 0;
    return lanes;
}

template <class T> static inline unsigned match_any(const char* where, unsigned mask, T value) {
    return unsigned(warp_operation(WarpOperation::match_any, mask, to_bits(value), 0, where));
}

template <WarpOperation operation, class T>
static inline T reduce(const char* where, unsigned mask, T value) {
    static_assert(same<T, int> || same<T, unsigned>, "__reduce_*_sync takes int or unsigned");
    // min and max compare as unsigned: move the signed range there
    const bool ordered = operation == WarpOperation::reduce_min || operation == WarpOperation::reduce_max;
    const uint64_t flip = ordered && same<T, int> ? 0x80000000u : 0;
    const uint64_t bits = uint64_t(unsigned(value)) ^ flip;
    return T(unsigned(warp_operation(operation, mask, bits, 0, where) ^ flip));
}

static inline unsigned mask_or_all(unsigned mask = 0xffffffffu) { return mask; }

}  // namespace xnn_emulator

#define __syncwarp(...)                                                                                    \
    ((void)::xnn_emulator::warp_operation(::xnn_emulator::WarpOperation::sync,                             \
                                          ::xnn_emulator::mask_or_all(__VA_ARGS__), 0, 0, XNN_EMULATOR_HERE))
#define __shfl_sync(...) ::xnn_emulator::shuffle<::xnn_emulator::Shuffle::index>(XNN_EMULATOR_HERE, __VA_ARGS__)
#define __shfl_up_sync(...) ::xnn_emulator::shuffle<::xnn_emulator::Shuffle::up>(XNN_EMULATOR_HERE, __VA_ARGS__)
#define __shfl_down_sync(...) ::xnn_emulator::shuffle<::xnn_emulator::Shuffle::down>(XNN_EMULATOR_HERE, __VA_ARGS__)
#define __shfl_xor_sync(...) ::xnn_emulator::shuffle<::xnn_emulator::Shuffle::exclusive_or>(XNN_EMULATOR_HERE, __VA_ARGS__)
#define __ballot_sync(mask, p) ::xnn_emulator::vote(XNN_EMULATOR_HERE, mask, bool(p))
#define __any_sync(mask, p) int(::xnn_emulator::vote(XNN_EMULATOR_HERE, mask, bool(p)) != 0)
#define __all_sync(mask, p) int(::xnn_emulator::vote(XNN_EMULATOR_HERE, mask, !bool(p)) == 0)
#define __match_any_sync(mask, v) ::xnn_emulator::match_any(XNN_EMULATOR_HERE, mask, v)
#define __match_all_sync(mask, v, all) ::xnn_emulator::match_all(XNN_EMULATOR_HERE, mask, v, all)
#define __reduce_add_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_add>(XNN_EMULATOR_HERE, mask, v)
#define __reduce_min_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_min>(XNN_EMULATOR_HERE, mask, v)
#define __reduce_max_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_max>(XNN_EMULATOR_HERE, mask, v)
#define __reduce_and_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_and>(XNN_EMULATOR_HERE, mask, v)
#define __reduce_or_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_or>(XNN_EMULATOR_HERE, mask, v)
#define __reduce_xor_sync(mask, v) ::xnn_emulator::reduce<::xnn_emulator::WarpOperation::reduce_xor>(XNN_EMULATOR_HERE, mask, v)

// Lanes that happen to run together. A GPU may split a warp at any time, so the calling lane alone is a right answer, and
// the one that shows best whether a kernel relies on more.
static inline unsigned __activemask() { return 1u << ::xnn_emulator::current->lane; }
