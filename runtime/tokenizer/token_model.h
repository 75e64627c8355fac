// The part of a tokenizer that differs by model: text without special tokens, to ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// Thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of `text`, a stretch without special tokens and not empty. Bytes that are not
  // UTF-8 are pieces of their own, one each. `with_prefix`: a space is wanted in front, unless the
  // model does without where there is one.
  virtual absl::Status Encode(std::string_view text, bool with_prefix,
                              std::vector<int32_t>& ids) const = 0;

  // The bytes that the token stands for in a text.
  virtual std::string TokenBytes(int32_t id) const = 0;
};

// `spec` must outlive the result and have token types for all its tokens. Errors: those of
// PreTokenizer::Create; InvalidArgument for a score that is not a number.
absl::StatusOr<std::unique_ptr<TokenModel>> MakeByteBpe(const TokenizerSpec& spec);
absl::StatusOr<std::unique_ptr<TokenModel>> MakeSentencePiece(const TokenizerSpec& spec);

}  // namespace tandem
