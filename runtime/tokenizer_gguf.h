// The tokenizer of a GGUF file.
#pragma once

#include "absl/status/statusor.h"
#include "runtime/gguf_metadata.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// Reads the keys tokenizer.*. NotFound if there is no tokenizer.ggml.model; otherwise the errors of
// TokenizerSpecFromFields, and InvalidArgument naming a key of the wrong type.
absl::StatusOr<TokenizerSpec> TokenizerSpecFromGguf(const GgufMetadata& metadata);

}  // namespace tandem
