// Loads and stores with a hint for the cache, which has no meaning here.
#pragma once

#define XNN_EMULATOR_LOAD(name) template <class T> static inline T name(const T* address) { return *address; }
XNN_EMULATOR_LOAD(__ldg)
XNN_EMULATOR_LOAD(__ldca)
XNN_EMULATOR_LOAD(__ldcg)
XNN_EMULATOR_LOAD(__ldcs)
XNN_EMULATOR_LOAD(__ldlu)
XNN_EMULATOR_LOAD(__ldcv)
#undef XNN_EMULATOR_LOAD

#define XNN_EMULATOR_STORE(name) \
    template <class T> static inline void name(T* address, ::xnn_emulator::NoDeduction<T> value) { *address = value; }
XNN_EMULATOR_STORE(__stcg)
XNN_EMULATOR_STORE(__stcs)
XNN_EMULATOR_STORE(__stwb)
XNN_EMULATOR_STORE(__stwt)
#undef XNN_EMULATOR_STORE
