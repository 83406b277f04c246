// Block barriers and memory fences.
#pragma once

#define __syncthreads() ((void)::xnn_emulator::block_barrier(false, XNN_EMULATOR_HERE))
#define __syncthreads_count(p) (::xnn_emulator::block_barrier(bool(p), XNN_EMULATOR_HERE).count)
#define __syncthreads_and(p) int(::xnn_emulator::block_barrier(bool(p), XNN_EMULATOR_HERE).all)
#define __syncthreads_or(p) int(::xnn_emulator::block_barrier(bool(p), XNN_EMULATOR_HERE).any)

// A fence makes what the thread wrote before visible to whoever sees a later atomic operation of it: see atomics.h.
static inline void __threadfence() { ::xnn_emulator::fence(); }
static inline void __threadfence_block() { ::xnn_emulator::fence(); }
static inline void __threadfence_system() { ::xnn_emulator::fence(); }
