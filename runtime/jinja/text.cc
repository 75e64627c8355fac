#include "runtime/jinja/text.h"

#include <utf8proc.h>

#include <algorithm>

namespace tandem::jinja {
namespace {

bool Contains(std::string_view chars, char32_t wanted) {
  for (size_t pos = 0; pos < chars.size();) {
    if (DecodeNext(chars, &pos) == wanted) return true;
  }
  return false;
}

// The start of the code point that ends before byte `end`.
size_t PreviousStart(std::string_view text, size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

size_t SkipSpaces(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t next = pos;
    if (!IsSpace(DecodeNext(text, &next))) break;
    pos = next;
  }
  return pos;
}

size_t SkipWord(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    size_t next = pos;
    if (IsSpace(DecodeNext(text, &next))) break;
    pos = next;
  }
  return pos;
}

std::vector<std::string_view> SplitAtSpaces(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  size_t pos = SkipSpaces(text, 0);
  while (pos < text.size()) {
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits) {
      parts.push_back(Strip(text.substr(pos), std::nullopt, Side::kRight));
      break;
    }
    const size_t end = SkipWord(text, pos);
    parts.push_back(text.substr(pos, end - pos));
    pos = SkipSpaces(text, end);
  }
  return parts;
}

std::vector<std::string_view> SplitAtSpacesFromRight(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> parts;
  text = Strip(text, std::nullopt, Side::kRight);
  while (!text.empty()) {
    size_t start = text.size();
    const bool rest = max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits;
    while (start > 0) {
      const size_t previous = PreviousStart(text, start);
      size_t pos = previous;
      if (!rest && IsSpace(DecodeNext(text, &pos))) break;
      start = previous;
    }
    parts.push_back(text.substr(start));
    text = rest ? std::string_view() : Strip(text.substr(0, start), std::nullopt, Side::kRight);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

constexpr char32_t kSharpS = 0xDF;

template <typename Map>
std::string MapCodePoints(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) map(DecodeNext(text, &pos), &out);
  return out;
}

void AppendUpper(char32_t c, std::string* out) {
  if (c == kSharpS) {
    out->append("SS");
  } else {
    AppendUtf8(utf8proc_toupper(c), out);
  }
}

void AppendTitle(char32_t c, std::string* out) {
  if (c == kSharpS) {
    out->append("Ss");
  } else {
    AppendUtf8(utf8proc_totitle(c), out);
  }
}

bool IsLetter(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsCased(char32_t c) { return utf8proc_islower(c) || utf8proc_isupper(c); }

bool IsInClass(char32_t c, TextClass text_class) {
  const bool digit = utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
  switch (text_class) {
    case TextClass::kAlpha:
      return IsLetter(c);
    case TextClass::kDigit:
      return digit;
    case TextClass::kAlnum:
      return digit || IsLetter(c);
    default:
      return IsSpace(c);
  }
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  const auto* data = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  for (utf8proc_ssize_t pos = 0; pos < size;) {
    utf8proc_int32_t code_point;
    const utf8proc_ssize_t length = utf8proc_iterate(data + pos, size - pos, &code_point);
    if (length <= 0) return false;
    pos += length;
  }
  return true;
}

char32_t DecodeNext(std::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const char32_t lead = byte(*pos);
  const int extra = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  char32_t value = extra == 0 ? lead : lead & (0x3F >> extra);
  for (int i = 1; i <= extra; ++i) value = value << 6 | (byte(*pos + i) & 0x3F);
  *pos = std::min(*pos + extra + 1, text.size());
  return value;
}

void AppendUtf8(char32_t code_point, std::string* out) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t size =
      utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

size_t CountCodePoints(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

size_t ByteOffset(std::string_view text, size_t index) {
  size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) DecodeNext(text, &pos);
  return pos;
}

std::vector<std::string_view> CodePoints(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = pos;
    DecodeNext(text, &pos);
    parts.push_back(text.substr(start, pos - start));
  }
  return parts;
}

bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string_view Strip(std::string_view text, std::optional<std::string_view> chars, Side side) {
  const auto strips = [&](char32_t c) { return chars ? Contains(*chars, c) : IsSpace(c); };
  while (side != Side::kRight && !text.empty()) {
    size_t next = 0;
    if (!strips(DecodeNext(text, &next))) break;
    text.remove_prefix(next);
  }
  while (side != Side::kLeft && !text.empty()) {
    const size_t start = PreviousStart(text, text.size());
    size_t pos = start;
    if (!strips(DecodeNext(text, &pos))) break;
    text = text.substr(0, start);
  }
  return text;
}

std::vector<std::string_view> Split(std::string_view text,
                                    std::optional<std::string_view> separator, int64_t max_splits) {
  if (!separator) return SplitAtSpaces(text, max_splits);
  std::vector<std::string_view> parts;
  size_t start = 0;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = text.find(*separator, start);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(start, found - start));
    start = found + separator->size();
  }
  parts.push_back(text.substr(start));
  return parts;
}

