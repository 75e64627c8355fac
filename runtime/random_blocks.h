// Random weights, made in the format that they are stored in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/device/dtype.h"

namespace tandem {

// What the elements of a tensor are drawn from: numbers around `mean` with the standard deviation
// `deviation`. Block types have the mean 0.
struct RandomNumbers {
  DType dtype = DType::kF32;  // not i32
  double mean = 0.0;
  double deviation = 1.0;
  uint64_t key = 0;  // tells tensors apart, see RandomKey
};

// A key that depends on both and on nothing else.
uint64_t RandomKey(uint64_t seed, std::string_view name);

// Writes the bytes of a random tensor: any part of it, in any order, on any thread, with the same
// result. No number is encoded: codes and group scales are random bits, and the scale of a block is
// drawn from a table. The scales' signs are random, so that weights have the mean 0 whatever the
// codes stand for: those of IQ4_NL average -6, and a matrix of such weights would answer mostly to
// the sum of its input. Where a block has a minimum, it lies where the mean becomes 0.
class RandomBlocks {
 public:
  explicit RandomBlocks(const RandomNumbers& numbers);

  // Bytes of a unit: a block, or 8 bytes of plain numbers.
  int64_t unit_bytes() const { return unit_bytes_; }

  // Writes units from `first` on; the last one may be cut where the tensor ends.
  void Fill(int64_t first, std::span<std::byte> out) const;

  // By a random byte: the bits of a block's scale (MXFP4: its exponent), and those of what belongs
  // to it, the minimum or its scale.
  struct Scales {
    std::array<uint16_t, 256> scale = {}, minimum = {};
  };

 private:
  void FillPlain(int64_t first, std::span<std::byte> out) const;

  RandomNumbers numbers_;
  int64_t unit_bytes_;
  Scales scales_;                       // block types
  std::array<uint16_t, 4096> plain_{};  // f16 and bf16: what 12 random bits stand for
};

}  // namespace tandem
