#include "runtime/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backends/device/float16.h"
#include "backends/device/quant.h"
#include "backends/device/quant_blocks.h"

namespace tandem {
namespace {

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): word i of
// the sequence of a key is Mix(key + (i + 1) * kGamma), so it can be had without those before it.
constexpr uint64_t kGamma = 0x9E3779B97F4A7C15u;

constexpr uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

class Words {
 public:
  Words(uint64_t key, int64_t first) : state_(key + static_cast<uint64_t>(first) * kGamma) {}
  uint64_t Next() { return Mix(state_ += kGamma); }

 private:
  uint64_t state_;
};

// The middle of the codes of types that are y = d * q + m, or y = d * scale * q - dmin * min: the
// value of q that becomes 0.
constexpr double MiddleCode(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
      return 1.5;
    case DType::kQ4_1:
    case DType::kQ4_K:
      return 7.5;
    case DType::kQ5_1:
    case DType::kQ5_K:
      return 15.5;
    default:
      return 0.0;
  }
}

// Each makes a block of random bits one of the wanted distribution. The bits in the place of the
// scale choose a scale.
template <class Block>
void Finish(const RandomBlocks::Scales& scales, Block& block) {
  block.d = scales.scale[block.d & 255];
}

template <class Block>
void FinishWithMinimum(const RandomBlocks::Scales& scales, Block& block) {
  const int i = block.d & 255;
  block.d = scales.scale[i];
  block.m = scales.minimum[i];
}
void Finish(const RandomBlocks::Scales& scales, BlockQ4_1& block) {
  FinishWithMinimum(scales, block);
}
void Finish(const RandomBlocks::Scales& scales, BlockQ5_1& block) {
  FinishWithMinimum(scales, block);
}

void Finish(const RandomBlocks::Scales& scales, BlockQ8_0& block) {
  block.d = scales.scale[block.d & 255];
  // Encoders do not write -128, and kernels may count on that.
  for (int8_t& q : block.qs) q = std::max<int8_t>(q, -127);
}

void Finish(const RandomBlocks::Scales& scales, BlockMXFP4& block) {
  block.e = static_cast<uint8_t>(scales.scale[block.e]);
}

// Each group's min becomes its scale, and dmin the middle code times d.
void Finish(const RandomBlocks::Scales& scales, BlockQ2_K& block) {
  for (uint8_t& s : block.scales) s = static_cast<uint8_t>((s & 15) * 0x11);
  const int i = block.d & 255;
  block.d = scales.scale[i];
  block.dmin = scales.minimum[i];
}

template <class Block>
void FinishScaleMin(const RandomBlocks::Scales& scales, Block& block) {
  for (int i = 0; i < 4; ++i) {
    block.scales[i + 4] = block.scales[i];
    block.scales[i + 8] = static_cast<uint8_t>((block.scales[i + 8] & 15) * 0x11);
  }
  const int i = block.d & 255;
  block.d = scales.scale[i];
  block.dmin = scales.minimum[i];
}
void Finish(const RandomBlocks::Scales& scales, BlockQ4_K& block) { FinishScaleMin(scales, block); }
void Finish(const RandomBlocks::Scales& scales, BlockQ5_K& block) { FinishScaleMin(scales, block); }

template <class Block>
void FillBlocks(const RandomBlocks::Scales& scales, uint64_t key, int64_t first,
                std::span<std::byte> out) {
  constexpr size_t kWords = (sizeof(Block) + 7) / 8;
  Words words(key, first * static_cast<int64_t>(kWords));
  for (; out.size() >= sizeof(Block); out = out.subspan(sizeof(Block))) {
    uint64_t bits[kWords];
    for (uint64_t& word : bits) word = words.Next();
    Block block;
    std::memcpy(&block, bits, sizeof(Block));
    Finish(scales, block);
    std::memcpy(out.data(), &block, sizeof(Block));
  }
}

void FillBlocksOf(DType dtype, const RandomBlocks::Scales& scales, uint64_t key, int64_t first,
                  std::span<std::byte> out) {
  VisitBlockType(dtype, [&]<class Block>(std::type_identity<Block>) {
    FillBlocks<Block>(scales, key, first, out);
  });
}

