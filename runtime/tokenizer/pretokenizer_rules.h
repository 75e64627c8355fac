// The pre-tokenizers that model files refer to by name.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

struct NamedPreTokenizer {
  std::vector<PreTokenizerRule> rules;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// The pre-tokenizer that `name` (the GGUF key tokenizer.ggml.pre) stands for; NotFound, with the
// name, for others.
absl::StatusOr<NamedPreTokenizer> FindPreTokenizer(std::string_view name);

// The regex of GPT-2, as in the ByteLevel pre-tokenizer of tokenizer.json.
extern const std::string_view kGpt2Regex;

}  // namespace tandem
