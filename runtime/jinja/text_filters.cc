// Filters that make text, and tojson.
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

using ValueOr = absl::StatusOr<Value>;

// The text of a value and whether it is markup, which most filters keep.
absl::StatusOr<Str> SoftText(Interpreter& interpreter, const Value& value) {
  TANDEM_ASSIGN_OR_RETURN(std::string text, ToText(value, interpreter.budget()));
  return Str{std::move(text), value.string() && value.string()->markup};
}

template <std::string (*kMap)(std::string_view)>
ValueOr Mapped(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"the filter", {"s"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const Str text, SoftText(interpreter, *bound[0]));
  return Value(kMap(text.text), text.markup);
}

// Jinja's own title: words begin behind white space, hyphens and opening brackets.
std::string TitleOfWords(std::string_view text) {
  std::string out;
  bool starts = true;
  for (const std::string_view point : CodePoints(text)) {
    size_t pos = 0;
    const char32_t c = DecodeNext(point, &pos);
    const bool separator = IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    out += starts && !separator ? Upper(point) : Lower(point);
    starts = separator;
  }
  return out;
}

ValueOr Trim(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"trim", {"value", "chars"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const Str text, SoftText(interpreter, *bound[0]));
  if (!bound[1] || bound[1]->is_none()) {
    return Value(std::string(Strip(text.text, std::nullopt, Side::kBoth)), text.markup);
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string chars, TextOr(bound[1], ""));
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Step(chars.size() * text.text.size() / 64));
  return Value(std::string(Strip(text.text, chars, Side::kBoth)), text.markup);
}

ValueOr Replace(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"replace", {"s", "old", "new", "count"}, 3}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ToText(*bound[0], budget));
  TANDEM_ASSIGN_OR_RETURN(const std::string from, ToText(*bound[1], budget));
  TANDEM_ASSIGN_OR_RETURN(const std::string to, ToText(*bound[2], budget));
  int64_t count = -1;
  if (bound[3] && !bound[3]->is_none()) {
    TANDEM_ASSIGN_OR_RETURN(count, IntegerOr(bound[3], -1));
  }
  TANDEM_RETURN_IF_ERROR(budget.Allocate(CountOf(text, from) * to.size()));
  return Value(ReplaceAll(text, from, to, count));
}

ValueOr String(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"string", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(Str text, SoftText(interpreter, *bound[0]));
  return Value(std::move(text.text), text.markup);
}

ValueOr Safe(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"safe", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(std::string text, ToText(*bound[0], interpreter.budget()));
  return Value(std::move(text), /*markup=*/true);
}

template <bool kForce>
ValueOr Escape(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"escape", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const Str text, SoftText(interpreter, *bound[0]));
  const bool keep = text.markup && !kForce;
  return Value(keep ? text.text : EscapeHtml(text.text), /*markup=*/true);
}

// The lines of `text`, each but perhaps the first and the empty ones behind `indention`.
std::string Indented(std::string_view text, std::string_view indention, bool first, bool blank) {
  const std::string closed = absl::StrCat(Text(text), "\n");
  std::string out;
  bool is_first = true;
  for (const std::string_view line : SplitLines(closed, /*keep_ends=*/false)) {
    if (!is_first) out += '\n';
    if (is_first ? first : blank || !line.empty()) out += indention;
    out += line;
    is_first = false;
  }
  return out;
}

ValueOr Indent(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"indent", {"s", "width", "first", "blank"}, 1},
                                                  std::move(arguments)));
  if (!bound[0]->string()) return TypeError("only strings can be indented");
  std::string indention;
  if (bound[1] && bound[1]->string()) {
    indention = bound[1]->string()->text;
  } else {
    TANDEM_ASSIGN_OR_RETURN(const int64_t width, IntegerOr(bound[1], 4));
    TANDEM_RETURN_IF_ERROR(
        interpreter.budget().Allocate(static_cast<size_t>(std::max<int64_t>(width, 0))));
    indention.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const std::string& text = bound[0]->string()->text;
  const size_t lines = SplitLines(text, /*keep_ends=*/false).size() + 1;
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Allocate(text.size()));
  TANDEM_RETURN_IF_ERROR(interpreter.budget().Allocate(lines * indention.size()));
  return Value(Indented(text, indention, TruthOr(bound[2], false), TruthOr(bound[3], false)),
               bound[0]->string()->markup);
}

