// From the text of a template to tokens, with white space trimmed as the tags ask for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem::jinja {

enum class TokenKind {
  kData,           // text outside of all tags
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,  // the text holds the value, escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;  // of the first character, from 1
};

// All tokens of `source`, the last one kEnd. Works with trim_blocks and lstrip_blocks on and
// keep_trailing_newline off.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// InvalidArgument for the template's text at `line`.
absl::Status SyntaxError(int line, std::string_view message);

}  // namespace tandem::jinja
