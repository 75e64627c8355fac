// The methods of str.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/methods.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

using ValueOr = absl::StatusOr<Value>;

// Charges a pass over the text and a result of about its size.
absl::Status Charge(Interpreter& interpreter, const Value& self) {
  return interpreter.budget().Allocate(self.string()->text.size());
}

// Results of methods of a markup text are markup too.
Value Like(const Value& self, std::string text) {
  return Value(std::move(text), self.string()->markup);
}

template <std::string (*kMap)(std::string_view)>
ValueOr Mapped(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_RETURN_IF_ERROR(Bind({"the method", {}}, std::move(arguments)).status());
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  return Like(self, kMap(self.string()->text));
}

template <TextClass kClass>
ValueOr Is(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_RETURN_IF_ERROR(Bind({"the method", {}}, std::move(arguments)).status());
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  return Value(IsAll(self.string()->text, kClass));
}

template <Side kSide>
ValueOr Stripped(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"strip", {"chars"}}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  std::optional<std::string_view> chars;
  if (bound[0] && !bound[0]->is_none()) {
    if (!bound[0]->string()) return TypeError("strip arg must be None or str");
    chars = bound[0]->string()->text;
    TANDEM_RETURN_IF_ERROR(
        interpreter.budget().Step(chars->size() * self.string()->text.size() / 64));
  }
  return Like(self, std::string(Strip(self.string()->text, chars, kSide)));
}

ValueOr ListOf(Interpreter& interpreter, const Value& self,
               const std::vector<std::string_view>& parts) {
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Allocate(parts.size() * sizeof(Str)));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(Like(self, std::string(part)));
  return Checked(List(std::move(items)), interpreter.budget());
}

template <bool kFromRight>
ValueOr Splits(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"split", {"sep", "maxsplit"}}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  TANDEM_ASSIGN_OR_RETURN(const int64_t max_splits, IntegerOr(bound[1], -1));
  std::optional<std::string_view> separator;
  if (bound[0] && !bound[0]->is_none()) {
    if (!bound[0]->string()) return TypeError("must be str or None to split at");
    separator = bound[0]->string()->text;
    if (separator->empty()) return absl::InvalidArgumentError("empty separator");
  }
  const std::string_view text = self.string()->text;
  return ListOf(interpreter, self,
                kFromRight ? SplitFromRight(text, separator, max_splits)
                           : Split(text, separator, max_splits));
}

ValueOr LinesOf(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"splitlines", {"keepends"}}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  return ListOf(interpreter, self, SplitLines(self.string()->text, TruthOr(bound[0], false)));
}

template <bool kFromRight>
ValueOr Partition(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"partition", {"sep"}, 1}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  TANDEM_ASSIGN_OR_RETURN(const std::string separator, TextOr(bound[0], ""));
  if (separator.empty()) return absl::InvalidArgumentError("empty separator");
  const std::string& text = self.string()->text;
  const size_t at = kFromRight ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts =
      kFromRight ? std::vector<Value>{"", "", text} : std::vector<Value>{text, "", ""};
  if (at != std::string::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  }
  return Checked(List(std::move(parts), List::Kind::kTuple), interpreter.budget());
}

// The text between the code points `start` and `end` of the arguments, and where it begins.
struct Window {
  std::string_view text;
  size_t begin = 0;      // in bytes
  bool possible = true;  // false if it starts behind the end of the text
};
absl::StatusOr<Window> WindowOf(const Value& self, const Bound& bound) {
  const std::string_view text = self.string()->text;
  const auto size = static_cast<int64_t>(CountCodePoints(text));
  const auto clip = [size](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const auto given = [](const std::optional<Value>& value) {
    return value && !value->is_none() ? value : std::nullopt;
  };
  TANDEM_ASSIGN_OR_RETURN(const int64_t start, IntegerOr(given(bound[1]), 0));
  TANDEM_ASSIGN_OR_RETURN(const int64_t end, IntegerOr(given(bound[2]), size));
  if (start > size || clip(start) > clip(end)) return Window{{}, 0, false};
  const size_t begin = ByteOffset(text, static_cast<size_t>(clip(start)));
  const size_t stop = ByteOffset(text, static_cast<size_t>(clip(end)));
  return Window{text.substr(begin, stop - begin), begin};
}

template <bool kAtEnd>
ValueOr HasAffix(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound, Bind({"startswith", {"prefix", "start", "end"}, 1}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Read(self.string()->text.size()));
  TANDEM_ASSIGN_OR_RETURN(const Window window, WindowOf(self, bound));
  std::vector<Value> affixes = {*bound[0]};
  if (bound[0]->list() && bound[0]->list()->kind == List::Kind::kTuple) {
    affixes = bound[0]->list()->items;
  }
  for (const Value& affix : affixes) {
    if (!affix.string()) return TypeError("the first argument must be str or a tuple of str");
    const std::string& text = affix.string()->text;
    const bool found = kAtEnd ? window.text.ends_with(text) : window.text.starts_with(text);
    if (window.possible && found) return Value(true);
  }
  return Value(false);
}

template <bool kFromRight, bool kMustExist>
ValueOr Finds(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"find", {"sub", "start", "end"}, 1}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Read(self.string()->text.size()));
  TANDEM_ASSIGN_OR_RETURN(const std::string part, TextOr(bound[0], ""));
  TANDEM_ASSIGN_OR_RETURN(const Window window, WindowOf(self, bound));
  const size_t found = !window.possible ? std::string::npos
                       : kFromRight     ? window.text.rfind(part)
                                        : window.text.find(part);
  if (found == std::string::npos) {
    if (kMustExist) return absl::InvalidArgumentError("substring not found");
    return Value(int64_t{-1});
  }
  const std::string_view before =
      std::string_view(self.string()->text).substr(0, window.begin + found);
  return Value(static_cast<int64_t>(CountCodePoints(before)));
}

