// The vector instructions of AVX2, FMA and F16C that the kernels use, under short names. The only
// file with raw intrinsics; include it only in files that are compiled for these instructions.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tandem::cpu::simd {

using F32x8 = __m256;     // 8 floats
using F32x4 = __m128;     // 4 floats
using Bytes = __m256i;    // 32 bytes, or 16 i16, or 8 i32
using Bytes16 = __m128i;  // 16 bytes

template <typename T>
inline T ReadAs(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

// Makes the compiler read `value` from memory again. A broadcast from memory costs a load, one from
// a register that the compiler would rather keep costs two shuffles.
template <typename T>
inline void KeepInMemory(T& value) {
  asm volatile("" : "+m"(value));
}

// Floats.
inline F32x8 Zero() { return _mm256_setzero_ps(); }
inline F32x8 Set(float value) { return _mm256_set1_ps(value); }
inline F32x8 Load(const float* p) { return _mm256_loadu_ps(p); }
inline void Store(float* p, F32x8 v) { _mm256_storeu_ps(p, v); }
inline F32x8 Add(F32x8 a, F32x8 b) { return _mm256_add_ps(a, b); }
inline F32x8 Sub(F32x8 a, F32x8 b) { return _mm256_sub_ps(a, b); }
inline F32x8 Mul(F32x8 a, F32x8 b) { return _mm256_mul_ps(a, b); }
inline F32x8 Div(F32x8 a, F32x8 b) { return _mm256_div_ps(a, b); }
inline F32x8 Max(F32x8 a, F32x8 b) { return _mm256_max_ps(a, b); }
inline F32x8 Min(F32x8 a, F32x8 b) { return _mm256_min_ps(a, b); }
inline F32x8 Fma(F32x8 a, F32x8 b, F32x8 c) { return _mm256_fmadd_ps(a, b, c); }  // a b + c
inline F32x8 Abs(F32x8 a) { return _mm256_andnot_ps(Set(-0.0f), a); }

// The first `n` < 8 floats, zeros after them; nothing beyond them is read.
inline Bytes TailMask(int64_t n) {
  const Bytes lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
inline F32x8 LoadTail(const float* p, int64_t n) { return _mm256_maskload_ps(p, TailMask(n)); }
inline void StoreTail(float* p, int64_t n, F32x8 v) { _mm256_maskstore_ps(p, TailMask(n), v); }

inline float Sum(F32x8 v) {
  const F32x4 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const F32x4 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
inline float Largest(F32x8 v) {
  const F32x4 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const F32x4 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}
// The sums of four vectors.
inline F32x4 Sum4(F32x8 a, F32x8 b, F32x8 c, F32x8 d) {
  const F32x8 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}
inline void Store4(float* p, F32x4 v) { _mm_storeu_ps(p, v); }

// Half precision.
inline F32x8 FromF16(Bytes16 v) { return _mm256_cvtph_ps(v); }
inline float FromF16(uint16_t v) { return _cvtsh_ss(v); }
inline float LoadF16(const void* p) { return FromF16(ReadAs<uint16_t>(p)); }
inline uint16_t ToF16(float v) { return _cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT); }
inline Bytes16 ToF16(F32x8 v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
inline F32x8 FromBf16(Bytes16 v) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

// Integers.
inline Bytes ZeroBytes() { return _mm256_setzero_si256(); }
inline Bytes LoadBytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void StoreBytes(void* p, Bytes v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline Bytes16 LoadBytes16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
inline void StoreBytes16(void* p, Bytes16 v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
inline Bytes Join(Bytes16 low, Bytes16 high) { return _mm256_set_m128i(high, low); }
inline Bytes SetI8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
inline Bytes SetI16(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
inline Bytes SetI32(int v) { return _mm256_set1_epi32(v); }
// 8 lanes of i16 `low`, then 8 of `high`.
inline Bytes HalvesI16(int low, int high) {
  return Join(_mm_set1_epi16(static_cast<short>(low)), _mm_set1_epi16(static_cast<short>(high)));
}
inline Bytes And(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
inline Bytes AndNot(Bytes a, Bytes b) { return _mm256_andnot_si256(a, b); }  // ~a & b
inline Bytes Or(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
inline Bytes EqualI8(Bytes a, Bytes b) { return _mm256_cmpeq_epi8(a, b); }
inline Bytes SubI8(Bytes a, Bytes b) { return _mm256_sub_epi8(a, b); }
inline Bytes AddI32(Bytes a, Bytes b) { return _mm256_add_epi32(a, b); }
// Bits move inside 16-bit lanes: mask what comes from the neighbour.
inline Bytes ShiftRight(Bytes v, int bits) { return _mm256_srli_epi16(v, bits); }
inline Bytes ShiftLeft(Bytes v, int bits) { return _mm256_slli_epi16(v, bits); }
// table[index] for 4-bit indices; the table is given twice, once for each half.
inline Bytes Lookup(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
inline Bytes Twice(Bytes16 v) { return _mm256_broadcastsi128_si256(v); }

// The 16 low nibbles of 16 bytes, then the 16 high ones.
inline Bytes Nibbles(const void* p) {
  const Bytes16 packed = LoadBytes16(p);
  return And(Join(packed, _mm_srli_epi16(packed, 4)), SetI8(15));
}
// Byte i is 0xff if bit i is set.
inline Bytes SpreadBits(uint32_t bits) {
  const Bytes which =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const Bytes one = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
  const Bytes copies = _mm256_shuffle_epi8(SetI32(static_cast<int>(bits)), which);
  return EqualI8(And(copies, one), one);
}

// i16 sums of neighbouring products of unsigned and signed bytes. No sum may leave i16.
inline Bytes DotPairs(Bytes unsigned_bytes, Bytes signed_bytes) {
  return _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
}
inline Bytes AbsI8(Bytes v) { return _mm256_abs_epi8(v); }
// x with the sign of w: |w| (x with the sign of w) = w x, for operands of DotPairs.
inline Bytes WithSign(Bytes x, Bytes w) { return _mm256_sign_epi8(x, w); }
// i32 sums of neighbouring products of i16.
inline Bytes DotQuads(Bytes a, Bytes b) { return _mm256_madd_epi16(a, b); }
inline F32x8 ToFloat(Bytes i32) { return _mm256_cvtepi32_ps(i32); }
inline Bytes RoundToI32(F32x8 v) { return _mm256_cvtps_epi32(v); }
inline int SumI32(Bytes v) {
  const Bytes16 half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const Bytes16 pair = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
  return _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32(pair, 1)));
}
// 32 bytes from four vectors of i32, saturated.
inline Bytes PackI8(Bytes a, Bytes b, Bytes c, Bytes d) {
  const Bytes mixed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
// 8 bytes as floats.
inline F32x8 FloatsOfI8(const void* p) {
  return ToFloat(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}
inline F32x8 FloatsOfU8(const void* p) {
  return ToFloat(_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}

// bf16, rounded to nearest, ties to even; NaN stays NaN.
inline Bytes16 ToBf16(F32x8 v) {
  const Bytes bits = _mm256_castps_si256(v);
  const Bytes odd = And(_mm256_srli_epi32(bits, 16), SetI32(1));
  const Bytes rounded = AddI32(bits, AddI32(odd, SetI32(0x7fff)));
  const Bytes nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const Bytes quiet = Or(bits, SetI32(0x400000));
  const Bytes high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  const Bytes packed = _mm256_packus_epi32(high, high);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0b1000));
}

// e^x, within about 1 ulp; 0 below the normal numbers, +inf above the largest. Argument reduction
// by log 2 in two parts (Cody and Waite), then the Taylor polynomial of degree 7 on |r| <= 0.347,
// whose remainder is below 1e-8.
inline F32x8 Exp(F32x8 x) {
  const F32x8 least = Set(-87.3f), most = Set(88.72284f);
  const F32x8 clamped = Min(Max(x, least), most);
  const F32x8 n = _mm256_round_ps(Mul(clamped, Set(1.44269504f)),
                                  _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const F32x8 r = Fma(n, Set(2.12194440e-4f), Fma(n, Set(-0.693359375f), clamped));
  F32x8 p = Set(1.0f / 5040);
  p = Fma(p, r, Set(1.0f / 720));
  p = Fma(p, r, Set(1.0f / 120));
  p = Fma(p, r, Set(1.0f / 24));
  p = Fma(p, r, Set(1.0f / 6));
  p = Fma(p, r, Set(0.5f));
  p = Fma(Mul(p, r), r, Add(r, Set(1.0f)));
  // 2^n in two factors, as n may be 128.
  const Bytes exponent = RoundToI32(n);
  const Bytes first = _mm256_srai_epi32(exponent, 1);
  auto power = [](Bytes e) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(AddI32(e, SetI32(127)), 23));
  };
  const F32x8 value = Mul(Mul(p, power(first)), power(_mm256_sub_epi32(exponent, first)));
  const F32x8 low = _mm256_cmp_ps(x, least, _CMP_LT_OQ);
  const F32x8 high = _mm256_cmp_ps(x, most, _CMP_GT_OQ);
  const F32x8 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const F32x8 finite = _mm256_blendv_ps(_mm256_andnot_ps(low, value), Set(__builtin_inff()), high);
  return _mm256_blendv_ps(finite, x, nan);
}
inline float Exp(float x) { return _mm256_cvtss_f32(Exp(Set(x))); }

inline F32x8 Sigmoid(F32x8 x) { return Div(Set(1.0f), Add(Set(1.0f), Exp(Sub(Zero(), x)))); }
inline F32x8 Silu(F32x8 x) { return Div(x, Add(Set(1.0f), Exp(Sub(Zero(), x)))); }
inline F32x8 Tanh(F32x8 x) {
  return Sub(Set(1.0f), Div(Set(2.0f), Add(Exp(Add(x, x)), Set(1.0f))));
}

}  // namespace tandem::cpu::simd
