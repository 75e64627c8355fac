// Hugging Face checkpoints to GGUF files.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "backends/device/dtype.h"
#include "runtime/tensor_report.h"

namespace tandem {

struct ConvertOptions {
  // Of the matrices: f32, f16 or bf16; nothing: as they are. Vectors (norms, biases) and routers
  // become f32 in any case.
  std::optional<DType> type;
  std::string name;           // general.name; empty: that of the folder
  std::string pre_tokenizer;  // tokenizer.ggml.pre; empty: found by comparing, see GgufFieldsOf
  TensorProgress progress;
};

// Writes the model in `folder` (config.json, safetensors, tokenizer.json, tokenizer_config.json) to
// one GGUF file, tensor by tensor, as llama.cpp's own files are written: experts stacked, the rows
// of llama's queries and keys in the order of interleaved rotation, DeepSeek's attention with
// attn_kv_b. `out` appears whole or not at all.
// Errors: the model's; Unimplemented for what GGUF cannot express; InvalidArgument for another type
// and for numbers that f16 cannot hold (infinite, or no number).
absl::StatusOr<std::vector<TensorReport>> ConvertToGguf(std::string_view folder,
                                                        std::string_view out,
                                                        const ConvertOptions& options);

}  // namespace tandem
