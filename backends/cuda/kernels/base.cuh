// Names that every device source uses. Also compiles as plain C++: the parameter structs include
// it.
#pragma once

namespace tandem::cuda {

using i8 = signed char;
using i16 = short;
using i32 = int;
using i64 = long long;
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

static_assert(sizeof(i32) == 4 && sizeof(i64) == 8 && sizeof(void*) == 8);

// The 16-bit types, as bits; arithmetic is in PTX wrappers.
struct f16 {
  u16 bits;
};
struct bf16 {
  u16 bits;
};

// The bytes of a CUtensorMap.
struct alignas(64) TensorMap {
  u64 words[16];
};

template <class A, class B>
inline constexpr bool kSame = false;
template <class A>
inline constexpr bool kSame<A, A> = true;

#ifdef __CUDACC__
#define TANDEM_HOST_DEVICE __host__ __device__
#else
#define TANDEM_HOST_DEVICE
#endif

template <class T>
TANDEM_HOST_DEVICE constexpr T Min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
TANDEM_HOST_DEVICE constexpr T Max(T a, T b) {
  return a < b ? b : a;
}
template <class T>
TANDEM_HOST_DEVICE constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}
template <class T>
TANDEM_HOST_DEVICE constexpr T RoundUp(T a, T b) {
  return CeilDiv(a, b) * b;
}

#ifdef __CUDACC__

inline constexpr int kWarp = 32;
inline constexpr u32 kAllLanes = 0xffffffffu;

// The 32-bit address of shared memory that PTX takes.
__device__ __forceinline__ u32 SharedAddress(const void* p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}

// The warp's number, known by the compiler to be the same for all its lanes.
__device__ __forceinline__ int WarpIndex() {
  return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / kWarp), 0);
}
__device__ __forceinline__ int LaneIndex() { return static_cast<int>(threadIdx.x % kWarp); }

#endif  // __CUDACC__

}  // namespace tandem::cuda
