#include "backends/device/tensor.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace tandem {

Shape::Shape(std::initializer_list<int64_t> list)
    : Shape(std::span<const int64_t>(list.begin(), list.size())) {}

Shape::Shape(std::span<const int64_t> list)
    : rank(static_cast<int>(std::min<size_t>(list.size(), kMaxRank))) {
  std::copy_n(list.begin(), rank, dims.begin());
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int i = 0; i < rank; ++i) product *= dims[i];
  return product;
}

int64_t Shape::rows() const {
  int64_t product = 1;
  for (int i = 0; i + 1 < rank; ++i) product *= dims[i];
  return product;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", dims[i]);
  return text + "]";
}

std::array<int64_t, kMaxRank> ContiguousStrides(DType dtype, const Shape& shape) {
  std::array<int64_t, kMaxRank> strides = {};
  int64_t bytes = RowBytes(dtype, shape.back());
  for (int i = shape.rank - 2; i >= 0; --i) {
    strides[i] = bytes;
    // Shapes that do not fit the address space are refused later; here they must not overflow.
    if (__builtin_mul_overflow(bytes, shape[i], &bytes)) {
      bytes = std::numeric_limits<int64_t>::max();
    }
  }
  if (shape.rank > 0) strides[shape.rank - 1] = GetDTypeInfo(dtype).block_bytes;
  return strides;
}

int64_t ContiguousBytes(DType dtype, const Shape& shape) {
  return shape.rows() * RowBytes(dtype, shape.back());
}

TensorView MakeView(void* data, DType dtype, const Shape& shape) {
  return {data, dtype, shape, ContiguousStrides(dtype, shape)};
}

bool IsContiguous(const TensorView& view) {
  const auto strides = ContiguousStrides(view.dtype, view.shape);
  for (int i = 0; i + 1 < view.shape.rank; ++i) {
    if (view.shape[i] != 1 && view.strides[i] != strides[i]) return false;
  }
  return true;
}

}  // namespace tandem
