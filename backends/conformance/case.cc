#include "backends/conformance/case.h"

#include <algorithm>
#include <cstring>

#include "backends/device/quant.h"

namespace tandem {
namespace {

constexpr std::byte kUnset{0xff};

// Rows three elements (one block) apart, so that strides are odd; for block types a stride has to
// stay a multiple of a block.
std::array<int64_t, kMaxRank> StridedStrides(DType dtype, const Shape& shape) {
  std::array<int64_t, kMaxRank> strides = ContiguousStrides(dtype, shape);
  const int64_t gap = GetDTypeInfo(dtype).block_bytes * (IsQuantized(dtype) ? 1 : 3);
  int64_t bytes = RowBytes(dtype, shape.back());
  for (int i = shape.rank - 2; i >= 0; --i) {
    bytes += gap;
    strides[i] = bytes;
    bytes *= shape[i];
  }
  return strides;
}

// Finite numbers in whole blocks can be encoded in every type.
void Encode(DType dtype, const std::vector<float>& values, std::byte* out) {
  QuantizeRow(dtype, values.data(), out, static_cast<int64_t>(values.size()), nullptr)
      .IgnoreError();
}

}  // namespace

const Storage& Case::StorageOf(const void* address) const {
  return *std::ranges::find_if(storage,
                               [address](const Storage& s) { return s.Contains(address); });
}

CaseBuilder::CaseBuilder(KernelId kernel, uint32_t seed) : random_(seed) { case_.kernel = kernel; }

TensorView CaseBuilder::Blank(DType dtype, const Shape& shape, Layout layout) {
  TensorView view = MakeView(nullptr, dtype, shape);
  if (layout == Layout::kStrided) view.strides = StridedStrides(dtype, shape);
  const int64_t bytes = shape.rank > 1 ? view.strides[0] * shape[0] : ContiguousBytes(dtype, shape);
  case_.storage.push_back({std::vector<std::byte>(bytes + 2 * kGuardBytes, kUnset)});
  view.data = case_.storage.back().bytes.data() + kGuardBytes;
  return view;
}

TensorView CaseBuilder::Random(DType dtype, const Shape& shape, double deviation, Layout layout) {
  const TensorView view = Blank(dtype, shape, layout);
  Fill(view, shape[0], deviation);
  return view;
}

TensorView CaseBuilder::Activations(Rows rows, std::initializer_list<int64_t> inner,
                                    double deviation, Layout layout) {
  std::vector<int64_t> dims = {rows.total};
  dims.insert(dims.end(), inner);
  const TensorView view = Blank(DType::kF32, Shape(std::span<const int64_t>(dims)), layout);
  Fill(view, rows.live, deviation);
  return view;
}

TensorView CaseBuilder::Ints(const Shape& shape, std::span<const int32_t> values) {
  const TensorView view = Blank(DType::kI32, shape);
  std::ranges::copy(values, view.row<int32_t>());
  return view;
}

TensorView CaseBuilder::Floats(const Shape& shape, std::span<const float> values) {
  const TensorView view = Blank(DType::kF32, shape);
  std::ranges::copy(values, view.row<float>());
  return view;
}

LiveCount CaseBuilder::Live(Rows rows) {
  if (rows.live == rows.total) return nullptr;
  const auto live = static_cast<int32_t>(rows.live);
  return Ints({1}, {&live, 1}).row<int32_t>();
}

void CaseBuilder::Fill(const TensorView& view, int64_t rows, double deviation) {
  if (view.shape.rank == 1) return FillRow(view, view.row(), deviation);
  const int64_t d1 = view.shape.rank > 2 ? view.dim(1) : 1;
  const int64_t d2 = view.shape.rank > 3 ? view.dim(2) : 1;
  for (int64_t i = 0; i < rows * d1 * d2; ++i) {
    FillRow(view, view.row(i / (d1 * d2), i / d2 % d1, i % d2), deviation);
  }
}

void CaseBuilder::FillRow(const TensorView& view, std::byte* row, double deviation) {
  if (IsQuantized(view.dtype)) return FillQuantizedRow(view, row, deviation);
  std::vector<float> values(view.shape.back());
  std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
  for (float& value : values) value = normal(random_);
  Encode(view.dtype, values, row);
}

void CaseBuilder::FillQuantizedRow(const TensorView& view, std::byte* row, double deviation) {
  constexpr int64_t kBlocks = 64;
  const DTypeInfo& info = GetDTypeInfo(view.dtype);
  std::vector<std::byte>& blocks = blocks_[{view.dtype, deviation}];
  if (blocks.empty()) {
    std::vector<float> values(kBlocks * info.block_size);
    std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
    for (float& value : values) value = normal(random_);
    blocks.resize(kBlocks * info.block_bytes);
    Encode(view.dtype, values, blocks.data());
  }
  for (int64_t i = 0; i < view.shape.back() / info.block_size; ++i) {
    const auto block = static_cast<int64_t>(random_() % kBlocks);
    std::copy_n(blocks.begin() + block * info.block_bytes, info.block_bytes,
                row + i * info.block_bytes);
  }
}

}  // namespace tandem
