#include "runtime/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

// Longer operators first.
constexpr std::array<std::string_view, 25> kOperators = {
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// Only "\n" ends lines, and one of them at the end is dropped.
std::string NormalizeNewlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
    } else {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : storage_(std::move(source)), source_(storage_) {}

  absl::StatusOr<std::vector<Token>> Run();

 private:
  bool At(std::string_view text) const { return source_.substr(pos_, text.size()) == text; }
  char Peek(size_t offset = 0) const {
    return pos_ + offset < source_.size() ? source_[pos_ + offset] : '\0';
  }

  size_t FindTag(size_t from) const;
  size_t MatchRawTag(size_t tag, std::string_view name) const;
  size_t AfterSpaces(size_t pos) const;
  void EmitData(size_t tag);
  void Emit(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void MoveTo(size_t pos);
  absl::Status SkipComment();
  absl::Status LexRaw(size_t body);
  absl::Status LexTag(bool is_block);
  bool LexTagEnd(bool is_block);
  absl::Status LexToken();
  absl::Status LexName();
  absl::Status LexString();
  size_t NumberEnd(bool* is_float) const;
  absl::Status LexNumber();
  absl::Status LexOperator();

  std::string storage_;
  std::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  // Whether the token before the current text ended with a newline (or there is none).
  bool line_starting_ = true;
  std::vector<char> open_;  // the closing brackets that are due inside the current tag
  std::vector<Token> tokens_;
};

void Lexer::MoveTo(size_t pos) {
  line_ += static_cast<int>(std::count(source_.begin() + pos_, source_.begin() + pos, '\n'));
  pos_ = pos;
}

size_t Lexer::AfterSpaces(size_t pos) const {
  while (pos < source_.size()) {
    size_t next = pos;
    if (!IsSpace(DecodeNext(source_, &next))) break;
    pos = next;
  }
  return pos;
}

// The next "{{", "{%" or "{#".
size_t Lexer::FindTag(size_t from) const {
  for (size_t at = source_.find('{', from); at != std::string_view::npos;
       at = source_.find('{', at + 1)) {
    const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
    if (next == '{' || next == '%' || next == '#') return at;
  }
  return std::string_view::npos;
}

// The position behind the name of the tag at `tag` if it is `{% name`, else npos.
size_t Lexer::MatchRawTag(size_t tag, std::string_view name) const {
  if (source_.substr(tag, 2) != "{%") return std::string_view::npos;
  size_t pos = tag + 2;
  if (pos < source_.size() && (source_[pos] == '-' || source_[pos] == '+')) ++pos;
  pos = AfterSpaces(pos);
  if (source_.substr(pos, name.size()) != name) return std::string_view::npos;
  return AfterSpaces(pos + name.size());
}

// Emits the text up to the tag at `tag`, without the white space that the tag takes away.
void Lexer::EmitData(size_t tag) {
  std::string_view text = source_.substr(pos_, tag - pos_);
  const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
  if (sign == '-') {
    text = Strip(text, std::nullopt, Side::kRight);
  } else if (sign != '+' && source_[tag + 1] != '{') {
    const size_t line_start = text.rfind('\n') + 1;
    const std::string_view indent = text.substr(line_start);
    const bool at_start = line_start > 0 || line_starting_;
    if (at_start && Strip(indent, std::nullopt, Side::kLeft).empty()) {
      text = text.substr(0, line_start);
    }
  }
  if (!text.empty()) Emit(TokenKind::kData, std::string(text));
  MoveTo(tag);
}

absl::StatusOr<std::vector<Token>> Lexer::Run() {
  while (pos_ < source_.size()) {
    const size_t tag = FindTag(pos_);
    if (tag == std::string_view::npos) {
      Emit(TokenKind::kData, std::string(source_.substr(pos_)));
      MoveTo(source_.size());
      break;
    }
    EmitData(tag);
    if (Peek(1) == '#') {
      TANDEM_RETURN_IF_ERROR(SkipComment());
      continue;
    }
    size_t raw = MatchRawTag(tag, "raw");
    if (raw != std::string_view::npos && source_.substr(raw, 3) == "-%}") {
      TANDEM_RETURN_IF_ERROR(LexRaw(AfterSpaces(raw + 3)));
    } else if (raw != std::string_view::npos && source_.substr(raw, 2) == "%}") {
      TANDEM_RETURN_IF_ERROR(LexRaw(raw + 2));
    } else {
      TANDEM_RETURN_IF_ERROR(LexTag(/*is_block=*/Peek(1) == '%'));
    }
  }
  Emit(TokenKind::kEnd, "");
  return std::move(tokens_);
}

absl::Status Lexer::SkipComment() {
  const size_t body = pos_ + 2 + (Peek(2) == '-' || Peek(2) == '+' ? 1 : 0);
  const size_t close = source_.find("#}", body);
  if (close == std::string_view::npos) return SyntaxError(line_, "missing end of comment tag");
  size_t end = close + 2;
  const char sign = close > body ? source_[close - 1] : '\0';
  if (sign == '-') {
    end = AfterSpaces(end);
  } else if (sign != '+' && end < source_.size() && source_[end] == '\n') {
    ++end;
  }
  line_starting_ = source_[end - 1] == '\n';
  MoveTo(end);
  return absl::OkStatus();
}

// The text of a raw block whose body starts at `body`, and its end tag.
absl::Status Lexer::LexRaw(size_t body) {
  const int first_line = line_;
  line_starting_ = source_[body - 1] == '\n';
  MoveTo(body);
  for (size_t tag = source_.find("{%", body); tag != std::string_view::npos;
       tag = source_.find("{%", tag + 1)) {
    const size_t close = MatchRawTag(tag, "endraw");
    if (close == std::string_view::npos) continue;
    size_t end;
    if (source_.substr(close, 3) == "-%}") {
      end = AfterSpaces(close + 3);
    } else if (source_.substr(close, 3) == "+%}") {
      end = close + 3;
    } else if (source_.substr(close, 2) == "%}") {
      end = close + 2;
      if (end < source_.size() && source_[end] == '\n') ++end;
    } else {
      continue;
    }
    EmitData(tag);
    line_starting_ = source_[end - 1] == '\n';
    MoveTo(end);
    return absl::OkStatus();
  }
  return SyntaxError(first_line, "missing end of raw directive");
}

absl::Status Lexer::LexTag(bool is_block) {
  Emit(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
  const int first_line = line_;
  pos_ += 2;
  if (Peek() == '-' || Peek() == '+') ++pos_;
  open_.clear();
  while (true) {
    if (LexTagEnd(is_block)) return absl::OkStatus();
    if (pos_ >= source_.size()) {
      return SyntaxError(first_line, is_block ? "missing %}" : "missing }}");
    }
    TANDEM_RETURN_IF_ERROR(LexToken());
  }
}

// Closes the tag if its end stands here and no bracket is open.
bool Lexer::LexTagEnd(bool is_block) {
  if (!open_.empty()) return false;
  const std::string_view close = is_block ? "%}" : "}}";
  const char sign = Peek();
  const bool has_sign = sign == '-' || (sign == '+' && is_block);
  if (source_.substr(pos_ + (has_sign ? 1 : 0), 2) != close) return false;
  size_t end = pos_ + (has_sign ? 3 : 2);
  if (sign == '-') {
    end = AfterSpaces(end);
  } else if (is_block && !has_sign && end < source_.size() && source_[end] == '\n') {
    ++end;
  }
  Emit(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
  line_starting_ = source_[end - 1] == '\n';
  MoveTo(end);
  return true;
}

absl::Status Lexer::LexToken() {
  const size_t after_spaces = AfterSpaces(pos_);
  if (after_spaces != pos_) {
    MoveTo(after_spaces);
    return absl::OkStatus();
  }
  const char c = Peek();
  if (IsDigit(c)) return LexNumber();
  if (IsNameStart(c)) return LexName();
  if (c == '\'' || c == '"') return LexString();
  return LexOperator();
}

absl::Status Lexer::LexName() {
  size_t end = pos_;
  while (end < source_.size() && (IsNameStart(source_[end]) || IsDigit(source_[end]))) {
    size_t next = end;
    const char32_t c = DecodeNext(source_, &next);
    if (IsSpace(c)) break;
    const std::string_view character = source_.substr(end, next - end);
    if (c >= 0x80 && !IsAll(character, TextClass::kAlnum)) {
      return SyntaxError(line_, absl::StrCat("unexpected char ", ReprText(character)));
    }
    end = next;
  }
  Emit(TokenKind::kName, std::string(source_.substr(pos_, end - pos_)));
  pos_ = end;
  return absl::OkStatus();
}

absl::Status Lexer::LexString() {
  const char quote = Peek();
  size_t end = pos_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) {
    return SyntaxError(
        line_, absl::StrCat("unexpected char ", ReprText({&quote, 1}), ": the string has no end"));
  }
  std::optional<std::string> value = Unescape(source_.substr(pos_ + 1, end - pos_ - 1));
  if (!value) return SyntaxError(line_, "malformed escape in a string");
  Emit(TokenKind::kString, *std::move(value));
  MoveTo(end + 1);
  return absl::OkStatus();
}

size_t Lexer::NumberEnd(bool* is_float) const {
  const auto digits = [this](size_t pos) {
    while (pos < source_.size() &&
           (IsDigit(source_[pos]) || (source_[pos] == '_' && IsDigit(source_[pos - 1]) &&
                                      pos + 1 < source_.size() && IsDigit(source_[pos + 1])))) {
      ++pos;
    }
    return pos;
  };
  const auto at = [this](size_t pos) { return pos < source_.size() ? source_[pos] : '\0'; };
  size_t end = digits(pos_);
  *is_float = false;
  // `x.0.1` is two subscripts, not one float.
  if (pos_ > 0 && source_[pos_ - 1] == '.') return end;
  if (at(end) == '.' && IsDigit(at(end + 1))) {
    *is_float = true;
    end = digits(end + 1);
  }
  if (at(end) == 'e' || at(end) == 'E') {
    const size_t sign = at(end + 1) == '+' || at(end + 1) == '-' ? 1 : 0;
    if (IsDigit(at(end + 1 + sign))) {
      *is_float = true;
      end = digits(end + 1 + sign);
    }
  }
  return end;
}

absl::Status Lexer::LexNumber() {
  bool is_float = false;
  size_t end = NumberEnd(&is_float);
  const char letter = static_cast<char>(Peek(1) | 0x20);
  if (!is_float && Peek() == '0' && (letter == 'x' || letter == 'o' || letter == 'b')) {
    end = pos_ + 2;
    while (end < source_.size() && (IsHexDigit(source_[end]) || source_[end] == '_')) ++end;
  }
  std::string text(source_.substr(pos_, end - pos_));
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  Emit(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
  pos_ = end;
  return absl::OkStatus();
}

absl::Status Lexer::LexOperator() {
  const auto found = std::find_if(kOperators.begin(), kOperators.end(),
                                  [this](std::string_view text) { return At(text); });
  if (found == kOperators.end()) {
    size_t next = pos_;
    DecodeNext(source_, &next);
    return SyntaxError(
        line_, absl::StrCat("unexpected char ", ReprText(source_.substr(pos_, next - pos_))));
  }
  const char c = found->front();
  if (c == '(' || c == '[' || c == '{') {
    open_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
  } else if (c == ')' || c == ']' || c == '}') {
    if (open_.empty() || open_.back() != c) {
      return SyntaxError(line_, absl::StrCat("unexpected '", Text(*found), "'"));
    }
    open_.pop_back();
  }
  Emit(TokenKind::kOperator, std::string(*found));
  pos_ += found->size();
  return absl::OkStatus();
}

}  // namespace

absl::Status SyntaxError(int line, std::string_view message) {
  return absl::InvalidArgumentError(
      absl::StrCat("chat template, line ", line, ": ", Text(message)));
}

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace tandem::jinja
