#include "runtime/jinja/format.h"

#include <array>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

// Writes reprs into one buffer; what is written is charged to the budget.
class Writer {
 public:
  explicit Writer(Budget& budget) : budget_(budget) {}

  absl::Status Write(const Value& value);
  std::string Take() && { return std::move(out_); }

 private:
  absl::Status Append(std::string_view text) {
    out_.append(text);
    TANDEM_RETURN_IF_ERROR(budget_.Step());
    return budget_.Allocate(text.size());
  }
  absl::Status WriteItems(const std::vector<Value>& items);
  absl::Status WriteList(const List& list);
  absl::Status WriteDict(const Dict& dict);
  absl::Status WriteView(const DictView& view);

  Budget& budget_;
  std::string out_;
};

absl::Status Writer::WriteItems(const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) TANDEM_RETURN_IF_ERROR(Append(", "));
    TANDEM_RETURN_IF_ERROR(Write(items[i]));
  }
  return absl::OkStatus();
}

absl::Status Writer::WriteList(const List& list) {
  if (list.kind == List::Kind::kRange) return Append(list.range);
  const bool tuple = list.kind == List::Kind::kTuple;
  TANDEM_RETURN_IF_ERROR(Append(tuple ? "(" : "["));
  TANDEM_RETURN_IF_ERROR(WriteItems(list.items));
  return Append(!tuple ? "]" : list.items.size() == 1 ? ",)" : ")");
}

absl::Status Writer::WriteDict(const Dict& dict) {
  TANDEM_RETURN_IF_ERROR(Append("{"));
  bool first = true;
  for (const auto& [key, value] : dict.items) {
    if (!std::exchange(first, false)) TANDEM_RETURN_IF_ERROR(Append(", "));
    TANDEM_RETURN_IF_ERROR(Write(key));
    TANDEM_RETURN_IF_ERROR(Append(": "));
    TANDEM_RETURN_IF_ERROR(Write(value));
  }
  return Append("}");
}

absl::Status Writer::WriteView(const DictView& view) {
  TANDEM_RETURN_IF_ERROR(Append(absl::StrCat(Value(view).TypeName(), "([")));
  bool first = true;
  for (const auto& [key, value] : view.dict->items) {
    if (!std::exchange(first, false)) TANDEM_RETURN_IF_ERROR(Append(", "));
    const bool pair = view.part == DictView::Part::kItems;
    if (pair) TANDEM_RETURN_IF_ERROR(Append("("));
    if (view.part != DictView::Part::kValues) TANDEM_RETURN_IF_ERROR(Write(key));
    if (pair) TANDEM_RETURN_IF_ERROR(Append(", "));
    if (view.part != DictView::Part::kKeys) TANDEM_RETURN_IF_ERROR(Write(value));
    if (pair) TANDEM_RETURN_IF_ERROR(Append(")"));
  }
  return Append("])");
}

absl::Status Writer::Write(const Value& value) {
  if (value.is_undefined()) return Append("Undefined");
  if (value.is_none()) return Append("None");
  if (const auto* boolean = value.As<bool>()) return Append(*boolean ? "True" : "False");
  if (const auto* integer = value.As<int64_t>()) return Append(absl::StrCat(*integer));
  if (const auto* number = value.As<double>()) return Append(FloatText(*number));
  if (const Str* string = value.string()) {
    const std::string repr = ReprText(string->text);
    return Append(string->markup ? absl::StrCat("Markup(", repr, ")") : repr);
  }
  if (value.list()) return WriteList(*value.list());
  if (value.dict()) return WriteDict(*value.dict());
  if (value.object()) return Append(value.object()->ToText());
  if (value.generator()) return Append("<generator object>");
  return WriteView(*value.As<DictView>());
}

// One conversion of a %-format: %[(key)][flags][width][.precision]letter.
struct Conversion {
  std::string key;
  bool has_key = false;
  std::string flags;
  int width = 0;
  int precision = -1;
  char letter = 0;
};

constexpr int kMaxFormatWidth = 10000;

absl::StatusOr<int> ParseFormatNumber(std::string_view format, size_t* pos) {
  int number = 0;
  for (; *pos < format.size() && format[*pos] >= '0' && format[*pos] <= '9'; ++*pos) {
    number = number * 10 + (format[*pos] - '0');
    if (number > kMaxFormatWidth) return TypeError("width in a format string is too large");
  }
  return number;
}

absl::StatusOr<Conversion> ParseConversion(std::string_view format, size_t* pos) {
  Conversion conversion;
  const auto at = [&] { return *pos < format.size() ? format[*pos] : '\0'; };
  if (at() == '(') {
    const size_t close = format.find(')', *pos);
    if (close == std::string_view::npos) return TypeError("incomplete format key");
    conversion.key = std::string(format.substr(*pos + 1, close - *pos - 1));
    conversion.has_key = true;
    *pos = close + 1;
  }
  while (at() != '\0' && std::string_view("-+ 0#").find(at()) != std::string_view::npos) {
    conversion.flags.push_back(format[(*pos)++]);
  }
  TANDEM_ASSIGN_OR_RETURN(conversion.width, ParseFormatNumber(format, pos));
  if (at() == '.') {
    ++*pos;
    TANDEM_ASSIGN_OR_RETURN(conversion.precision, ParseFormatNumber(format, pos));
  }
  if (at() == '\0') return TypeError("incomplete format");
  conversion.letter = format[(*pos)++];
  return conversion;
}