std::vector<std::string_view> SplitFromRight(std::string_view text,
                                             std::optional<std::string_view> separator,
                                             int64_t max_splits) {
  if (!separator) return SplitAtSpacesFromRight(text, max_splits);
  std::vector<std::string_view> parts;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t found = text.rfind(*separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(found + separator->size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = pos;
    const char32_t c = DecodeNext(text, &pos);
    if (!IsLineEnd(c)) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(start, (keep_ends ? pos : end) - start));
    start = pos;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

size_t CountOf(std::string_view text, std::string_view part) {
  if (part.empty()) return CountCodePoints(text) + 1;
  size_t count = 0;
  for (size_t pos = text.find(part); pos != std::string_view::npos;
       pos = text.find(part, pos + part.size())) {
    ++count;
  }
  return count;
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to,
                       int64_t max_count) {
  std::string out;
  size_t pos = 0;
  for (int64_t done = 0; max_count < 0 || done < max_count; ++done) {
    const size_t found = text.find(from, pos);
    if (found == std::string_view::npos) break;
    out.append(text, pos, found - pos).append(to);
    pos = found + from.size();
    if (!from.empty()) continue;
    // An empty pattern matches before each code point and at the end.
    if (pos >= text.size()) return out;
    const size_t start = pos;
    DecodeNext(text, &pos);
    out.append(text, start, pos - start);
  }
  return out.append(text.substr(pos));
}

std::string Upper(std::string_view text) { return MapCodePoints(text, AppendUpper); }

std::string Lower(std::string_view text) {
  return MapCodePoints(text,
                       [](char32_t c, std::string* out) { AppendUtf8(utf8proc_tolower(c), out); });
}

std::string SwapCase(std::string_view text) {
  return MapCodePoints(text, [](char32_t c, std::string* out) {
    if (utf8proc_isupper(c)) {
      AppendUtf8(utf8proc_tolower(c), out);
    } else {
      AppendUpper(c, out);
    }
  });
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return "";
  std::string out;
  size_t pos = 0;
  AppendTitle(DecodeNext(text, &pos), &out);
  return out + Lower(text.substr(pos));
}

std::string Title(std::string_view text) {
  bool inside = false;
  return MapCodePoints(text, [&inside](char32_t c, std::string* out) {
    if (inside) {
      AppendUtf8(utf8proc_tolower(c), out);
    } else {
      AppendTitle(c, out);
    }
    inside = IsCased(c) || utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
  });
}

bool IsAll(std::string_view text, TextClass text_class) {
  const bool by_case = text_class == TextClass::kUpper || text_class == TextClass::kLower;
  bool found = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = DecodeNext(text, &pos);
    if (!by_case) {
      if (!IsInClass(c, text_class)) return false;
      found = true;
    } else if (IsCased(c)) {
      if ((text_class == TextClass::kUpper) != (utf8proc_isupper(c) != 0)) return false;
      found = true;
    }
  }
  return found;
}

}  // namespace tandem::jinja
