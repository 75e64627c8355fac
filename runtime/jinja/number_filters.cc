// Filters that make numbers.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

using ValueOr = absl::StatusOr<Value>;

// Underscores between digits are part of Python's numbers; any other is an error.
std::optional<std::string> WithoutUnderscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() || text[i - 1] == '_' || text[i + 1] == '_') {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<int64_t> ParseInteger(std::string_view text, int base) {
  const auto plain = WithoutUnderscores(Strip(text, std::nullopt, Side::kBoth));
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view digits = *plain;
  const bool negative = digits[0] == '-';
  if (negative || digits[0] == '+') digits.remove_prefix(1);
  const char letter = digits.size() > 1 && digits[0] == '0' ? (digits[1] | 0x20) : '\0';
  const bool prefixed =
      (base == 16 && letter == 'x') || (base == 8 && letter == 'o') || (base == 2 && letter == 'b');
  if (prefixed) digits.remove_prefix(2);
  if (digits.empty() || digits[0] == '-') return std::nullopt;
  const std::string signed_digits = absl::StrCat(negative ? "-" : "", Text(digits));
  int64_t number = 0;
  const char* end = signed_digits.data() + signed_digits.size();
  const auto result = std::from_chars(signed_digits.data(), end, number, base);
  if (result.ptr != end || result.ec != std::errc()) return std::nullopt;
  return number;
}

std::optional<double> ParseFloat(std::string_view text) {
  const auto plain = WithoutUnderscores(Strip(text, std::nullopt, Side::kBoth));
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view digits = *plain;
  if (digits[0] == '+') digits.remove_prefix(1);
  if (digits.empty() || digits[0] == '+') return std::nullopt;
  double number = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (result.ptr != digits.data() + digits.size()) return std::nullopt;
  return number;
}

absl::StatusOr<int64_t> Truncated(double value) {
  if (!(std::abs(value) < 9.2e18)) {
    return absl::OutOfRangeError(absl::StrCat(value, " has no integer of 64 bits"));
  }
  return static_cast<int64_t>(value);
}

ValueOr Int(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"int", {"value", "default", "base"}, 1}, std::move(arguments)));
  const Value& value = *bound[0];
  if (value.is_undefined()) return UndefinedError(value);
  TANDEM_ASSIGN_OR_RETURN(const int64_t base, IntegerOr(bound[2], 10));
  if (base < 2 || base > 36) return absl::InvalidArgumentError("int() base must be 2 to 36");
  if (const auto integer = value.integer()) return Value(*integer);
  std::optional<double> number = value.number();
  if (value.string()) {
    if (const auto parsed = ParseInteger(value.string()->text, static_cast<int>(base))) {
      return Value(*parsed);
    }
    number = ParseFloat(value.string()->text);
  }
  if (!number || std::isnan(*number)) return bound[1].value_or(Value(int64_t{0}));
  TANDEM_ASSIGN_OR_RETURN(const int64_t truncated, Truncated(*number));
  return Value(truncated);
}

ValueOr Float(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"float", {"value", "default"}, 1}, std::move(arguments)));
  const Value& value = *bound[0];
  if (value.is_undefined()) return UndefinedError(value);
  const auto number = value.string() ? ParseFloat(value.string()->text) : value.number();
  return number ? Value(*number) : bound[1].value_or(Value(0.0));
}

ValueOr Abs(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"abs", {"value"}, 1}, std::move(arguments)));
  const Value& value = *bound[0];
  if (value.is_undefined()) return UndefinedError(value);
  if (const auto integer = value.integer()) {
    return *integer < 0 ? ApplyUnary(UnaryOp::kNegate, value) : Value(*integer);
  }
  if (const auto number = value.number()) return Value(std::abs(*number));
  return TypeError(absl::StrCat("bad operand type for abs(): '", value.TypeName(), "'"));
}

// round(): the decimal digits of the exact value, ties to even, as printf rounds them.
double RoundCommon(double value, int64_t precision) {
  if (!std::isfinite(value)) return value;
  if (precision < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(value / scale) * scale;
  }
  char buffer[400];
  const int size =
      std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), value);
  double rounded = value;
  std::from_chars(buffer, buffer + size, rounded);
  return rounded;
}

ValueOr Round(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"round", {"value", "precision", "method"}, 1},
                                                  std::move(arguments)));
  const Value& value = *bound[0];
  if (value.is_undefined()) return UndefinedError(value);
  TANDEM_ASSIGN_OR_RETURN(const int64_t precision, IntegerOr(bound[1], 0));
  TANDEM_ASSIGN_OR_RETURN(const std::string method, TextOr(bound[2], "common"));
  if (!value.number()) return TypeError(absl::StrCat("cannot round '", value.TypeName(), "'"));
  constexpr int64_t kMaxPrecision = 50;
  if (std::abs(precision) > kMaxPrecision) return TypeError("the precision is too large");
  if (method == "common") {
    if (value.integer() && precision >= 0) return Value(*value.integer());
    return Value(RoundCommon(*value.number(), precision));
  }
  if (method != "ceil" && method != "floor")
    return TypeError("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *value.number() * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr FilterEntry kFilters[] = {{"abs", Abs}, {"float", Float}, {"int", Int}, {"round", Round}};

}  // namespace

FilterTable NumberFilters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace tandem::jinja
