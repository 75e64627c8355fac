#include "backends/cpu/activations.h"

#include "backends/cpu/simd.h"

namespace tandem::cpu {
namespace {

using namespace simd;

void QuantizeGroup(const float* x, ActivationSpan& span, int64_t g) {
  const F32x8 v[4] = {Load(x), Load(x + 8), Load(x + 16), Load(x + 24)};
  const float largest = Largest(Max(Max(Abs(v[0]), Abs(v[1])), Max(Abs(v[2]), Abs(v[3]))));
  // Smaller groups count as zeros, as the inverse of their scale would not be finite.
  const bool zero = !(largest > 1e-30f);
  const F32x8 inverse = Set(zero ? 0.0f : 127.0f / largest);
  Bytes q[4];
  for (int i = 0; i < 4; ++i) q[i] = RoundToI32(Mul(v[i], inverse));
  StoreBytes(span.quants + g * ActivationSpan::kGroup, PackI8(q[0], q[1], q[2], q[3]));
  // Zero, or NaN if an element is not finite, which the largest need not show.
  const float poison = 0.0f * Sum(Add(Add(v[0], v[1]), Add(v[2], v[3])));
  span.scales[g] = (zero ? 0.0f : largest / 127.0f) + poison;
  // Sums may be anything where the scale is NaN, also too large: unsigned numbers wrap around.
  const auto first = static_cast<uint32_t>(SumI32(AddI32(q[0], q[1])));
  const auto second = static_cast<uint32_t>(SumI32(AddI32(q[2], q[3])));
  span.sums[g] = span.scales[g] * static_cast<float>(static_cast<int32_t>(first + second));
  span.bias[g] = static_cast<int32_t>(-128u * (first + second));
  span.half_bias[2 * g] = static_cast<int32_t>(-128u * first);
  span.half_bias[2 * g + 1] = static_cast<int32_t>(-128u * second);
}

void ClearGroup(ActivationSpan& span, int64_t g) {
  StoreBytes(span.quants + g * ActivationSpan::kGroup, ZeroBytes());
  span.scales[g] = span.sums[g] = 0.0f;
  span.bias[g] = span.half_bias[2 * g] = span.half_bias[2 * g + 1] = 0;
}

}  // namespace

int64_t ActivationBytes(int64_t n) {
  const int64_t spans = (n + ActivationSpan::kElements - 1) / ActivationSpan::kElements;
  return spans * static_cast<int64_t>(sizeof(ActivationSpan));
}

void QuantizeGroups(const float* x, int64_t first_group, int64_t last_group, int64_t n,
                    std::byte* row) {
  auto* spans = reinterpret_cast<ActivationSpan*>(row);
  constexpr int64_t kGroups = ActivationSpan::kGroups;
  for (int64_t g = first_group; g < last_group; ++g, x += ActivationSpan::kGroup) {
    QuantizeGroup(x, spans[g / kGroups], g % kGroups);
  }
  if (last_group != n / ActivationSpan::kGroup) return;
  for (int64_t g = last_group; g % kGroups != 0; ++g) ClearGroup(spans[g / kGroups], g % kGroups);
}

}  // namespace tandem::cpu
