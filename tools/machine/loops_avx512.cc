#include <immintrin.h>

#include "tools/machine/loops.h"

namespace tandem::machine {
namespace {

// Zero, which the compiler must not see: it would do equal sums once.
__m512 HiddenZero() {
  __m512 zero = _mm512_setzero_ps();
  asm volatile("" : "+v"(zero));
  return zero;
}

}  // namespace

uint64_t ReadAvx512(const void* data, size_t bytes) {
  const auto* p = static_cast<const __m512i*>(data);
  const __m512i* end = p + bytes / sizeof(__m512i);
  __m512i sum[8] = {};
  for (; p != end; p += 8) {
    for (int i = 0; i < 8; ++i) sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + i));
  }
  for (int i = 1; i < 8; ++i) sum[0] = _mm512_add_epi64(sum[0], sum[i]);
  alignas(64) uint64_t lanes[8];
  _mm512_store_si512(lanes, sum[0]);
  uint64_t total = 0;
  for (const uint64_t lane : lanes) total += lane;
  return total;
}

float F32Avx512(int64_t turns) {
  __m512 sum[16];
  for (__m512& s : sum) s = HiddenZero();
  __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  for (int64_t turn = 0; turn < turns; ++turn) {
    asm volatile("" : "+v"(a), "+v"(b));  // may be other numbers now
    for (int i = 0; i < 16; ++i) sum[i] = _mm512_fmadd_ps(a, b, sum[i]);
  }
  for (int i = 1; i < 16; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sum[0]);
  return lanes[0];
}

}  // namespace tandem::machine
