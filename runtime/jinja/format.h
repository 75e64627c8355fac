// Values as text: str(), repr(), JSON and the two kinds of Python format strings.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/jinja/value.h"

namespace tandem::jinja {

// repr() of a float: the shortest digits that give the same number back.
std::string FloatText(double value);

// Python's str(value) and repr(value).
absl::StatusOr<std::string> ToText(const Value& value, Budget& budget);
absl::StatusOr<std::string> Repr(const Value& value, Budget& budget);

// The text with & < > ' " replaced by HTML entities.
std::string EscapeHtml(std::string_view text);

// The parameters of json.dumps. An `indent` asks for a line per item.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
absl::StatusOr<std::string> DumpJson(const Value& value, const JsonStyle& style, Budget& budget);

// The value of a JSON document. `what` names it in errors.
absl::StatusOr<Value> ParseJson(std::string_view json, std::string_view what);

// `format % arguments`; the arguments are a tuple, a dict or a single value.
absl::StatusOr<std::string> FormatPercent(std::string_view format, const Value& arguments,
                                          Budget& budget);

}  // namespace tandem::jinja