ValueOr Center(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"center", {"value", "width"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(Str text, SoftText(interpreter, *bound[0]));
  const Value value(std::move(text.text), text.markup);
  return interpreter.Call(*FindMethod(value, "center"),
                          {{bound[1].value_or(Value(int64_t{80}))}, {}});
}

ValueOr Format(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty()) return TypeError("format misses its argument 'value'");
  TANDEM_ASSIGN_OR_RETURN(const std::string format,
                          ToText(arguments.positional[0], interpreter.budget()));
  if (!arguments.named.empty()) {
    if (arguments.positional.size() > 1) {
      return TypeError("can't handle positional and keyword arguments at the same time");
    }
    Dict dict;
    for (auto& [name, value] : arguments.named) dict.InsertText(name, std::move(value));
    TANDEM_ASSIGN_OR_RETURN(std::string text,
                            FormatPercent(format, Value(std::move(dict)), interpreter.budget()));
    return Value(std::move(text));
  }
  arguments.positional.erase(arguments.positional.begin());
  const Value values(List(std::move(arguments.positional), List::Kind::kTuple));
  TANDEM_ASSIGN_OR_RETURN(std::string text, FormatPercent(format, values, interpreter.budget()));
  return Value(std::move(text));
}

// The `indent` of json.dumps: a text, or a number of spaces.
absl::StatusOr<std::optional<std::string>> JsonIndent(const std::optional<Value>& argument) {
  if (!argument || argument->is_none()) return std::optional<std::string>();
  if (argument->string()) return std::optional<std::string>(argument->string()->text);
  TANDEM_ASSIGN_OR_RETURN(const int64_t width, IntegerOr(argument, 0));
  constexpr int64_t kMaxWidth = 1000;
  if (width > kMaxWidth) return TypeError(absl::StrCat("a JSON indent of ", width));
  return std::optional<std::string>(
      std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
}

ValueOr ToJson(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"tojson", {"x", "ensure_ascii", "indent", "separators", "sort_keys"}, 1},
           std::move(arguments)));
  JsonStyle style;
  style.ensure_ascii = TruthOr(bound[1], false);
  style.sort_keys = TruthOr(bound[4], false);
  TANDEM_ASSIGN_OR_RETURN(style.indent, JsonIndent(bound[2]));
  if (style.indent) style.item_separator = ",";
  if (bound[3] && !bound[3]->is_none()) {
    TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> pair, Items(*bound[3], interpreter.budget()));
    if (pair.size() != 2 || !pair[0].string() || !pair[1].string()) {
      return TypeError("separators must be two strings");
    }
    style.item_separator = pair[0].string()->text;
    style.key_separator = pair[1].string()->text;
  }
  TANDEM_ASSIGN_OR_RETURN(std::string text, DumpJson(*bound[0], style, interpreter.budget()));
  return Value(std::move(text));
}

constexpr FilterEntry kFilters[] = {
    {"capitalize", Mapped<Capitalize>},
    {"center", Center},
    {"e", Escape<false>},
    {"escape", Escape<false>},
    {"forceescape", Escape<true>},
    {"format", Format},
    {"indent", Indent},
    {"lower", Mapped<Lower>},
    {"replace", Replace},
    {"safe", Safe},
    {"string", String},
    {"title", Mapped<TitleOfWords>},
    {"tojson", ToJson},
    {"trim", Trim},
    {"upper", Mapped<Upper>},
};

}  // namespace

FilterTable TextFilters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace tandem::jinja
