// Looking into model files without understanding the model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tensor_file.h"
#include "runtime/tokenizer.h"
#include "tools/json.h"

namespace tandem {

// A fact that a file states beside its tensors.
struct FileFact {
  std::string key;
  std::string type;  // "u32", "string[4096]"
  std::string text;  // the value for a person; long ones are cut
  Json json;         // the same for a program; arrays of GGUF files as that text
};

// The content of a GGUF file with all its parts, or of the safetensors of a Hugging Face folder.
// The architecture and the tensors' types may be ones that this build does not support.
struct ModelFiles {
  std::string format;  // "GGUF version 3", "safetensors"
  int files = 0;
  int64_t bytes = 0;  // of all of them
  std::vector<FileFact> facts;
  TensorTable tensors;
  std::shared_ptr<const void> keep_open;  // what `tensors` points into
};

// `path` is a GGUF file, a .safetensors file or index, or a folder.
absl::StatusOr<ModelFiles> OpenModelFiles(const std::string& path);

// The tokenizer alone, of a GGUF file, a folder, or a tokenizer.json.
absl::StatusOr<std::unique_ptr<Tokenizer>> OpenTokenizer(const std::string& path);

}  // namespace tandem
