// Rows of plain numbers as vectors of floats.
#pragma once

#include "backends/cpu/isa/lanes.h"
#include "backends/device/dtype.h"

namespace tandem::cpu::TANDEM_CPU_ISA {

// How many sums to keep in registers where there are too few rows left for `n`.
constexpr int Fewer(int n) { return n == 6 ? 4 : n / 2; }

struct F32Format {
  static Floats Load(const std::byte* row, int64_t i) {
    return TANDEM_CPU_ISA::Load(reinterpret_cast<const float*>(row) + i);
  }
  static float At(const std::byte* row, int64_t i) { return ReadAs<float>(row + 4 * i); }
};

struct F16Format {
  static Floats Load(const std::byte* row, int64_t i) { return LoadF16(row + 2 * i); }
  static float At(const std::byte* row, int64_t i) {
    return _cvtsh_ss(ReadAs<uint16_t>(row + 2 * i));
  }
};

struct Bf16Format {
  static Floats Load(const std::byte* row, int64_t i) { return LoadBf16(row + 2 * i); }
  static float At(const std::byte* row, int64_t i) {
    const uint32_t bits = uint32_t{ReadAs<uint16_t>(row + 2 * i)} << 16;
    return ReadAs<float>(&bits);
  }
};

}  // namespace tandem::cpu::TANDEM_CPU_ISA
