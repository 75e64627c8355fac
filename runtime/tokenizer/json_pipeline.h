// The steps of tokenizer.json around its model. Private to runtime/: it includes nlohmann-json.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer/json_fields.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// Reads the members "normalizer", "pre_tokenizer" and "decoder" of `root` into `spec`: its model,
// rules, normalization and prefix. Unimplemented, with the name, for steps that are not understood.
absl::Status ReadPipeline(const Json& root, TokenizerSpec& spec);

// The texts of the tokens that the post-processor puts around a single text.
struct PostProcessing {
  std::optional<std::string> first;
  std::optional<std::string> last;
};
absl::StatusOr<PostProcessing> ReadPostProcessor(const Json& post_processor);

}  // namespace tandem
