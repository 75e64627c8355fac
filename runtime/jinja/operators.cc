#include "runtime/jinja/operators.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

absl::Status Unsupported(std::string_view op, const Value& left, const Value& right) {
  return TypeError(absl::StrCat("unsupported operand types for ", Text(op), ": '", left.TypeName(),
                                "' and '", right.TypeName(), "'"));
}

absl::Status Overflow() { return absl::OutOfRangeError("an integer beyond 64 bits"); }

std::string_view Name(BinaryOp op) {
  constexpr std::string_view kNames[] = {"+", "-", "*", "/", "//", "%", "**", "and", "or"};
  return kNames[static_cast<int>(op)];
}

// A text that joins a markup text is escaped first, and the result is markup.
absl::StatusOr<Value> AddText(const Str& left, const Str& right, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(budget.Allocate(left.text.size() + right.text.size()));
  if (left.markup == right.markup) return Value(left.text + right.text, left.markup);
  if (left.markup) return Value(left.text + EscapeHtml(right.text), true);
  return Value(EscapeHtml(left.text) + right.text, true);
}

absl::StatusOr<Value> AddLists(const List& left, const List& right, Budget& budget) {
  const size_t size = left.items.size() + right.items.size();
  TANDEM_RETURN_IF_ERROR(budget.Allocate(size * sizeof(Value)));
  std::vector<Value> items;
  items.reserve(size);
  items.insert(items.end(), left.items.begin(), left.items.end());
  items.insert(items.end(), right.items.begin(), right.items.end());
  return Checked(List(std::move(items), left.kind), budget);
}

absl::StatusOr<Value> Repeat(const Value& value, int64_t count, Budget& budget) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const size_t unit =
      value.string() ? value.string()->text.size() : value.list()->items.size() * sizeof(Value);
  // The product could overflow: compare by division.
  if (unit > 0 && times > budget.limits().max_allocated_bytes / unit) {
    return budget.Allocate(budget.limits().max_allocated_bytes + 1);
  }
  TANDEM_RETURN_IF_ERROR(budget.Allocate(unit * times));
  if (unit == 0) return value.string() ? Value("") : Value(List({}, value.list()->kind));
  if (value.string()) {
    std::string text;
    text.reserve(unit * times);
    for (size_t i = 0; i < times; ++i) text += value.string()->text;
    return Value(std::move(text), value.string()->markup);
  }
  std::vector<Value> items;
  items.reserve(value.list()->items.size() * times);
  for (size_t i = 0; i < times; ++i) {
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return Checked(List(std::move(items), value.list()->kind), budget);
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return Overflow();
  }
  return Value(result);
}

absl::StatusOr<Value> IntegerDivision(BinaryOp op, int64_t a, int64_t b) {
  if (b == 0) return absl::InvalidArgumentError("division by zero");
  if (b == -1) {
    if (op == BinaryOp::kMod) return Value(int64_t{0});
    int64_t negated;
    return __builtin_sub_overflow(int64_t{0}, a, &negated) ? absl::StatusOr<Value>(Overflow())
                                                           : Value(negated);
  }
  // C++ rounds to zero, Python down.
  const bool adjust = a % b != 0 && (a < 0) != (b < 0);
  if (op == BinaryOp::kMod) return Value(adjust ? a % b + b : a % b);
  return Value(adjust ? a / b - 1 : a / b);
}

absl::StatusOr<Value> IntegerArithmetic(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case BinaryOp::kSub:
      if (__builtin_sub_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case BinaryOp::kMul:
      if (__builtin_mul_overflow(a, b, &result)) return Overflow();
      return Value(result);
    case BinaryOp::kPow:
      return IntegerPower(a, b);
    default:
      return IntegerDivision(op, a, b);
  }
}

absl::StatusOr<Value> FloatArithmetic(BinaryOp op, double a, double b) {
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kFloorDiv || op == BinaryOp::kMod;
  if (divides && b == 0) return absl::InvalidArgumentError("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return Value(a + b);
    case BinaryOp::kSub:
      return Value(a - b);
    case BinaryOp::kMul:
      return Value(a * b);
    case BinaryOp::kDiv:
      return Value(a / b);
    case BinaryOp::kFloorDiv: {
      const double rest = std::fmod(a, b);
      return Value(
          std::floor((a - (rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest)) / b + 0.5));
    }
    case BinaryOp::kMod: {
      const double rest = std::fmod(a, b);
      return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : std::copysign(rest, b));
    }
    default:
      if (a == 0 && b < 0) return absl::InvalidArgumentError("0.0 to a negative power");
      if (a < 0 && b != std::floor(b)) return absl::InvalidArgumentError("a complex power");
      return Value(std::pow(a, b));
  }
}

