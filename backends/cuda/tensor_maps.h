// Descriptors of tensors for the copy engine of sm_90.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "backends/cuda/kernels/base.cuh"
#include "backends/device/dtype.h"

namespace tandem::cuda {

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// Rows of `columns` f16 numbers, `row_bytes` from one to the next; boxes of 64 columns, swizzled in
// 128 bytes, of `box_rows` rows. Columns beyond the last read as zero. With a null `encode`, an
// empty descriptor: the kernel is only compiled.
absl::StatusOr<TensorMap> RowsMap(EncodeTensorMap encode, const void* data, int64_t columns,
                                  int64_t row_bytes, int64_t rows, int box_rows);

// Panels of weights in tiles, of rows of `k` elements; boxes of a stage (params/tile_ring.h) of
// `box_panels` panels. What is beyond the end of a panel reads as zero.
absl::StatusOr<TensorMap> WeightsMap(EncodeTensorMap encode, const void* data, DType type,
                                     int64_t k, int64_t panels, int box_panels);

}  // namespace tandem::cuda
