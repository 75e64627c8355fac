#include "runtime/tokenizer/regex_dialect.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "backends/device/status.h"

namespace tandem {
namespace {

constexpr size_t kLongestRegex = 16 << 10;

// The members of White_Space, to stand inside a class.
constexpr std::string_view kWhiteSpace =
    R"(\x09-\x0D\x20\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

class Translator {
 public:
  explicit Translator(std::string_view regex) : regex_(regex) {}

  absl::StatusOr<std::string> Run() {
    while (position_ < regex_.size()) TANDEM_RETURN_IF_ERROR(Next());
    if (in_class_) return Refuse("a class without end");
    return std::move(result_);
  }

 private:
  absl::Status Next() {
    const char c = regex_[position_];
    if (c == '\\') return Escape();
    if (in_class_) return InClass(c);
    switch (c) {
      case '[':
        return OpenClass();
      case '(':
        return OpenGroup();
      case '}':
        if (Rest().substr(1).starts_with('+')) return Refuse("the quantifier {...}+");
        return Copy(1);
      case '^':
        return Replace(R"((?<=\n|\A))", 1);
      case '$':
        return Replace(R"((?=\n|\z))", 1);
      default:
        return Copy(1);
    }
  }

  absl::Status InClass(char c) {
    if (c == '[') return Refuse("a nested class");
    if (Rest().starts_with("&&")) return Refuse("a class with &&");
    if (c == ']') in_class_ = false;
    return Copy(1);
  }

  absl::Status OpenClass() {
    in_class_ = true;
    const size_t length = Rest().starts_with("[^") ? 2 : 1;
    if (Rest().substr(length).starts_with(']')) return Refuse("a class that starts with ]");
    return Copy(length);
  }

  absl::Status OpenGroup() {
    constexpr std::array<std::string_view, 6> kGroups = {
        "(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"};
    for (std::string_view group : kGroups) {
      if (Rest().starts_with(group)) return Copy(group.size());
    }
    if (Rest().starts_with("(?") || Rest().starts_with("(*")) return Refuse("this kind of group");
    return Copy(1);
  }

  absl::Status Escape() {
    if (Rest().size() < 2) return Refuse("a \\ at the end");
    const char c = Rest()[1];
    switch (c) {
      case 's':
        if (in_class_) return Replace(kWhiteSpace, 2);
        return Replace(absl::StrCat("[", Text(kWhiteSpace), "]"), 2);
      case 'S':
        if (in_class_) return Refuse("\\S inside a class");
        return Replace(absl::StrCat("[^", Text(kWhiteSpace), "]"), 2);
      case 'u':
        return HexEscape(4);
      case 'x':
        return Rest().substr(2).starts_with('{') ? CopyBraces() : HexEscape(2);
      case 'p':
      case 'P':
        return CopyBraces();
      default:
        break;
    }
    constexpr std::string_view kKept = "dDrntfv";
    const bool punctuation = std::ispunct(static_cast<unsigned char>(c)) != 0;
    if (!punctuation && kKept.find(c) == std::string_view::npos) {
      return Refuse(absl::StrCat("the escape \\", std::string(1, c)));
    }
    // PCRE2's \v is a set of characters, Oniguruma's is one.
    if (c == 'v') return Replace("\\x0B", 2);
    return Copy(2);
  }

  // An escape of the form \p{...}.
  absl::Status CopyBraces() {
    const size_t end = Rest().find('}');
    if (!Rest().substr(2).starts_with('{') || end == std::string_view::npos) {
      return Refuse("an escape without {...}");
    }
    return Copy(end + 1);
  }

  absl::Status HexEscape(size_t digits) {
    const std::string_view hex = Rest().substr(2, digits);
    const bool complete = hex.size() == digits && std::all_of(hex.begin(), hex.end(), [](char c) {
                            return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                          });
    if (!complete) return Refuse("an escape with too few digits");
    return Replace(absl::StrCat("\\x{", Text(hex), "}"), 2 + digits);
  }

  std::string_view Rest() const { return regex_.substr(position_); }

  absl::Status Copy(size_t length) { return Replace(Rest().substr(0, length), length); }

  absl::Status Replace(std::string_view text, size_t length) {
    result_.append(text);
    position_ += length;
    return absl::OkStatus();
  }

  absl::Status Refuse(std::string_view what) const {
    return absl::UnimplementedError(absl::StrCat("pre-tokenizer regex \"", Text(regex_),
                                                 "\" has at ", position_, ": ", Text(what)));
  }

  std::string_view regex_;
  size_t position_ = 0;
  bool in_class_ = false;
  std::string result_;
};

}  // namespace

absl::StatusOr<std::string> TranslateRegex(std::string_view regex) {
  if (regex.size() > kLongestRegex) {
    return absl::UnimplementedError(
        absl::StrCat("pre-tokenizer regex of ", regex.size(), " bytes; at most ", kLongestRegex));
  }
  // White space that reaches the end of a line. Word for word it is quadratic: each place of a run
  // would be tried. Only the first can be a match that no earlier place takes.
  if (regex == R"(\s+$)") {
    return absl::StrCat("(?<![", Text(kWhiteSpace), "])[", Text(kWhiteSpace), R"(]+(?=\n|\z))");
  }
  return Translator(regex).Run();
}

}  // namespace tandem
