// An opened model: what it is, its weights where the files are mapped, its tokenizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model_config.h"
#include "runtime/tokenizer.h"
#include "runtime/weights.h"

namespace tandem {

// Immutable after Open, so any number of engines and threads may share it.
class Model {
 public:
  // A GGUF file (any shard of a split one), or a folder with config.json and safetensors.
  // Errors name the file and what is wrong with it.
  static absl::StatusOr<std::shared_ptr<const Model>> Open(std::string_view path);

  const ModelConfig& config() const { return config_; }
  const WeightMap& weights() const { return weights_; }
  // Null if the model came without one.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // What a person should know: parts of the file that were not understood.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::string& path() const { return path_; }
  // Bytes of the files.
  int64_t file_bytes() const { return file_bytes_; }

 private:
  Model() = default;
  absl::Status OpenGguf(const std::string& path);
  absl::Status OpenFolder(const std::string& path);
  absl::Status Finish();

  std::string path_;
  std::shared_ptr<const void> files_;  // keeps the mappings that the weights point into
  ModelConfig config_;
  WeightMap weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> warnings_;
  int64_t file_bytes_ = 0;
};

}  // namespace tandem
