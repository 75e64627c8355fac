// Tensor views as kernels take them.
#pragma once

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

// A type as a template argument of a kernel.
inline std::string TypeArg(DType type) { return std::to_string(static_cast<unsigned>(type)); }

}  // namespace tandem::cuda
