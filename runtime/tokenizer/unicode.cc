#include "runtime/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

namespace tandem {
namespace {

// Lead byte -> length, and the range of the second byte (Unicode 3.9, table 3-7).
struct LeadByte {
  size_t length = 0;
  uint8_t second_min = 0x80;
  uint8_t second_max = 0xBF;
};

LeadByte ClassifyLead(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  return {0};
}

// Below U+0300 every character is its own normal form and none combines with the one before.
bool NeedsNormalization(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) >= 0xCC; });
}

std::vector<utf8proc_int32_t> Decompose(std::string_view text) {
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE);
  constexpr int kLongestDecomposition = 32;
  std::vector<utf8proc_int32_t> result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = ReadUtf8(text, i);
    i += step.length;
    utf8proc_int32_t parts[kLongestDecomposition];
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(step.code_point), parts,
                                kLongestDecomposition, kOptions, &boundary);
    if (count >= 0 && count <= kLongestDecomposition) {
      result.insert(result.end(), parts, parts + count);
    } else {
      result.push_back(static_cast<utf8proc_int32_t>(step.code_point));
    }
  }
  return result;
}

int CombiningClass(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// Canonical ordering. utf8proc has its own, which is quadratic in the length of a run of marks.
void OrderMarks(std::vector<utf8proc_int32_t>& code_points) {
  auto is_mark = [](utf8proc_int32_t c) { return CombiningClass(c) != 0; };
  auto run = std::find_if(code_points.begin(), code_points.end(), is_mark);
  while (run != code_points.end()) {
    auto end = std::find_if_not(run, code_points.end(), is_mark);
    std::stable_sort(run, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
    run = std::find_if(end, code_points.end(), is_mark);
  }
}

}  // namespace

Utf8Step ReadUtf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const LeadByte lead = ClassifyLead(byte(position));
  if (lead.length == 0) return {Utf8Kind::kInvalid, 0, 1};
  if (lead.length == 1) return {Utf8Kind::kValid, byte(position), 1};
  char32_t code_point = byte(position) & (0xFFu >> (lead.length + 1));
  for (size_t i = 1; i < lead.length; ++i) {
    if (position + i == text.size()) return {Utf8Kind::kIncomplete, 0, i};
    const uint8_t next = byte(position + i);
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (next < min || next > max) return {Utf8Kind::kInvalid, 0, i};
    code_point = code_point << 6 | (next & 0x3F);
  }
  return {Utf8Kind::kValid, code_point, lead.length};
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Utf8Step step = ReadUtf8(text, i);
    if (step.kind != Utf8Kind::kValid) break;
    i += step.length;
  }
  return i;
}

void AppendUtf8(char32_t code_point, std::string& text) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
  }
  put(0x80 | (code_point & 0x3F));
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string NormalizeNfc(std::string_view text) {
  if (!NeedsNormalization(text)) return std::string(text);
  std::vector<utf8proc_int32_t> code_points = Decompose(text);
  OrderMarks(code_points);
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()), kOptions);
  if (length < 0) return std::string(text);
  code_points.resize(static_cast<size_t>(length));
  std::string result;
  result.reserve(text.size());
  for (utf8proc_int32_t c : code_points) AppendUtf8(static_cast<char32_t>(c), result);
  return result;
}

}  // namespace tandem
