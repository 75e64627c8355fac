// Conversions and arithmetic on raw bits: f16 and bf16 numbers are u16, pairs of them u32 with the
// first number in the lower half.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

__device__ __forceinline__ u32 FloatBits(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float BitsFloat(u32 x) { return __uint_as_float(x); }

__device__ __forceinline__ u32 PackHalves(u16 low, u16 high) {
  return static_cast<u32>(low) | static_cast<u32>(high) << 16;
}

// f32 to f16, ties to even; magnitudes of 65520 and more become infinite.
__device__ __forceinline__ u16 F32ToF16(float x) {
  u16 half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return half;
}

__device__ __forceinline__ float F16ToF32(u16 half) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(half));
  return x;
}

__device__ __forceinline__ u32 F32ToF16x2(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ float LowF16ToF32(u32 pair) { return F16ToF32(static_cast<u16>(pair)); }
__device__ __forceinline__ float HighF16ToF32(u32 pair) {
  return F16ToF32(static_cast<u16>(pair >> 16));
}

__device__ __forceinline__ u16 F32ToBF16(float x) {
  u16 half;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(half) : "f"(x));
  return half;
}

__device__ __forceinline__ float BF16ToF32(u16 half) {
  return BitsFloat(static_cast<u32>(half) << 16);
}

__device__ __forceinline__ u32 F32ToBF16x2(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// Rounded towards zero.
__device__ __forceinline__ u32 F32ToBF16x2Truncated(float low, float high) {
  u32 pair;
  asm("cvt.rz.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ u32 MaxBF16x2(u32 a, u32 b) {
  u32 d;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

__device__ __forceinline__ float LowBF16ToF32(u32 pair) { return BitsFloat(pair << 16); }
__device__ __forceinline__ float HighBF16ToF32(u32 pair) { return BitsFloat(pair & 0xFFFF0000u); }

// The nearest tf32 number, as f32 bits.
__device__ __forceinline__ u32 F32ToTF32(float x) {
  u32 bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

__device__ __forceinline__ u32 SubF16x2(u32 a, u32 b) {
  u32 d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

__device__ __forceinline__ u32 MulF16x2(u32 a, u32 b) {
  u32 d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

// a b + c, rounded once.
__device__ __forceinline__ u32 FmaF16x2(u32 a, u32 b, u32 c) {
  u32 d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Byte i of the result is byte (selector >> 4i & 7) of b:a, a being bytes 0..3.
__device__ __forceinline__ u32 Permute(u32 a, u32 b, u32 selector) {
  u32 d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
  return d;
}

// `x`, in a way that hides from the compiler that it is a constant, and the same in all lanes: the
// mask of the lower lanes has no bit 31.
__device__ __forceinline__ u32 Opaque(u32 x) {
  u32 mask;
  asm volatile("mov.u32 %0, %%lanemask_lt;" : "=r"(mask));
  return x ^ (mask >> 31);
}

// (a & b) | c and friends: kTable is the function of (0xF0, 0xCC, 0xAA).
template <u8 kTable>
__device__ __forceinline__ u32 Lop3(u32 a, u32 b, u32 c) {
  u32 d;
  asm("lop3.b32 %0, %1, %2, %3, %4;" : "=r"(d) : "r"(a), "r"(b), "r"(c), "n"(kTable));
  return d;
}

// c + the sum of the products of four signed bytes.
__device__ __forceinline__ i32 Dp4a(u32 a, u32 b, i32 c) {
  i32 d;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// 2^x; results under 2^-126 are zero. 2^-inf = 0.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The larger one; NaN if either is.
__device__ __forceinline__ float MaxOrNaN(float a, float b) {
  float d;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
  return d;
}

// Four numbers of magnitude 127 or less, rounded to signed bytes, the first in the lowest: rounding
// to integers is what adding 1.5 * 2^23 does.
__device__ __forceinline__ u32 RoundToS8x4(float a, float b, float c, float d) {
  constexpr float kMagic = 12582912.0f;
  const u32 low = Permute(FloatBits(a + kMagic), FloatBits(b + kMagic), 0x0040);
  const u32 high = Permute(FloatBits(c + kMagic), FloatBits(d + kMagic), 0x0040);
  return Permute(low, high, 0x5410);
}

template <class T>
__device__ __forceinline__ T ShuffleXor(T x, int mask) {
  return __shfl_xor_sync(kAllLanes, x, mask);
}

template <class T>
__device__ __forceinline__ T Shuffle(T x, int lane) {
  return __shfl_sync(kAllLanes, x, lane);
}

// Over kLanes neighbouring lanes, the same result in each.
template <int kLanes = kWarp>
__device__ __forceinline__ float LanesMax(float x) {
#pragma unroll
  for (int i = kLanes / 2; i > 0; i /= 2) x = fmaxf(x, ShuffleXor(x, i));
  return x;
}

template <int kLanes = kWarp>
__device__ __forceinline__ float LanesSum(float x) {
#pragma unroll
  for (int i = kLanes / 2; i > 0; i /= 2) x += ShuffleXor(x, i);
  return x;
}

}  // namespace tandem::cuda
