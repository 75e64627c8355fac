#include "backends/cpu/decode.h"

#include <algorithm>

#include "backends/cpu/formats.h"
#include "backends/device/quant.h"

namespace tandem::cpu {
namespace {

using namespace simd;

template <typename Format>
void DecodePlain(const std::byte* row, int64_t first, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) Store(out + i, Format::Load(row, first + i));
  for (; i < n; ++i) out[i] = Format::At(row, first + i);
}

// Integer factors of the halves, as floats: the first 16 elements, then the second.
float HalfFactor(const Bytes& factors, int half) {
  int16_t lanes[16];
  StoreBytes(lanes, factors);
  return lanes[8 * half];
}

template <typename Format>
void DecodeGroup(const Span& span, int g, float* out) {
  alignas(32) int8_t quants[kGroup];
  StoreBytes(quants, span.quants[g]);
  for (int half = 0; half < 2; ++half) {
    float scale = span.scales[g], min = 0.0f;
    if constexpr (Format::kHalves) scale *= HalfFactor(span.half_scales[g], half);
    if constexpr (Format::kMins) min = span.mins[g];
    if constexpr (Format::kHalves && Format::kMins) min *= HalfFactor(span.half_mins[g], half);
    for (int i = 16 * half; i < 16 * half + 16; i += 8) {
      const F32x8 q = Format::kSigned ? FloatsOfI8(quants + i) : FloatsOfU8(quants + i);
      const F32x8 value = Format::kMins ? Fma(q, Set(scale), Set(min)) : Mul(q, Set(scale));
      Store(out + i, value);
    }
  }
}

template <typename Format>
void DecodeBlocks(const std::byte* row, int64_t first, int64_t n, float* out) {
  row += first / Format::kBlock * Format::kBytes;
  constexpr int64_t kSpanBytes = kSpan / Format::kBlock * Format::kBytes;
  for (int64_t i = 0; i < n; i += kSpan, row += kSpanBytes, out += kSpan) {
    const int groups = static_cast<int>(std::min<int64_t>(n - i, kSpan)) / kGroup;
    Span span;
    Format::Unpack(row, groups, span);
    for (int g = 0; g < groups; ++g) DecodeGroup<Format>(span, g, out + kGroup * g);
  }
}

void EncodeF32(const float* x, int64_t n, std::byte* row) {
  std::memcpy(row, x, static_cast<size_t>(n) * sizeof(float));
}

// Rows of 16-bit numbers, 8 at a time; `convert` takes a vector.
template <typename Convert>
void Encode16(const float* x, int64_t n, std::byte* row, Convert convert) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) StoreBytes16(row + 2 * i, convert(Load(x + i)));
  if (i == n) return;
  alignas(16) uint16_t tail[8];
  StoreBytes16(tail, convert(LoadTail(x + i, n - i)));
  std::memcpy(row + 2 * i, tail, static_cast<size_t>(n - i) * 2);
}

void EncodeF16(const float* x, int64_t n, std::byte* row) {
  Encode16(x, n, row, [](F32x8 v) { return ToF16(v); });
}
void EncodeBf16(const float* x, int64_t n, std::byte* row) {
  Encode16(x, n, row, [](F32x8 v) { return ToBf16(v); });
}

// Blocks have one encoder for all devices, which decides about ties and numbers that are not
// finite.
template <DType kType>
void EncodeBlocks(const float* x, int64_t n, std::byte* row) {
  QuantizeRowOnePass(kType, x, row, n).IgnoreError();  // fails for other types only
}

}  // namespace

DecodeFn* FindDecoder(DType type) {
  auto* plain =
      SelectFormat<DecodeFn>(type, PlainFormats(), []<typename F>() { return &DecodePlain<F>; });
  if (plain != nullptr) return plain;
  return SelectFormat<DecodeFn>(type, BlockFormats(),
                                []<typename F>() { return &DecodeBlocks<F>; });
}

EncodeFn* FindEncoder(DType type) {
  switch (type) {
    case DType::kF32:
      return &EncodeF32;
    case DType::kF16:
      return &EncodeF16;
    case DType::kBF16:
      return &EncodeBf16;
    case DType::kQ8_0:
      return &EncodeBlocks<DType::kQ8_0>;
    case DType::kQ4_0:
      return &EncodeBlocks<DType::kQ4_0>;
    default:
      return nullptr;
  }
}

}  // namespace tandem::cpu
