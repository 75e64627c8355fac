// Vectors with a lane of 32 bits for each of kLanes rows, for the instruction set that the
// including file is compiled for. Include it only in files that CMake compiles once for each
// instruction set; all names are in a namespace of that set, so that the linker cannot mix them up.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tandem::cpu::TANDEM_CPU_ISA {

struct Rows {
  const std::byte* first;
  int64_t stride;
  const std::byte* at(int64_t row) const { return first + row * stride; }
  Rows operator+(int64_t bytes) const { return {first + bytes, stride}; }
};

template <typename T>
inline T ReadAs(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

inline __m128i Load16Bytes(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

#ifdef __AVX512F__

inline constexpr int kLanes = 16;
// Signed quants are kept with 128 added: the instruction for dot products takes unsigned bytes.
inline constexpr bool kBiased = true;
using Floats = __m512;
using Ints = __m512i;

inline Floats ZeroFloats() { return _mm512_setzero_ps(); }
inline Floats Set(float v) { return _mm512_set1_ps(v); }
inline Floats Load(const float* p) { return _mm512_loadu_ps(p); }
inline void Store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
inline Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats Mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats Fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
// The first `n` < kLanes floats, zeros after them; nothing beyond them is read.
inline Floats LoadTail(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
inline Floats LoadF16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
inline Floats LoadBf16(const void* p) {
  const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline Floats Sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats Div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
// The second operand if one is NaN.
inline Floats Max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats Round(Floats v) {
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Ints ToInts(Floats v) { return _mm512_cvtps_epi32(v); }
// v, or 0 where x < limit.
inline Floats ZeroWhereLess(Floats v, Floats x, Floats limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}
inline float Sum(Floats v) { return _mm512_reduce_add_ps(v); }
inline float Largest(Floats v) { return _mm512_reduce_max_ps(v); }
inline __m256 HalfSums(Floats v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}
inline Floats ToFloats(Ints v) { return _mm512_cvtepi32_ps(v); }
inline Floats FromBits(Ints v) { return _mm512_castsi512_ps(v); }

inline Ints ZeroInts() { return _mm512_setzero_si512(); }
inline Ints LoadInts(const void* p) { return _mm512_loadu_si512(p); }
inline Ints LoadBytes(const void* p) { return _mm512_cvtepu8_epi32(Load16Bytes(p)); }  // as i32
inline Ints SetI8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
inline Ints SetI32(int v) { return _mm512_set1_epi32(v); }
inline Ints And(Ints a, Ints b) { return _mm512_and_si512(a, b); }
inline Ints AndNot(Ints a, Ints b) { return _mm512_andnot_si512(a, b); }  // ~a & b
inline Ints Or(Ints a, Ints b) { return _mm512_or_si512(a, b); }
inline Ints Xor(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
inline Ints SubI8(Ints a, Ints b) { return _mm512_sub_epi8(a, b); }
inline Ints AddI32(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints SubI32(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
inline Ints MulI32(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
inline Ints MaxI32(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
inline Ints ShiftRight(Ints v, int bits) { return _mm512_srli_epi32(v, bits); }
inline Ints ShiftRightSigned(Ints v, int bits) { return _mm512_srai_epi32(v, bits); }
inline Ints ShiftLeft(Ints v, int bits) { return _mm512_slli_epi32(v, bits); }
inline Ints Repeat(__m128i v) { return _mm512_broadcast_i32x4(v); }
// table[index] for indices below 16 in each byte; the table is Repeat(16 bytes).
inline Ints Lookup(Ints table, Ints index) { return _mm512_shuffle_epi8(table, index); }

// Rows r, r + 4, r + 8 ... side by side, 16 bytes of each.
inline Ints EveryFourth(Rows rows, int r) {
  Ints v = _mm512_castsi128_si512(Load16Bytes(rows.at(r)));
  v = _mm512_mask_broadcast_i32x4(v, 0x00f0, Load16Bytes(rows.at(r + 4)));
  v = _mm512_mask_broadcast_i32x4(v, 0x0f00, Load16Bytes(rows.at(r + 8)));
  return _mm512_mask_broadcast_i32x4(v, 0xf000, Load16Bytes(rows.at(r + 12)));
}
// `value` in each byte of v that has one of the bits of that byte of `bits`, which are one bit
// each.
inline Ints BytesWithBits(Ints v, Ints bits, Ints value) {
  return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(v, bits), value);
}
inline Ints UnpackLow32(Ints a, Ints b) { return _mm512_unpacklo_epi32(a, b); }
inline Ints UnpackHigh32(Ints a, Ints b) { return _mm512_unpackhi_epi32(a, b); }
inline Ints UnpackLow64(Ints a, Ints b) { return _mm512_unpacklo_epi64(a, b); }
inline Ints UnpackHigh64(Ints a, Ints b) { return _mm512_unpackhi_epi64(a, b); }

// The low halves of the lanes, f16, as floats.
inline Floats F16Low(Ints v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }

// dots + the dot product of four unsigned with four signed bytes.
inline Ints DotQuads(Ints dots, Ints unsigned_bytes, Ints signed_bytes) {
  return _mm512_dpbusd_epi32(dots, unsigned_bytes, signed_bytes);
}

#else

inline constexpr int kLanes = 8;
inline constexpr bool kBiased = false;
using Floats = __m256;
using Ints = __m256i;

inline Floats ZeroFloats() { return _mm256_setzero_ps(); }
inline Floats Set(float v) { return _mm256_set1_ps(v); }
inline Floats Load(const float* p) { return _mm256_loadu_ps(p); }
inline void Store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
inline Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats Mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats Fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
// The first `n` < kLanes floats, zeros after them; nothing beyond them is read.
inline Floats LoadTail(const float* p, int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}
inline Floats LoadF16(const void* p) { return _mm256_cvtph_ps(Load16Bytes(p)); }
inline Floats LoadBf16(const void* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load16Bytes(p)), 16));
}
inline Floats Sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats Div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
// The second operand if one is NaN.
inline Floats Max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
inline Floats Round(Floats v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Ints ToInts(Floats v) { return _mm256_cvtps_epi32(v); }
// v, or 0 where x < limit.
inline Floats ZeroWhereLess(Floats v, Floats x, Floats limit) {
  return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), v);
}
inline float Sum(Floats v) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
inline float Largest(Floats v) {
  const __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}
inline __m256 HalfSums(Floats v) { return v; }
inline Floats ToFloats(Ints v) { return _mm256_cvtepi32_ps(v); }
inline Floats FromBits(Ints v) { return _mm256_castsi256_ps(v); }

inline Ints ZeroInts() { return _mm256_setzero_si256(); }
inline Ints LoadInts(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Ints LoadBytes(const void* p) {  // as i32
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
}
inline Ints SetI8(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
inline Ints SetI32(int v) { return _mm256_set1_epi32(v); }
inline Ints And(Ints a, Ints b) { return _mm256_and_si256(a, b); }
inline Ints AndNot(Ints a, Ints b) { return _mm256_andnot_si256(a, b); }  // ~a & b
inline Ints Or(Ints a, Ints b) { return _mm256_or_si256(a, b); }
inline Ints Xor(Ints a, Ints b) { return _mm256_xor_si256(a, b); }
inline Ints SubI8(Ints a, Ints b) { return _mm256_sub_epi8(a, b); }
inline Ints AddI32(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints SubI32(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
inline Ints MulI32(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }
inline Ints MaxI32(Ints a, Ints b) { return _mm256_max_epi32(a, b); }
inline Ints ShiftRight(Ints v, int bits) { return _mm256_srli_epi32(v, bits); }
inline Ints ShiftRightSigned(Ints v, int bits) { return _mm256_srai_epi32(v, bits); }
inline Ints ShiftLeft(Ints v, int bits) { return _mm256_slli_epi32(v, bits); }
inline Ints Repeat(__m128i v) { return _mm256_broadcastsi128_si256(v); }
// table[index] for indices below 16 in each byte; the table is Repeat(16 bytes).
inline Ints Lookup(Ints table, Ints index) { return _mm256_shuffle_epi8(table, index); }

// Rows r and r + 4 side by side, 16 bytes of each.
inline Ints EveryFourth(Rows rows, int r) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(Load16Bytes(rows.at(r))),
                                 Load16Bytes(rows.at(r + 4)), 1);
}
// `value` in each byte of v that has one of the bits of that byte of `bits`, which are one bit
// each.
inline Ints BytesWithBits(Ints v, Ints bits, Ints value) {
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, bits), bits), value);
}
inline Ints UnpackLow32(Ints a, Ints b) { return _mm256_unpacklo_epi32(a, b); }
inline Ints UnpackHigh32(Ints a, Ints b) { return _mm256_unpackhi_epi32(a, b); }
inline Ints UnpackLow64(Ints a, Ints b) { return _mm256_unpacklo_epi64(a, b); }
inline Ints UnpackHigh64(Ints a, Ints b) { return _mm256_unpackhi_epi64(a, b); }

// The low halves of the lanes, f16, as floats.
inline Floats F16Low(Ints v) {
  const Ints halves = And(v, SetI32(0xffff));
  const Ints packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0b1000);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

// i16 sums of neighbouring products of unsigned and signed bytes. No sum may leave i16.
inline Ints DotPairs(Ints unsigned_bytes, Ints signed_bytes) {
  return _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
}
inline Ints AbsI8(Ints v) { return _mm256_abs_epi8(v); }
// x with the sign of w: |w| (x with the sign of w) = w x, for operands of DotPairs.
inline Ints WithSign(Ints x, Ints w) { return _mm256_sign_epi8(x, w); }
inline Ints AddI16(Ints a, Ints b) { return _mm256_add_epi16(a, b); }
inline Ints SetI16(int v) { return _mm256_set1_epi16(static_cast<short>(v)); }
// i32 sums of neighbouring products of i16.
inline Ints AddPairs(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }

#endif

// The sums of four vectors.
inline void Sum4(Floats a, Floats b, Floats c, Floats d, float* out) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(HalfSums(a), HalfSums(b)),
                                     _mm256_hadd_ps(HalfSums(c), HalfSums(d)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

// e^x for x <= 0, within about 1 ulp; 0 below the normal numbers. Argument reduction by log 2 in
// two parts (Cody and Waite), then the Taylor polynomial of degree 7 on |r| <= 0.347, whose
// remainder is below 1e-8.
inline Floats ExpOfNegative(Floats x) {
  const Floats least = Set(-87.3f);
  const Floats clamped = Max(least, x);
  const Floats n = Round(Mul(clamped, Set(1.44269504f)));
  const Floats r = Fma(n, Set(2.12194440e-4f), Fma(n, Set(-0.693359375f), clamped));
  Floats p = Set(1.0f / 5040);
  p = Fma(p, r, Set(1.0f / 720));
  p = Fma(p, r, Set(1.0f / 120));
  p = Fma(p, r, Set(1.0f / 24));
  p = Fma(p, r, Set(1.0f / 6));
  p = Fma(p, r, Set(0.5f));
  p = Fma(Mul(p, r), r, Add(r, Set(1.0f)));
  const Floats power = FromBits(ShiftLeft(AddI32(ToInts(n), SetI32(127)), 23));
  return ZeroWhereLess(Mul(p, power), x, least);
}

inline Floats F16High(Ints v) { return F16Low(ShiftRight(v, 16)); }

// Four bytes in each lane.
inline Ints Broadcast4(const void* p) { return SetI32(ReadAs<int32_t>(p)); }

// Byte `i` of each lane.
inline Ints ByteOf(Ints v, int i) { return And(ShiftRight(v, 8 * i), SetI32(255)); }
inline Ints SignedByteOf(Ints v, int i) { return ShiftRightSigned(ShiftLeft(v, 24 - 8 * i), 24); }

// Four vectors with rows r, r + 4 ... of 16 bytes each, to four bytes of each row in each vector.
inline void TransposeQuads(Ints a, Ints b, Ints c, Ints d, Ints* out) {
  const Ints ab_low = UnpackLow32(a, b), ab_high = UnpackHigh32(a, b);
  const Ints cd_low = UnpackLow32(c, d), cd_high = UnpackHigh32(c, d);
  out[0] = UnpackLow64(ab_low, cd_low);
  out[1] = UnpackHigh64(ab_low, cd_low);
  out[2] = UnpackLow64(ab_high, cd_high);
  out[3] = UnpackHigh64(ab_high, cd_high);
}

// 16 bytes of each row, four bytes to a vector.
inline void Load16(Rows rows, Ints* out) {
  TransposeQuads(EveryFourth(rows, 0), EveryFourth(rows, 1), EveryFourth(rows, 2),
                 EveryFourth(rows, 3), out);
}

// kWide bytes of each row, four bytes to a vector.
inline constexpr int kWide = 4 * kLanes;
#ifdef __AVX512F__
inline void LoadWide(Rows rows, Ints* out) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) Load16(rows + 16 * i, out + 4 * i);
}
#else
inline void LoadWide(Rows rows, Ints* out) {
  Load16(rows, out);
  Load16(rows + 16, out + 4);
}
#endif

}  // namespace tandem::cpu::TANDEM_CPU_ISA
