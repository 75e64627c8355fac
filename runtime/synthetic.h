// Models of a published shape with random weights: for measurements of speed and memory where the
// files of the model are not at hand.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/model.h"
#include "runtime/model_tensors.h"
#include "runtime/tensor_report.h"

namespace tandem {

// "CONFIG.json:TYPE", TYPE a quant name such as iq4_nl, q4_k, bf16 (case-insensitive).
struct SyntheticSpec {
  std::string config;
  DType type = DType::kIQ4_NL;
};

// InvalidArgument, naming what is wrong, for a text of another form or a type that weights cannot
// have.
absl::StatusOr<SyntheticSpec> ParseSyntheticSpec(std::string_view text);

// Equal options make equal weights, whatever the number of threads. The layers of a model that was
// cut are not the first of the whole one: weights that feed the residual stream are scaled by the
// number of layers.
struct SyntheticOptions {
  // Of the matrices, as `tandem quantize` would choose: routers and vectors are f32, the output
  // head is q6_k if `type` has fewer bits, and rows that do not fill the blocks of `type` get a
  // type with smaller ones.
  DType type = DType::kIQ4_NL;
  int64_t layers = 0;  // 0: all
  uint64_t seed = 1;
  LatentLayout layout = LatentLayout::kSplit;  // of DeepSeek's attention
  int threads = 0;                             // 0: one for each core
  // Of a model in memory: the device in whose layout the weights lie, so that it needs no copies;
  // none: rows.
  std::string device;
};

// The model that a Hugging Face config.json describes, in memory and without a tokenizer. Weights
// have the mean 0 and a size that keeps activations near 1. Its warnings tell which tensors have
// another type than the one asked for.
// Errors: those of the config; InvalidArgument for options out of range; the device's;
// ResourceExhausted, before any memory is taken, if the weights do not fit.
absl::StatusOr<std::shared_ptr<const Model>> MakeSyntheticModel(std::string_view config_path,
                                                                const SyntheticOptions& options);

struct SyntheticFile {
  std::vector<TensorReport> tensors;
  std::vector<std::string> warnings;  // as those of the model
};

// Writes the same model to the GGUF file `out`, a part at a time. Its vocabulary has a size, but no
// texts.
absl::StatusOr<SyntheticFile> WriteSyntheticGguf(std::string_view config_path, std::string_view out,
                                                 const SyntheticOptions& options,
                                                 const TensorProgress& progress);

}  // namespace tandem
