// Reader of safetensors files and of Hugging Face checkpoints made of them.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/device/status.h"
#include "runtime/mapped_file.h"
#include "runtime/tensor_file.h"

namespace tandem {

// One file. A file that opens is sound as a container: the header is JSON of the right form, and
// the tensors fill the data from its first to its last byte without a gap or an overlap, each with
// as many bytes as its shape and type need. Types that Tandem does not compute with are listed,
// with their bytes, and have no dtype.
class SafetensorsFile {
 public:
  // Maps and checks the file at `path`; errors begin with the path.
  static absl::StatusOr<SafetensorsFile> Open(std::string_view path);

  // The same for bytes in memory, which must outlive the result.
  static absl::StatusOr<SafetensorsFile> Parse(std::span<const std::byte> bytes);

  // In the order of their data.
  const TensorTable& tensors() const { return tensors_; }

  // The texts under "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // The mapping under an opened file, to give advice on ranges of it; nullptr after Parse.
  const MappedFile* mapping() const { return mapping_.has_value() ? &*mapping_ : nullptr; }

 private:
  SafetensorsFile() = default;

  std::optional<MappedFile> mapping_;
  std::vector<std::string> names_;  // what the tensors' names view
  std::map<std::string, std::string> metadata_;
  TensorTable tensors_;
};

// All tensors of a checkpoint.
class SafetensorsModel {
 public:
  // `path` is a .safetensors file, an index ("model.safetensors.index.json"), or a directory that
  // holds such an index or "model.safetensors". With an index, its files are opened beside it;
  // each tensor it lists must be in the file it names, and no tensor may occur twice.
  static absl::StatusOr<SafetensorsModel> Open(std::string_view path);

  // The tensors of all shards; FileTensor::shard is the index into shards().
  const TensorTable& tensors() const { return tensors_; }

  std::span<const SafetensorsFile> shards() const { return shards_; }

 private:
  SafetensorsModel(std::vector<SafetensorsFile> shards, TensorTable tensors)
      : shards_(std::move(shards)), tensors_(std::move(tensors)) {}

  std::vector<SafetensorsFile> shards_;
  TensorTable tensors_;
};

// The content of an index: the file of each tensor. Refuses text that is not of that form, and
// file names that are more than a plain name ending in ".safetensors". Public for tests.
absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(std::string_view json);

}  // namespace tandem
