// The tests behind `is`.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

// A test of the value alone.
template <bool (*kHolds)(const Value&)>
absl::StatusOr<bool> Plain(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"the test", {"value"}, 1}, std::move(arguments)));
  return kHolds(*bound[0]);
}

bool IsDefined(const Value& value) { return !value.is_undefined(); }
bool IsUndefined(const Value& value) { return value.is_undefined(); }
bool IsNone(const Value& value) { return value.is_none(); }
bool IsBoolean(const Value& value) { return value.As<bool>() != nullptr; }
bool IsFalse(const Value& value) { return IsBoolean(value) && !*value.As<bool>(); }
bool IsTrueTest(const Value& value) { return IsBoolean(value) && *value.As<bool>(); }
bool IsInteger(const Value& value) { return value.As<int64_t>() != nullptr; }
bool IsFloat(const Value& value) { return value.As<double>() != nullptr; }
bool IsNumber(const Value& value) { return value.number().has_value(); }
bool IsString(const Value& value) { return value.string() != nullptr; }
bool IsMapping(const Value& value) { return value.dict() != nullptr; }
bool IsSequence(const Value& value) {
  return value.string() || value.list() || value.dict() || value.is_undefined();
}
bool IsCallable(const Value& value) {
  // Undefined has a __call__, which fails.
  return value.is_undefined() || (value.object() && value.object()->IsCallable());
}
bool IsEscaped(const Value& value) { return value.string() && value.string()->markup; }

template <TextClass kClass>
absl::StatusOr<bool> HasCase(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"the test", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ToText(*bound[0], interpreter.budget()));
  return IsAll(text, kClass);
}

template <CompareOp kOp>
absl::StatusOr<bool> Compares(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"the test", {"value", "other"}, 2}, std::move(arguments)));
  return Compare(kOp, *bound[0], *bound[1], interpreter.budget());
}

absl::StatusOr<bool> IsMultiple(Interpreter& interpreter, const Value& value, const Value& number) {
  TANDEM_ASSIGN_OR_RETURN(const Value rest,
                          ApplyBinary(BinaryOp::kMod, value, number, interpreter.budget()));
  return !rest.IsTrue();
}

absl::StatusOr<bool> DivisibleBy(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"divisibleby", {"value", "num"}, 2}, std::move(arguments)));
  return IsMultiple(interpreter, *bound[0], *bound[1]);
}

absl::StatusOr<bool> IsEven(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"even", {"value"}, 1}, std::move(arguments)));
  return IsMultiple(interpreter, *bound[0], Value(int64_t{2}));
}

absl::StatusOr<bool> IsOdd(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const bool even, IsEven(interpreter, std::move(arguments)));
  return !even;
}

absl::StatusOr<bool> SameAs(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"sameas", {"value", "other"}, 2}, std::move(arguments)));
  const Value& a = *bound[0];
  const Value& b = *bound[1];
  if (a.list() || b.list()) return a.list() == b.list();
  if (a.dict() || b.dict()) return a.dict() == b.dict();
  if (a.TypeName() != b.TypeName()) return false;
  return Equal(a, b, interpreter.budget());
}

template <typename Find>
absl::StatusOr<bool> Exists(Arguments arguments, Find find) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"the test", {"value"}, 1}, std::move(arguments)));
  return bound[0]->string() && find(bound[0]->string()->text) != nullptr;
}

absl::StatusOr<bool> IsFilterName(Interpreter&, Arguments arguments) {
  return Exists(std::move(arguments), FindFilter);
}

absl::StatusOr<bool> IsTestName(Interpreter&, Arguments arguments) {
  return Exists(std::move(arguments), FindTest);
}

constexpr std::pair<std::string_view, TestFunction> kTests[] = {
    {"odd", IsOdd},
    {"even", IsEven},
    {"divisibleby", DivisibleBy},
    {"defined", Plain<IsDefined>},
    {"undefined", Plain<IsUndefined>},
    {"filter", IsFilterName},
    {"test", IsTestName},
    {"none", Plain<IsNone>},
    {"boolean", Plain<IsBoolean>},
    {"false", Plain<IsFalse>},
    {"true", Plain<IsTrueTest>},
    {"integer", Plain<IsInteger>},
    {"float", Plain<IsFloat>},
    {"lower", HasCase<TextClass::kLower>},
    {"upper", HasCase<TextClass::kUpper>},
    {"string", Plain<IsString>},
    {"mapping", Plain<IsMapping>},
    {"number", Plain<IsNumber>},
    {"sequence", Plain<IsSequence>},
    {"iterable", Plain<IsIterable>},
    {"callable", Plain<IsCallable>},
    {"sameas", SameAs},
    {"escaped", Plain<IsEscaped>},
    {"in", Compares<CompareOp::kIn>},
    {"==", Compares<CompareOp::kEq>},
    {"eq", Compares<CompareOp::kEq>},
    {"equalto", Compares<CompareOp::kEq>},
    {"!=", Compares<CompareOp::kNe>},
    {"ne", Compares<CompareOp::kNe>},
    {">", Compares<CompareOp::kGt>},
    {"gt", Compares<CompareOp::kGt>},
    {"greaterthan", Compares<CompareOp::kGt>},
    {">=", Compares<CompareOp::kGe>},
    {"ge", Compares<CompareOp::kGe>},
    {"<", Compares<CompareOp::kLt>},
    {"lt", Compares<CompareOp::kLt>},
    {"lessthan", Compares<CompareOp::kLt>},
    {"<=", Compares<CompareOp::kLe>},
    {"le", Compares<CompareOp::kLe>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [name](const auto& entry) { return entry.first == name; });
  return found == std::end(kTests) ? nullptr : found->second;
}

}  // namespace tandem::jinja
