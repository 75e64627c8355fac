// Tokenizers as the keys tokenizer.* of a GGUF file: the reverse of TokenizerSpecFromGguf.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/gguf_writer.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_fields.h"

namespace tandem {

// The keys that describe `tokenizer`, with `vocab` tokens: ids beyond those of the tokenizer are
// unused tokens "[PAD<id>]". GGUF names pre-tokenizers where other formats spell out their regexes;
// the name is found by what it does: it cuts a collection of difficult texts into the same pieces,
// or at least into the same tokens. `pre`, if not empty, is the name to take instead.
// Unimplemented if no name does, or for a tokenizer of another kind.
absl::StatusOr<GgufTokenizerFields> GgufFieldsOf(const Tokenizer& tokenizer, int64_t vocab,
                                                 std::string_view pre);

void SetTokenizerKeys(const GgufTokenizerFields& fields, GgufHeader& header);

}  // namespace tandem
