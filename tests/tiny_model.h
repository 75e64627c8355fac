// A model small enough to be made when a test runs.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace tandem::testing {

// Writes a DeepSeek-V2 model of two layers (one dense, one of experts) with random weights as a
// Hugging Face folder. `tokenizer` is a tokenizer.json of at most 656 tokens.
absl::Status WriteTinyModel(std::string_view folder, std::string_view tokenizer);

}  // namespace tandem::testing
