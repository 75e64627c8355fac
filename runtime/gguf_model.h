// A model in GGUF files: one file, or several shards seen as one.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "backends/device/status.h"
#include "runtime/gguf.h"

namespace tandem {

class GgufModel {
 public:
  // Opens the model that the file at `path` belongs to: that file alone, or, if it says that it is
  // one of several (`split.count`), all of them, found by their names
  // "<prefix>-00001-of-00003.gguf". Refuses shards that are missing, out of order, of another
  // count, with tensors that occur twice, or whose total is not the promised one.
  static absl::StatusOr<GgufModel> Open(std::string_view path);

  // That of the first shard, which holds all keys.
  const GgufMetadata& metadata() const { return shards_.front().metadata(); }

  // The tensors of all shards; FileTensor::shard is the index into shards().
  const TensorTable& tensors() const { return tensors_; }

  std::span<const GgufFile> shards() const { return shards_; }

 private:
  GgufModel(std::vector<GgufFile> shards, TensorTable tensors)
      : shards_(std::move(shards)), tensors_(std::move(tensors)) {}

  std::vector<GgufFile> shards_;
  TensorTable tensors_;
};

}  // namespace tandem
