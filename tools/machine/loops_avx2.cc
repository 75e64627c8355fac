#include <immintrin.h>

#include "tools/machine/loops.h"

namespace tandem::machine {
namespace {

// Zero, which the compiler must not see: it would do equal sums once.
__m256i HiddenZero() {
  __m256i zero = _mm256_setzero_si256();
  asm volatile("" : "+x"(zero));
  return zero;
}

}  // namespace

uint64_t ReadAvx2(const void* data, size_t bytes) {
  const auto* p = static_cast<const __m256i*>(data);
  const __m256i* end = p + bytes / sizeof(__m256i);
  __m256i sum[8] = {};
  for (; p != end; p += 8) {
    for (int i = 0; i < 8; ++i) sum[i] = _mm256_add_epi64(sum[i], _mm256_load_si256(p + i));
  }
  for (int i = 1; i < 8; ++i) sum[0] = _mm256_add_epi64(sum[0], sum[i]);
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum[0]);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

float Int8Avx2(int64_t turns) {
  __m256i sum[6];
  for (__m256i& s : sum) s = HiddenZero();
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (int i = 0; i < 6; ++i) {
      asm volatile("" : "+x"(a), "+x"(b));  // may be other numbers now
      const __m256i pairs = _mm256_maddubs_epi16(a, b);
      sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int i = 1; i < 6; ++i) sum[0] = _mm256_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm256_extract_epi32(sum[0], 0));
}

float F32Avx2(int64_t turns) {
  __m256 sum[12];
  for (__m256& s : sum) s = _mm256_castsi256_ps(HiddenZero());
  __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
  for (int64_t turn = 0; turn < turns; ++turn) {
    asm volatile("" : "+x"(a), "+x"(b));  // may be other numbers now
    for (int i = 0; i < 12; ++i) sum[i] = _mm256_fmadd_ps(a, b, sum[i]);
  }
  for (int i = 1; i < 12; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}

}  // namespace tandem::machine
