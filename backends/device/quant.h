// Scalar, portable encoding and decoding of every element type. These define what the numbers of a
// tensor are; the kernels of the backends are checked against them.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "backends/device/dtype.h"

namespace tandem {

// Writes the `n` values of a row to `dst`. `n` must be a multiple of the type's block size, and
// `src` aligned as the type needs it (4 bytes for f32 and i32, 2 for the others, 1 for mxfp4).
// The results are exact: each product and sum rounded once to float, in the order of the formulas
// of quant_blocks.h. i32 numbers are rounded to float.
void DequantizeRow(DType dtype, const void* src, float* dst, int64_t n);

// Encodes `n` values, looking for the scales that make sum(importance * (x - decoded)^2) small.
//
// `importance`: `n` weights that are not negative (mean square of what the column is multiplied
// with), or null for all ones. Only their ratios inside a block count; a block whose weights are
// all zero is treated as all ones, and no weight counts less than 1e-6 of the largest in its block.
//
// What a format cannot hold saturates: scales are clamped to the largest fp16 number, f16 to
// +-65504, bf16 to its largest finite number. Blocks smaller than any fp16 scale become zero.
//
// InvalidArgument if `n` is no multiple of the block size, if a value is NaN or infinite, if a
// weight is NaN, infinite or negative (the message names the index), or for i32.
absl::Status QuantizeRow(DType dtype, const float* src, void* dst, int64_t n,
                         const float* importance);

// Encodes without a search, in one pass over each block, for rows that are written while a model
// runs (KV caches). Same formats and saturation; types f32, f16, bf16, q8_0 and q4_0, else
// InvalidArgument. Values are not checked: a NaN or infinity makes its whole block NaN, so
// that the fault stays visible downstream.
absl::Status QuantizeRowOnePass(DType dtype, const float* src, void* dst, int64_t n);

}  // namespace tandem
