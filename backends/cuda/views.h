// Tensor views as kernels take them.
#pragma once

#include <cstdint>
#include <string>

#include "backends/cuda/kernels/params/rowwise.h"
#include "backends/device/tensor.h"

namespace tandem::cuda {

// [T, D], [T, H, D] or [T].
inline RowsView ToRows(const TensorView& view) {
  return {.data = static_cast<u8*>(view.data),
          .row_stride = view.strides[0],
          .head_stride = view.shape.rank == 3 ? view.strides[1] : 0};
}

// The heads of [T, H, D]; 1 for [T, D].
inline int HeadsOf(const TensorView& view) {
  return view.shape.rank == 3 ? static_cast<int>(view.dim(1)) : 1;
}

// Whether all rows begin at multiples of 16 bytes.
inline bool Aligned16(const TensorView& view) {
  bool aligned = reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
  for (int i = 0; i + 1 < view.shape.rank; ++i) aligned = aligned && view.strides[i] % 16 == 0;
  return aligned;
}

// A type as a template argument of a kernel.
inline std::string TypeArg(DType type) {
  return "tandem::cuda::WeightType(" + std::to_string(static_cast<unsigned>(type)) + ")";
}

}  // namespace tandem::cuda
