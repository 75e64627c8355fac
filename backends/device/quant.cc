#include "backends/device/quant.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "backends/device/float16.h"
#include "backends/device/quant_codecs.h"
#include "backends/device/status.h"

namespace tandem {
namespace {

// Weights below this share of the largest of their block count as this share, so that columns
// without data still get sensible codes and no fit divides by zero.
constexpr float kSmallestWeight = 1e-6f;

// Plain numbers as floats.
void DecodePlain(DType dtype, const void* src, float* dst, int64_t n) {
  if (dtype == DType::kF32) {
    std::copy_n(static_cast<const float*>(src), n, dst);
  } else if (dtype == DType::kI32) {
    std::copy_n(static_cast<const int32_t*>(src), n, dst);
  } else {
    const auto* row = static_cast<const uint16_t*>(src);
    std::transform(row, row + n, dst, dtype == DType::kF16 ? F16ToF32 : BF16ToF32);
  }
}

// Finite values stay finite; NaN and infinities stay what they are.
uint16_t SaturatedF16(float v) {
  return F32ToF16(std::isfinite(v) ? std::clamp(v, -kF16Max, kF16Max) : v);
}

uint16_t SaturatedBF16(float v) {
  constexpr float kMax = BF16ToF32(0x7F7F);
  return F32ToBF16(std::isfinite(v) ? std::clamp(v, -kMax, kMax) : v);
}

// False if `dtype` is not f32, f16 or bf16.
bool EncodePlain(DType dtype, const float* src, void* dst, int64_t n) {
  if (dtype == DType::kF32) {
    std::copy_n(src, n, static_cast<float*>(dst));
  } else if (dtype == DType::kF16) {
    std::transform(src, src + n, static_cast<uint16_t*>(dst), SaturatedF16);
  } else if (dtype == DType::kBF16) {
    std::transform(src, src + n, static_cast<uint16_t*>(dst), SaturatedBF16);
  } else {
    return false;
  }
  return true;
}

absl::Status CheckLength(DType dtype, int64_t n) {
  const DTypeInfo& info = GetDTypeInfo(dtype);
  if (n >= 0 && n % info.block_size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a row of ", n, " elements cannot be ", Text(info.name), ": blocks have ", info.block_size));
}

absl::Status CheckValues(const float* src, int64_t n, const float* importance) {
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(src[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot encode ", src[i], " at index ", i, " of the row"));
    }
  }
  for (int64_t i = 0; importance != nullptr && i < n; ++i) {
    if (!std::isfinite(importance[i]) || importance[i] < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("importance ", importance[i], " at index ", i, " of the row"));
    }
  }
  return absl::OkStatus();
}

// Scales the weights of a block to (0, 1].
void NormalizeWeights(const float* importance, int n, float* w) {
  const float largest = importance == nullptr ? 0 : *std::max_element(importance, importance + n);
  if (largest == 0) {
    std::fill_n(w, n, 1.0f);
    return;
  }
  for (int i = 0; i < n; ++i) w[i] = std::max(importance[i] / largest, kSmallestWeight);
}

template <class Block>
void EncodeRow(const float* src, const float* importance, int64_t n, Block* dst) {
  constexpr float kLimit =
      std::is_same_v<Block, BlockMXFP4> ? std::numeric_limits<float>::max() : kMaxEncoded;
  const int size = GetDTypeInfo(Block::kType).block_size;
  float x[kSuperBlock], w[kSuperBlock];
  for (int64_t begin = 0; begin < n; begin += size) {
    for (int i = 0; i < size; ++i) x[i] = std::clamp(src[begin + i], -kLimit, kLimit);
    NormalizeWeights(importance == nullptr ? nullptr : importance + begin, size, w);
    EncodeBlock(x, w, dst++);
  }
}

template <class Block>
void EncodeRowOnePass(const float* src, int64_t n, Block* dst) {
  const int size = GetDTypeInfo(Block::kType).block_size;
  for (int64_t begin = 0; begin < n; begin += size) EncodeBlockOnePass(src + begin, dst++);
}

}  // namespace

void DequantizeRow(DType dtype, const void* src, float* dst, int64_t n) {
  const bool is_block = VisitBlockType(dtype, [&]<class Block>(std::type_identity<Block>) {
    const auto* blocks = static_cast<const Block*>(src);
    const int size = GetDTypeInfo(dtype).block_size;
    for (int64_t i = 0; i < n / size; ++i) DecodeBlock(blocks[i], dst + i * size);
  });
  if (!is_block) DecodePlain(dtype, src, dst, n);
}

absl::Status QuantizeRow(DType dtype, const float* src, void* dst, int64_t n,
                         const float* importance) {
  TANDEM_RETURN_IF_ERROR(CheckLength(dtype, n));
  TANDEM_RETURN_IF_ERROR(CheckValues(src, n, importance));
  const bool is_block = VisitBlockType(dtype, [&]<class Block>(std::type_identity<Block>) {
    EncodeRow(src, importance, n, static_cast<Block*>(dst));
  });
  if (is_block || EncodePlain(dtype, src, dst, n)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("floats cannot be encoded as ", Text(DTypeName(dtype))));
}

absl::Status QuantizeRowOnePass(DType dtype, const float* src, void* dst, int64_t n) {
  TANDEM_RETURN_IF_ERROR(CheckLength(dtype, n));
  if (dtype == DType::kQ8_0) {
    EncodeRowOnePass(src, n, static_cast<BlockQ8_0*>(dst));
  } else if (dtype == DType::kQ4_0) {
    EncodeRowOnePass(src, n, static_cast<BlockQ4_0*>(dst));
  } else if (!EncodePlain(dtype, src, dst, n)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no one-pass encoder for ", Text(DTypeName(dtype))));
  }
  return absl::OkStatus();
}

}  // namespace tandem
