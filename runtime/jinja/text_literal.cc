// Python's string literals: repr and the resolution of escapes.
#include <utf8proc.h>

#include <cstdio>

#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void AppendEscaped(char32_t c, std::string* out) {
  char buffer[16];
  const char* format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  const int size = std::snprintf(buffer, sizeof(buffer), format, static_cast<unsigned>(c));
  out->append(buffer, static_cast<size_t>(size));
}

int DigitValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 16;
}

// Reads up to `max_digits` digits of `base` at `*pos`.
struct Number {
  char32_t value = 0;
  size_t digits = 0;
};
Number ReadDigits(std::string_view text, size_t* pos, int base, size_t max_digits) {
  Number number;
  while (number.digits < max_digits && *pos < text.size() && DigitValue(text[*pos]) < base) {
    number.value = number.value * base + DigitValue(text[(*pos)++]);
    ++number.digits;
  }
  return number;
}

// The character that a one-letter escape stands for; 0 if it is none.
char SimpleEscape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return 0;
  }
}

// Resolves the escape whose letter is at `*pos`; false if it is malformed.
bool AppendEscape(std::string_view body, size_t* pos, std::string* out) {
  const char c = body[*pos];
  if (const char simple = SimpleEscape(c)) {
    out->push_back(simple);
    ++*pos;
    return true;
  }
  if (c == '\n') {
    ++*pos;
    return true;
  }
  if (c >= '0' && c <= '7') {
    AppendUtf8(ReadDigits(body, pos, 8, 3).value, out);
    return true;
  }
  const size_t width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (width == 0) {
    out->push_back('\\');
    return c != 'N';
  }
  ++*pos;
  const Number number = ReadDigits(body, pos, 16, width);
  const bool surrogate = number.value >= 0xD800 && number.value < 0xE000;
  if (number.digits != width || number.value > 0x10FFFF || surrogate) return false;
  AppendUtf8(number.value, out);
  return true;
}

}  // namespace

std::string ReprText(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = DecodeNext(text, &pos);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.append({'\\', static_cast<char>(c)});
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (IsPrintable(c)) {
      AppendUtf8(c, &out);
    } else {
      AppendEscaped(c, &out);
    }
  }
  out.push_back(quote);
  return out;
}

std::optional<std::string> Unescape(std::string_view body) {
  std::string out;
  out.reserve(body.size());
  for (size_t pos = 0; pos < body.size();) {
    if (body[pos] != '\\' || pos + 1 == body.size()) {
      out.push_back(body[pos++]);
      continue;
    }
    ++pos;
    if (!AppendEscape(body, &pos, &out)) return std::nullopt;
  }
  return out;
}

}  // namespace tandem::jinja
