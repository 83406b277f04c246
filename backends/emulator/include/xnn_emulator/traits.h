// The few type traits that the headers need.
#pragma once

namespace xnn_emulator {

template <class T> struct Identity { using type = T; };
template <class T> struct RemoveConst : Identity<T> {};
template <class T> struct RemoveConst<const T> : Identity<T> {};
template <class T> struct RemoveConst<volatile T> : Identity<T> {};
template <class T> struct RemoveConst<const volatile T> : Identity<T> {};

template <class T, class U> constexpr bool same = false;
template <class T> constexpr bool same<T, T> = true;

template <bool, class T = void> struct EnableIf {};
template <class T> struct EnableIf<true, T> : Identity<T> {};

// A parameter of this type takes no part in the deduction of T: atomicAdd(float*, 1) works as in CUDA.
template <class T> using NoDeduction = typename Identity<T>::type;

template <class T> constexpr bool is_signed_integer = same<T, int> || same<T, long> || same<T, long long>;

}  // namespace xnn_emulator
