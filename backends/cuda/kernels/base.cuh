// What every device source starts from. Also compiles as plain C++, for the parameter structs.
#pragma once

namespace tandem::cuda {

using i8 = signed char;
using u8 = unsigned char;
using i16 = short;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;

static_assert(sizeof(i32) == 4 && sizeof(i64) == 8 && sizeof(void*) == 8);

}  // namespace tandem::cuda

#ifdef __CUDACC__

namespace tandem::cuda {

inline constexpr int kWarp = 32;
inline constexpr u32 kAllLanes = 0xFFFFFFFFu;

template <class T>
__host__ __device__ constexpr T Min(T a, T b) {
  return a < b ? a : b;
}

template <class T>
__host__ __device__ constexpr T Max(T a, T b) {
  return a > b ? a : b;
}

template <class T>
__host__ __device__ constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

template <class T>
__host__ __device__ constexpr T RoundUp(T a, T b) {
  return CeilDiv(a, b) * b;
}

template <class A, class B>
inline constexpr bool kSame = false;
template <class A>
inline constexpr bool kSame<A, A> = true;

// The address of shared memory, as PTX takes it.
__device__ inline u32 SharedAddress(const void* p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}

}  // namespace tandem::cuda

#endif
