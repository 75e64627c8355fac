// The tokenizer keys of a GGUF file, and the tokenizer they describe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// Values of the keys "tokenizer.ggml.<...>"; absent keys are nullopt, or empty.
struct GgufTokenizerFields {
  std::string model;                      // .model: "gpt2" or "llama"
  std::optional<std::string> pre;         // .pre
  std::vector<std::string> tokens;        // .tokens
  std::vector<int32_t> token_types;       // .token_type
  std::vector<float> scores;              // .scores
  std::vector<std::string> merges;        // .merges: "left right"
  std::optional<uint32_t> bos_id;         // .bos_token_id
  std::optional<uint32_t> eos_id;         // .eos_token_id
  std::optional<uint32_t> eot_id;         // .eot_token_id
  std::optional<uint32_t> eom_id;         // .eom_token_id
  std::optional<uint32_t> unk_id;         // .unknown_token_id
  std::optional<uint32_t> sep_id;         // .seperator_token_id (the file format spells it so)
  std::optional<uint32_t> pad_id;         // .padding_token_id
  std::optional<uint32_t> mask_id;        // .mask_token_id
  std::optional<uint32_t> fim_prefix_id;  // .fim_pre_token_id
  std::optional<uint32_t> fim_suffix_id;  // .fim_suf_token_id
  std::optional<uint32_t> fim_middle_id;  // .fim_mid_token_id
  std::optional<bool> add_bos;            // .add_bos_token
  std::optional<bool> add_eos;            // .add_eos_token
  std::optional<bool> add_space_prefix;   // .add_space_prefix
  std::string chat_template;              // tokenizer.chat_template
};

// Fills in the defaults of the format. A missing `pre` is taken for "gpt-2", with a warning; a
// special token id outside the vocabulary is left out, with a warning. A byte-level model has no
// bos and eos where the file names none.
// Errors: Unimplemented for another model or pre-tokenizer, with its name; InvalidArgument for an
// unknown token type or a merge that is not of the form "left right".
absl::StatusOr<TokenizerSpec> TokenizerSpecFromFields(GgufTokenizerFields fields);

// The two sides of a merge as files write it: parted by the first space after the first byte.
// InvalidArgument where there is none.
absl::StatusOr<std::pair<std::string, std::string>> ParseMerge(const std::string& merge);

}  // namespace tandem