// The scales +-size * (0.5 .. 1.5), with the minima that belong to them.
RandomBlocks::Scales MakeScales(DType dtype, double size) {
  RandomBlocks::Scales scales;
  for (int i = 0; i < 128; ++i) {
    const uint16_t d = F32ToF16(static_cast<float>(size * (0.5 + (i + 0.5) / 128)));
    // y = d * q + m has the minimum with its sign, y = d * q - dmin without.
    const bool added = dtype == DType::kQ4_1 || dtype == DType::kQ5_1;
    const double middle = (added ? -1.0 : 1.0) * MiddleCode(dtype);
    const uint16_t m = F32ToF16(static_cast<float>(middle * static_cast<double>(F16ToF32(d))));
    const auto at = static_cast<size_t>(i);
    scales.scale[at] = d;
    scales.minimum[at] = m;
    scales.scale[at + 128] = d ^ 0x8000u;
    scales.minimum[at + 128] = m ^ 0x8000u;
  }
  return scales;
}

// Exponents of two neighbouring powers of 2, mixed so that the mean square of the scale is that of
// `size`.
RandomBlocks::Scales MakeExponents(double size) {
  const int low = std::clamp(static_cast<int>(std::floor(std::log2(size))), -126, 120);
  const double square = std::pow(size / std::ldexp(1.0, low), 2.0);  // 1 .. 4
  const auto upper = static_cast<size_t>(std::clamp((square - 1.0) / 3.0, 0.0, 1.0) * 256.0);
  RandomBlocks::Scales scales;
  for (size_t i = 0; i < 256; ++i) {
    scales.scale[i] = static_cast<uint16_t>(low + 128 + (i < upper ? 1 : 0));
  }
  return scales;
}

RandomBlocks::Scales ScalesOf(DType dtype, double size) {
  return dtype == DType::kMXFP4 ? MakeExponents(size) : MakeScales(dtype, size);
}

// The deviation of weights whose scales have the size 1, from a sample.
double UnitDeviation(DType dtype) {
  constexpr int64_t kBlocks = 256;
  const DTypeInfo& info = GetDTypeInfo(dtype);
  std::vector<std::byte> bytes(static_cast<size_t>(kBlocks * info.block_bytes));
  std::vector<float> values(static_cast<size_t>(kBlocks * info.block_size));
  FillBlocksOf(dtype, ScalesOf(dtype, 1.0), /*key=*/1, 0, bytes);
  DequantizeRow(dtype, bytes.data(), values.data(), static_cast<int64_t>(values.size()));
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

uint64_t RandomKey(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return Mix(hash + Mix(seed + kGamma));
}

RandomBlocks::RandomBlocks(const RandomNumbers& numbers)
    : numbers_(numbers),
      unit_bytes_(IsQuantized(numbers.dtype) ? GetDTypeInfo(numbers.dtype).block_bytes : 8) {
  if (IsQuantized(numbers.dtype)) {
    scales_ = ScalesOf(numbers.dtype, numbers.deviation / UnitDeviation(numbers.dtype));
    return;
  }
  // Evenly spaced over a range of sqrt(12) deviations, as in a uniform distribution.
  const double step = numbers.deviation * std::sqrt(12.0) / static_cast<double>(plain_.size());
  for (size_t i = 0; i < plain_.size(); ++i) {
    const double offset = static_cast<double>(i) - static_cast<double>(plain_.size() - 1) / 2;
    const auto value = static_cast<float>(numbers.mean + offset * step);
    plain_[i] = numbers.dtype == DType::kBF16 ? F32ToBF16(value) : F32ToF16(value);
  }
}

void RandomBlocks::Fill(int64_t first, std::span<std::byte> out) const {
  if (!IsQuantized(numbers_.dtype)) return FillPlain(first, out);
  FillBlocksOf(numbers_.dtype, scales_, numbers_.key, first, out);
}

void RandomBlocks::FillPlain(int64_t first, std::span<std::byte> out) const {
  Words words(numbers_.key, first);
  const double step = numbers_.deviation * std::sqrt(12.0) / 0x1p32;
  while (!out.empty()) {
    const uint64_t bits = words.Next();
    std::array<std::byte, 8> unit;
    if (numbers_.dtype == DType::kF32) {
      float values[2];
      for (int i = 0; i < 2; ++i) {
        const double draw = static_cast<double>(bits >> (32 * i) & 0xFFFFFFFFu);
        values[i] = static_cast<float>(numbers_.mean + (draw + 0.5 - 0x1p31) * step);
      }
      std::memcpy(unit.data(), values, sizeof(values));
    } else {
      uint16_t values[4];
      for (int i = 0; i < 4; ++i) values[i] = plain_[bits >> (16 * i) & 4095];
      std::memcpy(unit.data(), values, sizeof(values));
    }
    const size_t count = std::min(out.size(), unit.size());
    std::memcpy(out.data(), unit.data(), count);
    out = out.subspan(count);
  }
}

}  // namespace tandem
