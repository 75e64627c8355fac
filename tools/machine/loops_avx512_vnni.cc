#include <immintrin.h>

#include "tools/machine/loops.h"

namespace tandem::machine {
namespace {

// Zero, which the compiler must not see: it would do equal sums once.
__m512i HiddenZero() {
  __m512i zero = _mm512_setzero_si512();
  asm volatile("" : "+v"(zero));
  return zero;
}

}  // namespace

float Int8Avx512Vnni(int64_t turns) {
  __m512i sum[16];
  for (__m512i& s : sum) s = HiddenZero();
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
  for (int64_t turn = 0; turn < turns; ++turn) {
    asm volatile("" : "+v"(a), "+v"(b));  // may be other numbers now
    for (int i = 0; i < 16; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
  }
  for (int i = 1; i < 16; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, sum[0]);
  return static_cast<float>(lanes[0]);
}

}  // namespace tandem::machine
