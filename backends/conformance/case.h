// One check of the suite: calls on tensors with known contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/device/kernels.h"

namespace tandem {

// Bytes around every tensor that nobody may write.
inline constexpr int64_t kGuardBytes = 512;

// The image in host memory of one piece of device memory, guards included.
struct Storage {
  std::vector<std::byte> bytes;
  bool Contains(const void* address) const {
    return address >= bytes.data() && address < bytes.data() + bytes.size();
  }
};

// A tensor to compare with the oracle's.
struct Output {
  TensorView view;
  int64_t rows;            // of its first dimension that are specified
  double tolerance = 0.0;  // relative RMS; numbers of type i32 must be equal
};

// Addresses in the calls and outputs lie in `storage`.
struct Case {
  KernelId kernel;   // which one is checked; other calls prepare its inputs or read its results
  std::string name;  // shapes, types and options
  std::vector<Storage> storage;
  std::vector<KernelArgs> calls;
  std::vector<Output> outputs;

  const Storage& StorageOf(const void* address) const;
};

// Whether the rows of a tensor follow each other or have gaps.
enum class Layout { kPacked, kStrided };

// How many rows the tensors of a call have, and how many are in use.
struct Rows {
  int64_t total;
  int64_t live;
};

// Makes the tensors of a case. All memory is filled with ones first, so that what is not set is NaN
// (or -1): rows that are not live, outputs, caches.
class CaseBuilder {
 public:
  CaseBuilder(KernelId kernel, uint32_t seed);

  // Appends to the name.
  template <typename... Parts>
  CaseBuilder& Name(const Parts&... parts);

  // `shape` of any type, random with standard deviation `deviation`.
  TensorView Random(DType dtype, const Shape& shape, double deviation = 1.0,
                    Layout layout = Layout::kPacked);
  // [rows, ...inner] of f32, of which only live rows are set.
  TensorView Activations(Rows rows, std::initializer_list<int64_t> inner, double deviation = 1.0,
                         Layout layout = Layout::kPacked);
  TensorView Ints(const Shape& shape, std::span<const int32_t> values);
  TensorView Floats(const Shape& shape, std::span<const float> values);
  // Memory that a call writes.
  TensorView Blank(DType dtype, const Shape& shape, Layout layout = Layout::kPacked);
  // Null if all rows are live.
  LiveCount Live(Rows rows);

  void Call(const KernelArgs& args) { case_.calls.push_back(args); }
  void Compare(const TensorView& view, int64_t rows, double tolerance) {
    case_.outputs.push_back({view, rows, tolerance});
  }
  std::mt19937& random() { return random_; }
  Case Finish() { return std::move(case_); }

 private:
  // Sets rows [0, rows) of the first dimension.
  void Fill(const TensorView& view, int64_t rows, double deviation);
  void FillRow(const TensorView& view, std::byte* row, double deviation);
  void FillQuantizedRow(const TensorView& view, std::byte* row, double deviation);

  Case case_;
  std::mt19937 random_;
  // Encoded blocks that rows of this type are made of, as encoding takes most of a case's time.
  std::map<std::pair<DType, double>, std::vector<std::byte>> blocks_;
};

}  // namespace tandem

#include "absl/strings/str_cat.h"

namespace tandem {

template <typename... Parts>
CaseBuilder& CaseBuilder::Name(const Parts&... parts) {
  absl::StrAppend(&case_.name, case_.name.empty() ? "" : ", ", parts...);
  return *this;
}

}  // namespace tandem
