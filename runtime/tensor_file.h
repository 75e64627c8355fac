// Tensors as they lie in a model file, whatever the file's format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "backends/device/dtype.h"
#include "backends/device/status.h"

namespace tandem {

// Sizes from the outermost to the innermost (contiguous) dimension: a matrix is [rows, columns].
using FileShape = absl::InlinedVector<int64_t, 4>;

// One tensor of an open file. The views point into the file and live as long as it is open.
struct FileTensor {
  std::string_view name;
  std::optional<DType> dtype;  // nothing: the file may hold it, this build cannot compute with it
  std::string type_name;       // as the file calls it in lower case: "q4_k", "iq2_xxs", "f8_e4m3"
  FileShape shape;             // row-major; empty for a scalar
  std::span<const std::byte> data;  // dense rows; need not be aligned to the element size
  uint64_t offset = 0;              // of `data`, in bytes from the start of its file
  int shard = 0;                    // which file of a model in several, from 0
};

// Product of the shape; the readers have checked that it fits.
int64_t NumElements(const FileTensor& tensor);

// "[4096, 512]".
std::string ShapeText(std::span<const int64_t> shape);

// The type of `tensor`, or an error that names the tensor and the type that is not supported.
absl::StatusOr<DType> SupportedDType(const FileTensor& tensor);

// The tensors of a file in the order of the file, with look-up by name.
class TensorTable {
 public:
  TensorTable() = default;

  // Refuses an empty name, and a name that occurs twice.
  static absl::StatusOr<TensorTable> Create(std::vector<FileTensor> tensors);

  // The tensor called `name`: Find gives nullptr if there is none, Get an error.
  const FileTensor* Find(std::string_view name) const;
  absl::StatusOr<const FileTensor*> Get(std::string_view name) const;

  std::span<const FileTensor> all() const { return tensors_; }
  size_t size() const { return tensors_.size(); }
  bool empty() const { return tensors_.empty(); }
  const FileTensor& operator[](size_t i) const { return tensors_[i]; }
  auto begin() const { return tensors_.begin(); }
  auto end() const { return tensors_.end(); }

 private:
  std::vector<FileTensor> tensors_;
  std::vector<uint32_t> by_name_;  // indices into tensors_, sorted by name
};

}  // namespace tandem
