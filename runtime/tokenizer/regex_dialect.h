// Regular expressions of tokenizer files, brought to PCRE2's dialect.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tandem {

// The PCRE2 pattern (UTF and UCP mode) that matches what `regex` matches in Oniguruma's Ruby
// syntax, which the tokenizers library uses:
// - \s and \S become the property White_Space (PCRE2 counts U+180E too); ^ and $ become those of
//   lines; \uXXXX becomes \x{XXXX};
// - kept as they are: literals, classes, \p \P \d \D \r \n \t \f \v \xXX, escaped punctuation,
//   quantifiers, alternation, groups (?: (?i: (?= (?! (?<= (?<!.
// Whatever the two dialects may read differently is Unimplemented: nested classes and &&, \w \b \h
// and other escapes, {n,m}+, verbs, inline options, references.
absl::StatusOr<std::string> TranslateRegex(std::string_view regex);

}  // namespace tandem
