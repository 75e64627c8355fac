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

// What a model that comes from no file is made of.
struct ModelParts {
  std::string name;  // instead of a path
  ModelConfig config;
  WeightMap weights;
  std::shared_ptr<const void> memory;  // what the weights point into
  std::vector<std::string> warnings;
};

// Immutable after Open, so any number of engines and threads may share it.
class Model {
 public:
  // A GGUF file (any shard of a split one), or a folder with config.json and safetensors.
  // Errors name the file and what is wrong with it.
  static absl::StatusOr<std::shared_ptr<const Model>> Open(std::string_view path);
  // A model without a tokenizer. Errors name what does not fit together.
  static absl::StatusOr<std::shared_ptr<const Model>> Assemble(ModelParts parts);

  const ModelConfig& config() const { return config_; }
  const WeightMap& weights() const { return weights_; }
  // Null if the model came without one.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // What a person should know: parts of the file that were not understood.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::string& path() const { return path_; }
  // Bytes of the files, or of the weights of a model without files.
  int64_t file_bytes() const { return file_bytes_; }

 private:
  Model() = default;
  absl::Status OpenGguf(const std::string& path);
  absl::Status OpenFolder(const std::string& path);
  absl::Status Finish();

  std::string path_;
  std::shared_ptr<const void> memory_;  // keeps what the weights point into: mappings of files
  ModelConfig config_;
  WeightMap weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> warnings_;
  int64_t file_bytes_ = 0;
};

}  // namespace tandem
