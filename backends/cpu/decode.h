// Rows of any element type as floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/device/dtype.h"

namespace tandem::cpu {

// Writes elements [first, first + n) of a row to `out`. For block types `first` must be a multiple
// of 256, or of 32 if blocks have 32 elements, and `n` a multiple of 32.
using DecodeFn = void(const std::byte* row, int64_t first, int64_t n, float* out);

// For every type but i32.
DecodeFn* FindDecoder(DType type);

// Writes `n` floats as a row of f32, f16, bf16, q8_0 or q4_0; rounding as the formats define it.
using EncodeFn = void(const float* x, int64_t n, std::byte* row);
EncodeFn* FindEncoder(DType type);

}  // namespace tandem::cpu