// The operators of strings and lists; nothing if none fits.
absl::StatusOr<std::optional<Value>> SequenceArithmetic(BinaryOp op, const Value& left,
                                                        const Value& right, Budget& budget) {
  absl::StatusOr<Value> result;
  if (op == BinaryOp::kAdd && left.string() && right.string()) {
    result = AddText(*left.string(), *right.string(), budget);
  } else if (op == BinaryOp::kAdd && left.list() && right.list() &&
             left.list()->kind == right.list()->kind && left.list()->kind != List::Kind::kRange) {
    result = AddLists(*left.list(), *right.list(), budget);
  } else if (op == BinaryOp::kMul && (left.string() || left.list()) && right.integer()) {
    result = Repeat(left, *right.integer(), budget);
  } else if (op == BinaryOp::kMul && (right.string() || right.list()) && left.integer()) {
    result = Repeat(right, *left.integer(), budget);
  } else if (op == BinaryOp::kMod && left.string()) {
    TANDEM_ASSIGN_OR_RETURN(std::string text, FormatPercent(left.string()->text, right, budget));
    result = Value(std::move(text), left.string()->markup);
  } else {
    return std::optional<Value>();
  }
  if (!result.ok()) return result.status();
  return std::optional<Value>(*std::move(result));
}

}  // namespace

absl::StatusOr<Value> ApplyBinary(BinaryOp op, const Value& left, const Value& right,
                                  Budget& budget) {
  if (left.is_undefined()) return UndefinedError(left);
  TANDEM_ASSIGN_OR_RETURN(std::optional<Value> sequence,
                          SequenceArithmetic(op, left, right, budget));
  if (sequence) return *std::move(sequence);
  if (right.is_undefined()) return UndefinedError(right);
  const bool to_float =
      op == BinaryOp::kDiv || (op == BinaryOp::kPow && right.integer().value_or(0) < 0);
  if (left.integer() && right.integer() && !to_float) {
    return IntegerArithmetic(op, *left.integer(), *right.integer());
  }
  if (left.number() && right.number()) {
    return FloatArithmetic(op, *left.number(), *right.number());
  }
  return Unsupported(Name(op), left, right);
}

absl::StatusOr<Value> ApplyUnary(UnaryOp op, const Value& operand) {
  if (op == UnaryOp::kNot) return Value(!operand.IsTrue());
  if (operand.is_undefined()) return UndefinedError(operand);
  if (const auto integer = operand.integer()) {
    if (op == UnaryOp::kPlus) return Value(*integer);
    return IntegerArithmetic(BinaryOp::kSub, 0, *integer);
  }
  if (const auto number = operand.number()) {
    return Value(op == UnaryOp::kPlus ? *number : -*number);
  }
  return TypeError(absl::StrCat("bad operand type for a sign: '", operand.TypeName(), "'"));
}

absl::StatusOr<bool> Compare(CompareOp op, const Value& left, const Value& right, Budget& budget) {
  if (op == CompareOp::kIn) return ContainsValue(right, left, budget);
  if (op == CompareOp::kNotIn) {
    TANDEM_ASSIGN_OR_RETURN(const bool contains, ContainsValue(right, left, budget));
    return !contains;
  }
  if (op == CompareOp::kEq || op == CompareOp::kNe) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(left, right, budget));
    return equal == (op == CompareOp::kEq);
  }
  const bool has_nan = (left.As<double>() && std::isnan(*left.As<double>())) ||
                       (right.As<double>() && std::isnan(*right.As<double>()));
  if (has_nan && left.number() && right.number()) return false;
  TANDEM_ASSIGN_OR_RETURN(const int order, Order(left, right, budget));
  switch (op) {
    case CompareOp::kLt:
      return order < 0;
    case CompareOp::kLe:
      return order <= 0;
    case CompareOp::kGt:
      return order > 0;
    default:
      return order >= 0;
  }
}

absl::StatusOr<bool> ContainsValue(const Value& haystack, const Value& needle, Budget& budget) {
  if (haystack.string()) {
    if (!needle.string()) {
      return TypeError(
          absl::StrCat("'in <string>' requires string as left operand, not ", needle.TypeName()));
    }
    TANDEM_RETURN_IF_ERROR(budget.Read(haystack.string()->text.size()));
    return haystack.string()->text.find(needle.string()->text) != std::string::npos;
  }
  if (haystack.dict()) {
    TANDEM_ASSIGN_OR_RETURN(const Value* found, haystack.dict()->Find(needle, budget));
    return found != nullptr;
  }
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(haystack, budget));
  for (const Value& item : items) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(item, needle, budget));
    if (equal) return true;
  }
  return false;
}

}  // namespace tandem::jinja
