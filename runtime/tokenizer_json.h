// Hugging Face tokenizer files.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// Reads tokenizer.json and tokenizer_config.json (which may be "": no such file). Understood are
// - BPE models on bytes: pre-tokenizer ByteLevel, alone or after Split, Digits and Punctuation;
//   normalizer NFC or none;
// - BPE models on characters, spaces written as U+2581: normalizers Prepend and Replace, or
//   pre-tokenizer Metaspace;
// - post-processors that add bos and eos.
// The files are not trusted. Errors: InvalidArgument where they are malformed, Unimplemented with
// the name for what is not understood and would change how text is cut.
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(std::string_view tokenizer_json,
                                                 std::string_view tokenizer_config_json);

}  // namespace tandem
