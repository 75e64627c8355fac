// UTF-8 and the few facts of Unicode that tokenizers need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tandem {

enum class Utf8Kind : uint8_t {
  kValid,
  kInvalid,     // no continuation can make it valid
  kIncomplete,  // the text ends inside what may become a character
};

struct Utf8Step {
  Utf8Kind kind = Utf8Kind::kInvalid;
  char32_t code_point = 0;  // of a valid character
  size_t length = 1;  // bytes; of an invalid sequence, its maximal subpart (Unicode 3.9, D93b)
};

// Reads the character at `position`, which must be inside `text`.
Utf8Step ReadUtf8(std::string_view text, size_t position);

// Length in bytes of the valid UTF-8 that `text` starts with.
size_t ValidUtf8Prefix(std::string_view text);

// Appends a code point, which must be a scalar value.
void AppendUtf8(char32_t code_point, std::string& text);

// Unicode property White_Space.
bool IsWhiteSpace(char32_t code_point);

// Normalization form C of valid UTF-8. O(n log n) even where combining marks never end.
std::string NormalizeNfc(std::string_view text);

}  // namespace tandem
