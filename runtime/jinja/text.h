// Python's view of a string, on UTF-8: code points, white space, splitting, case, literals.
// All functions expect valid UTF-8 and give valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::jinja {

bool IsValidUtf8(std::string_view text);

// The code point at byte `*pos`; moves `*pos` behind it.
char32_t DecodeNext(std::string_view text, size_t* pos);
void AppendUtf8(char32_t code_point, std::string* out);

size_t CountCodePoints(std::string_view text);

// The byte offset of code point number `index`; the size of the text if it has fewer.
size_t ByteOffset(std::string_view text, size_t index);

// Each code point as text of its own.
std::vector<std::string_view> CodePoints(std::string_view text);

// str.isspace() of one code point, which is also what `\s` matches.
bool IsSpace(char32_t code_point);

enum class Side { kBoth, kLeft, kRight };

// str.strip, lstrip, rstrip: white space, or the code points of `chars`.
std::string_view Strip(std::string_view text, std::optional<std::string_view> chars, Side side);

// str.split and str.rsplit. Without a separator at runs of white space; `separator` is not empty;
// a negative `max_splits` is no limit.
std::vector<std::string_view> Split(std::string_view text,
                                    std::optional<std::string_view> separator, int64_t max_splits);
std::vector<std::string_view> SplitFromRight(std::string_view text,
                                             std::optional<std::string_view> separator,
                                             int64_t max_splits);

// str.splitlines.
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

// The number of disjoint occurrences of `part`; an empty one is found between all code points.
size_t CountOf(std::string_view text, std::string_view part);

// str.replace; a negative `max_count` is no limit.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t max_count);

// Simple (one to one) case mappings of Unicode; only the German sharp s grows, as in Python.
std::string Upper(std::string_view text);
std::string Lower(std::string_view text);
std::string SwapCase(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);  // str.title: every run of letters

// Classes of characters, for str.isalpha and its relatives. Each is false for an empty text.
enum class TextClass { kAlpha, kDigit, kAlnum, kSpace, kUpper, kLower };
bool IsAll(std::string_view text, TextClass text_class);

// The Python literal for `text`, as repr() writes it.
std::string ReprText(std::string_view text);

// The text between the quotes of a literal with its escapes resolved, as Python's `unicode-escape`
// does it: unknown escapes stay. Nothing for a malformed \x, \u, \U or \N.
std::optional<std::string> Unescape(std::string_view body);

}  // namespace tandem::jinja
