// Views of tensors in the memory of a device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "backends/device/dtype.h"

namespace tandem {

inline constexpr int kMaxRank = 4;

// Up to four dimensions, outermost first, as in [T, H, D].
struct Shape {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims = {};

  Shape() = default;
  Shape(std::initializer_list<int64_t> list);
  // `list` must hold at most kMaxRank dimensions.
  explicit Shape(std::span<const int64_t> list);

  int64_t operator[](int i) const { return dims[i]; }
  int64_t back() const { return rank == 0 ? 1 : dims[rank - 1]; }
  // Product of all dimensions; 1 for rank 0.
  int64_t elements() const;
  // Product of all dimensions but the last.
  int64_t rows() const;
  bool operator==(const Shape&) const = default;
  std::string ToString() const;  // "[3, 64]"
};

// How the rows of a matrix of weights lie in memory; its elements have the same bits in each.
enum class WeightLayout {
  kRows,         // row after row, as files have them
  kInterleaved,  // 16 rows side by side, see layout.h
  kTiles,        // 16 rows by 32 elements in the order of matrix instructions, see tiles.h
};

// A tensor in the memory of one device. The innermost dimension is contiguous (for block types: its
// blocks are); the others have any stride that is a multiple of the element's (block's) bytes.
struct TensorView {
  void* data = nullptr;  // null while a plan is being made, and for an absent optional tensor
  DType dtype = DType::kF32;
  Shape shape;                                 // rank 0: absent
  std::array<int64_t, kMaxRank> strides = {};  // bytes from one index to the next; last: unused
  WeightLayout layout = WeightLayout::kRows;

  bool present() const { return shape.rank > 0; }
  int64_t dim(int i) const { return shape[i]; }

  // Address of the row with these leading indices; they may be fewer than rank - 1. Interleaved:
  // of the panel that begins with that row.
  template <typename T = std::byte>
  T* row(int64_t i0 = 0, int64_t i1 = 0, int64_t i2 = 0) const {
    auto* base = static_cast<std::byte*>(data);
    const std::array<int64_t, 3> index = {i0, i1, i2};
    for (int i = 0; i + 1 < shape.rank; ++i) base += index[i] * strides[i];
    return reinterpret_cast<T*>(base);
  }
};

// Bytes between neighbours along each dimension when the tensor is contiguous.
std::array<int64_t, kMaxRank> ContiguousStrides(DType dtype, const Shape& shape);

// Bytes of a contiguous tensor of this type and shape.
int64_t ContiguousBytes(DType dtype, const Shape& shape);

// A contiguous tensor at `data`.
TensorView MakeView(void* data, DType dtype, const Shape& shape);

// True if the rows follow each other without gaps.
bool IsContiguous(const TensorView& view);

}  // namespace tandem
