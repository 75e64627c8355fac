// Importance matrices: how much each input column of a weight matters, measured on a text.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

// For each weight (by its GGUF name) the mean square of every input that its columns were
// multiplied with: [ne0] for a matrix, [experts, ne0] for a stack of experts. An expert that the
// text never used has zeros.
class ImportanceMatrix {
 public:
  ImportanceMatrix() = default;

  // A file of llama.cpp's tools: the older format (".dat"), or GGUF with tensors
  // "<weight>.in_sum2" and "<weight>.counts". Errors begin with the path.
  static absl::StatusOr<ImportanceMatrix> Open(std::string_view path);

  // The same for bytes in memory. The file is not trusted: InvalidArgument or OutOfRange for one
  // that is damaged, for values that are negative or no numbers, and for names that occur twice.
  static absl::StatusOr<ImportanceMatrix> Parse(std::span<const std::byte> bytes);

  // Empty if there is no entry for `name`.
  std::span<const float> Find(std::string_view name) const;

  size_t size() const { return entries_.size(); }

 private:
  absl::Status Add(std::string_view name, std::vector<float> values);
  absl::Status ParseGguf(std::span<const std::byte> bytes);
  absl::Status ParseOldFormat(std::span<const std::byte> bytes);

  std::map<std::string, std::vector<float>, std::less<>> entries_;
};

}  // namespace tandem
