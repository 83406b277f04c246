// How a kernel is called with arguments by address, and how its parameters are described to Python.
#pragma once

namespace xnn_emulator {

template <class T> constexpr const char* type_name = "struct";
#define XNN_EMULATOR_NAME(T) template <> inline constexpr const char* type_name<T> = #T;
XNN_EMULATOR_NAME(void) XNN_EMULATOR_NAME(bool) XNN_EMULATOR_NAME(char) XNN_EMULATOR_NAME(signed char)
XNN_EMULATOR_NAME(unsigned char) XNN_EMULATOR_NAME(short) XNN_EMULATOR_NAME(unsigned short)
XNN_EMULATOR_NAME(int) XNN_EMULATOR_NAME(unsigned) XNN_EMULATOR_NAME(long) XNN_EMULATOR_NAME(unsigned long)
XNN_EMULATOR_NAME(long long) XNN_EMULATOR_NAME(unsigned long long) XNN_EMULATOR_NAME(float) XNN_EMULATOR_NAME(double)
#define XNN_EMULATOR_NAMES(v) \
    XNN_EMULATOR_NAME(v##1) XNN_EMULATOR_NAME(v##2) XNN_EMULATOR_NAME(v##3) XNN_EMULATOR_NAME(v##4)
XNN_EMULATOR_NAMES(char) XNN_EMULATOR_NAMES(uchar) XNN_EMULATOR_NAMES(short) XNN_EMULATOR_NAMES(ushort)
XNN_EMULATOR_NAMES(int) XNN_EMULATOR_NAMES(uint) XNN_EMULATOR_NAMES(long) XNN_EMULATOR_NAMES(ulong)
XNN_EMULATOR_NAMES(longlong) XNN_EMULATOR_NAMES(ulonglong) XNN_EMULATOR_NAMES(float) XNN_EMULATOR_NAMES(double)
#undef XNN_EMULATOR_NAMES

// One line: pointer or value, const or not, size and alignment in bytes, name.
template <class T> struct Parameter {
    static int describe(char* to, size_t room) {
        return snprintf(to, room, "\tvalue const %zu %zu %s", sizeof(T), alignof(T), type_name<typename RemoveConst<T>::type>);
    }
};
template <class T> struct SizeOf {
    static constexpr size_t size = sizeof(T), alignment = alignof(T);
};
template <> struct SizeOf<void> {
    static constexpr size_t size = 1, alignment = 1;
};
template <class T> struct Parameter<T*> {
    using U = typename RemoveConst<T>::type;
    static int describe(char* to, size_t room) {
        return snprintf(to, room, "\tpointer %s %zu %zu %s", same<T, const U> ? "const" : "mutable", SizeOf<U>::size,
                        SizeOf<U>::alignment, type_name<U>);
    }
};

template <int...> struct Indices {};
template <int n, int... rest> struct CountTo : CountTo<n - 1, n - 1, rest...> {};
template <int... all> struct CountTo<0, all...> : Identity<Indices<all...>> {};

template <auto kernel> struct Kernel;
template <class... P, void (*kernel)(P...)> struct Kernel<kernel> {
    template <int... i> static void call([[maybe_unused]] void** arguments, Indices<i...>) {
        kernel(*static_cast<typename RemoveConst<P>::type*>(arguments[i])...);
    }
    static void call(void** arguments) { call(arguments, typename CountTo<int(sizeof...(P))>::type()); }
    static int describe([[maybe_unused]] char* to, [[maybe_unused]] size_t room) {
        int used = 0;
        ((used += Parameter<typename RemoveConst<P>::type>::describe(to + used, room - size_t(used))), ...);
        return used;
    }
};

struct Entry {
    void (*call)(void**);
    int (*describe)(char*, size_t);
};

template <class T> static inline T* dynamic_shared_array(size_t alignment) {
    return static_cast<T*>(dynamic_shared(alignment > alignof(T) ? alignment : alignof(T)));
}

}  // namespace xnn_emulator