absl::StatusOr<std::string> FormatNumber(const Conversion& conversion, const Value& value) {
  const bool integral = std::string_view("dixXo").find(conversion.letter) != std::string_view::npos;
  if (!value.number()) {
    return TypeError(absl::StrCat("%", std::string(1, conversion.letter),
                                  " format: a number is required, not ", value.TypeName()));
  }
  std::string format = absl::StrCat("%", conversion.flags);
  if (conversion.width > 0) absl::StrAppend(&format, conversion.width);
  if (conversion.precision >= 0) absl::StrAppend(&format, ".", conversion.precision);
  const char letter = conversion.letter == 'i' ? 'd' : conversion.letter;
  absl::StrAppend(&format, integral ? "ll" : "", std::string(1, letter));
  const auto print = [&](auto number) {
    std::string out(static_cast<size_t>(std::snprintf(nullptr, 0, format.c_str(), number)), '\0');
    std::snprintf(out.data(), out.size() + 1, format.c_str(), number);
    return out;
  };
  if (!integral) return print(*value.number());
  if (value.integer()) return print(static_cast<long long>(*value.integer()));
  if (letter != 'd' || !(std::abs(*value.number()) < 9e18)) {
    return TypeError(absl::StrCat("%", std::string(1, letter), " format: an integer is required"));
  }
  return print(static_cast<long long>(*value.number()));
}

absl::StatusOr<std::string> FormatOne(const Conversion& conversion, const Value& value,
                                      Budget& budget) {
  std::string text;
  switch (conversion.letter) {
    case 's': {
      TANDEM_ASSIGN_OR_RETURN(text, ToText(value, budget));
      break;
    }
    case 'r': {
      TANDEM_ASSIGN_OR_RETURN(text, Repr(value, budget));
      break;
    }
    default:
      if (std::string_view("dixXofFeEgG").find(conversion.letter) == std::string_view::npos) {
        return TypeError(
            absl::StrCat("unsupported format character '", std::string(1, conversion.letter), "'"));
      }
      return FormatNumber(conversion, value);
  }
  if (conversion.precision >= 0) text.resize(ByteOffset(text, conversion.precision));
  const size_t width = static_cast<size_t>(conversion.width);
  const size_t size = CountCodePoints(text);
  const std::string padding(width > size ? width - size : 0, ' ');
  return conversion.flags.find('-') == std::string::npos ? padding + text : text + padding;
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer;
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                        std::chars_format::scientific);
  const std::string text(buffer.data(), scientific.ptr);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  // Python writes 0.0001 and 1e16, but 1e-05 and 1e+16.
  if (exponent < -4 || exponent >= 16) return text;
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string out(buffer.data(), fixed.ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

absl::StatusOr<std::string> Repr(const Value& value, Budget& budget) {
  Writer writer(budget);
  TANDEM_RETURN_IF_ERROR(writer.Write(value));
  return std::move(writer).Take();
}

absl::StatusOr<std::string> ToText(const Value& value, Budget& budget) {
  if (value.is_undefined()) return std::string();
  if (!value.string()) return Repr(value, budget);
  TANDEM_RETURN_IF_ERROR(budget.Allocate(value.string()->text.size()));
  return value.string()->text;
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

absl::StatusOr<std::string> FormatPercent(std::string_view format, const Value& arguments,
                                          Budget& budget) {
  const List* list = arguments.list();
  const bool tuple = list != nullptr && list->kind == List::Kind::kTuple;
  size_t used = 0;
  std::string out;
  for (size_t pos = 0; pos < format.size();) {
    if (format[pos] != '%') {
      out.push_back(format[pos++]);
      continue;
    }
    ++pos;
    TANDEM_ASSIGN_OR_RETURN(const Conversion conversion, ParseConversion(format, &pos));
    if (conversion.letter == '%') {
      out.push_back('%');
      continue;
    }
    const Value* value = nullptr;
    if (conversion.has_key) {
      if (!arguments.dict()) return TypeError("format requires a mapping");
      value = arguments.dict()->FindText(conversion.key);
      if (value == nullptr)
        return TypeError(absl::StrCat("no key '", conversion.key, "' to format"));
    } else if (used < (tuple ? list->items.size() : 1)) {
      value = tuple ? &list->items[used] : &arguments;
      ++used;
    } else {
      return TypeError("not enough arguments for format string");
    }
    TANDEM_ASSIGN_OR_RETURN(const std::string text, FormatOne(conversion, *value, budget));
    out += text;
    TANDEM_RETURN_IF_ERROR(budget.Allocate(text.size()));
  }
  const bool all_used = tuple ? used == list->items.size() : used == 1 || arguments.dict();
  if (!all_used) return TypeError("not all arguments converted during string formatting");
  return out;
}

}  // namespace tandem::jinja
