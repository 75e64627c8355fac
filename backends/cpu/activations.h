// Rows of activations in 8 bits, for products with block-quantised weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::cpu {

// 256 elements of a row: i8 quants with a scale for each group of 32, and sums of the quants, which
// products with unsigned quants or with mins need. Scale times sum is f32, as f16 overflows with
// the activations of some models. Missing elements of the last span are zeros with scale 0.
struct alignas(32) ActivationSpan {
  static constexpr int kElements = 256, kGroup = 32, kGroups = kElements / kGroup;
  int8_t quants[kElements];
  float scales[kGroups];
  float sums[kGroups];             // scale * sum of the quants
  int32_t bias[kGroups];           // -128 * sum of the quants
  int32_t half_bias[2 * kGroups];  // the same for the two halves of each group
};

// Bytes of a row of `n` elements, n a multiple of 32; rows are aligned like spans.
int64_t ActivationBytes(int64_t n);

// Quantises groups [first_group, last_group) of a row of `n` floats; `x` is the first element of
// the first group. Whoever writes the last group also writes the padding.
void QuantizeGroups(const float* x, int64_t first_group, int64_t last_group, int64_t n,
                    std::byte* row);
inline void QuantizeActivations(const float* x, int64_t n, std::byte* row) {
  QuantizeGroups(x, 0, n / ActivationSpan::kGroup, n, row);
}

}  // namespace tandem::cpu