ValueOr Counts(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"count", {"sub", "start", "end"}, 1}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Read(self.string()->text.size()));
  TANDEM_ASSIGN_OR_RETURN(const std::string part, TextOr(bound[0], ""));
  TANDEM_ASSIGN_OR_RETURN(const Window window, WindowOf(self, bound));
  return Value(static_cast<int64_t>(window.possible ? CountOf(window.text, part) : 0));
}

ValueOr Replaces(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"replace", {"old", "new", "count"}, 2}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const std::string from, TextOr(bound[0], ""));
  TANDEM_ASSIGN_OR_RETURN(const std::string to, TextOr(bound[1], ""));
  TANDEM_ASSIGN_OR_RETURN(const int64_t count, IntegerOr(bound[2], -1));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  TANDEM_RETURN_IF_ERROR(
      interpreter.budget().Allocate(CountOf(self.string()->text, from) * to.size()));
  return Like(self, ReplaceAll(self.string()->text, from, to, count));
}

template <bool kSuffix>
ValueOr RemoveAffix(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"remove", {"affix"}, 1}, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  TANDEM_ASSIGN_OR_RETURN(const std::string affix, TextOr(bound[0], ""));
  std::string_view text = self.string()->text;
  if (kSuffix && text.ends_with(affix)) text.remove_suffix(affix.size());
  if (!kSuffix && text.starts_with(affix)) text.remove_prefix(affix.size());
  return Like(self, std::string(text));
}

ValueOr JoinItems(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"join", {"iterable"}, 1}, std::move(arguments)));
  if (bound[0]->number() || bound[0]->is_none()) return TypeError("can only join an iterable");
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], interpreter.budget()));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].string()) {
      return TypeError(absl::StrCat("sequence item ", i, ": expected str instance, ",
                                    items[i].TypeName(), " found"));
    }
    const std::string& part = items[i].string()->text;
    TANDEM_RETURN_IF_ERROR(interpreter.budget().Allocate(part.size() + self.string()->text.size()));
    if (i > 0) text += self.string()->text;
    text += part;
  }
  return Like(self, std::move(text));
}

enum class Align { kLeft, kRight, kCenter };

template <Align kAlign>
ValueOr Pads(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"just", {"width", "fillchar"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const int64_t width, IntegerOr(bound[0], 0));
  TANDEM_ASSIGN_OR_RETURN(const std::string fill, TextOr(bound[1], " "));
  if (CountCodePoints(fill) != 1) return TypeError("the fill must be exactly one character long");
  const auto size = static_cast<int64_t>(CountCodePoints(self.string()->text));
  const int64_t missing = std::max<int64_t>(width - size, 0);
  TANDEM_RETURN_IF_ERROR(Charge(interpreter, self));
  TANDEM_ASSIGN_OR_RETURN(const Value padding, ApplyBinary(BinaryOp::kMul, Value(fill),
                                                           Value(missing), interpreter.budget()));
  const std::string& all = padding.string()->text;
  // str.center puts the odd one to the left when the width is odd.
  const int64_t left = kAlign == Align::kLeft    ? 0
                       : kAlign == Align::kRight ? missing
                                                 : missing / 2 + (missing & width & 1);
  const size_t left_bytes = static_cast<size_t>(left) * fill.size();
  return Like(self, all.substr(0, left_bytes) + self.string()->text + all.substr(left_bytes));
}

constexpr MethodEntry kTextMethods[] = {
    {"strip", Stripped<Side::kBoth>},
    {"lstrip", Stripped<Side::kLeft>},
    {"rstrip", Stripped<Side::kRight>},
    {"split", Splits<false>},
    {"rsplit", Splits<true>},
    {"splitlines", LinesOf},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"startswith", HasAffix<false>},
    {"endswith", HasAffix<true>},
    {"find", Finds<false, false>},
    {"rfind", Finds<true, false>},
    {"index", Finds<false, true>},
    {"rindex", Finds<true, true>},
    {"count", Counts},
    {"replace", Replaces},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"join", JoinItems},
    {"upper", Mapped<Upper>},
    {"lower", Mapped<Lower>},
    {"casefold", Mapped<Lower>},
    {"title", Mapped<Title>},
    {"capitalize", Mapped<Capitalize>},
    {"swapcase", Mapped<SwapCase>},
    {"ljust", Pads<Align::kLeft>},
    {"rjust", Pads<Align::kRight>},
    {"center", Pads<Align::kCenter>},
    {"isalpha", Is<TextClass::kAlpha>},
    {"isdigit", Is<TextClass::kDigit>},
    {"isdecimal", Is<TextClass::kDigit>},
    {"isnumeric", Is<TextClass::kDigit>},
    {"isalnum", Is<TextClass::kAlnum>},
    {"isspace", Is<TextClass::kSpace>},
    {"isupper", Is<TextClass::kUpper>},
    {"islower", Is<TextClass::kLower>},
    {"format", nullptr},
    {"format_map", nullptr},
    {"encode", nullptr},
    {"expandtabs", nullptr},
    {"isascii", nullptr},
    {"isidentifier", nullptr},
    {"isprintable", nullptr},
    {"istitle", nullptr},
    {"maketrans", nullptr},
    {"translate", nullptr},
    {"zfill", nullptr},
};

}  // namespace

MethodTable TextMethods() { return {std::begin(kTextMethods), std::end(kTextMethods)}; }

}  // namespace tandem::jinja
