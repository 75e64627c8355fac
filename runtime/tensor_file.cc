#include "runtime/tensor_file.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_join.h"
#include "runtime/quoted.h"

namespace tandem {

int64_t NumElements(const FileTensor& tensor) {
  return std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
}

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "), "]");
}

absl::StatusOr<DType> SupportedDType(const FileTensor& tensor) {
  if (tensor.dtype.has_value()) return *tensor.dtype;
  return absl::UnimplementedError(absl::StrCat("tensor ", Quoted(tensor.name), " is of type ",
                                               Quoted(tensor.type_name),
                                               ", which this build does not support"));
}

absl::StatusOr<TensorTable> TensorTable::Create(std::vector<FileTensor> tensors) {
  TensorTable table;
  if (tensors.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("too many tensors: ", tensors.size()));
  }
  table.by_name_.resize(tensors.size());
  std::iota(table.by_name_.begin(), table.by_name_.end(), 0u);
  const auto name_of = [&tensors](uint32_t i) { return tensors[i].name; };
  std::ranges::sort(table.by_name_, {}, name_of);
  if (!tensors.empty() && name_of(table.by_name_.front()).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", table.by_name_.front(), " has an empty name"));
  }
  const auto twice = std::ranges::adjacent_find(table.by_name_, {}, name_of);
  if (twice != table.by_name_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quoted(name_of(*twice)), " occurs twice"));
  }
  table.tensors_ = std::move(tensors);
  return table;
}

const FileTensor* TensorTable::Find(std::string_view name) const {
  const auto name_of = [this](uint32_t i) { return tensors_[i].name; };
  const auto it = std::ranges::lower_bound(by_name_, name, {}, name_of);
  if (it == by_name_.end() || name_of(*it) != name) return nullptr;
  return &tensors_[*it];
}

absl::StatusOr<const FileTensor*> TensorTable::Get(std::string_view name) const {
  const FileTensor* tensor = Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(absl::StrCat("tensor ", Quoted(name), " is missing"));
  }
  return tensor;
}

}  // namespace tandem
