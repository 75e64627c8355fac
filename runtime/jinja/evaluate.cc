// The values of expressions.
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"

namespace tandem::jinja {
absl::StatusOr<Value> Interpreter::Eval(const Expr& expr) {
  const DepthGuard guard(budget_);
  TANDEM_RETURN_IF_ERROR(guard.status());
  TANDEM_RETURN_IF_ERROR(budget_.Step());
  absl::StatusOr<Value> value =
      std::visit([this](const auto& node) { return Evaluate(node); }, expr.node);
  if (!value.ok()) return Located(value.status(), expr.line);
  return value;
}

absl::StatusOr<Value> Interpreter::Lookup(std::string_view name) {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    const auto found = scope->variables.find(name);
    if (found != scope->variables.end()) return found->second;
  }
  if (const Value* value = variables_.FindText(name)) return *value;
  if (std::optional<Value> global = FindGlobal(name)) return *std::move(global);
  return Value::MakeUndefined(absl::StrCat("'", Text(name), "' is undefined"));
}

absl::StatusOr<Value> Interpreter::Evaluate(const NameExpr& node) { return Lookup(node.name); }

absl::StatusOr<Value> Interpreter::Evaluate(const ListExpr& node) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExprPtr& expr : node.items) {
    TANDEM_ASSIGN_OR_RETURN(Value item, Eval(expr));
    items.push_back(std::move(item));
  }
  const List::Kind kind = node.is_tuple ? List::Kind::kTuple : List::Kind::kList;
  return Checked(List(std::move(items), kind), budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const DictExpr& node) {
  Dict dict;
  for (const auto& [key_expr, value_expr] : node.items) {
    TANDEM_ASSIGN_OR_RETURN(Value key, Eval(key_expr));
    TANDEM_ASSIGN_OR_RETURN(Value value, Eval(value_expr));
    TANDEM_RETURN_IF_ERROR(dict.Insert(std::move(key), std::move(value), budget_));
  }
  return Checked(std::move(dict), budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const UnaryExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value operand, Eval(node.operand));
  return ApplyUnary(node.op, operand);
}

absl::StatusOr<Value> Interpreter::Evaluate(const BinaryExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(Value left, Eval(node.left));
  if (node.op == BinaryOp::kAnd && !left.IsTrue()) return left;
  if (node.op == BinaryOp::kOr && left.IsTrue()) return left;
  TANDEM_ASSIGN_OR_RETURN(Value right, Eval(node.right));
  if (node.op == BinaryOp::kAnd || node.op == BinaryOp::kOr) return right;
  return ApplyBinary(node.op, left, right, budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const ConcatExpr& node) {
  std::string text;
  for (const ExprPtr& expr : node.parts) {
    TANDEM_ASSIGN_OR_RETURN(const Value part, Eval(expr));
    TANDEM_ASSIGN_OR_RETURN(const std::string part_text, ToText(part, budget_));
    text += part_text;
  }
  return Value(std::move(text));
}

absl::StatusOr<Value> Interpreter::Evaluate(const CompareExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(Value left, Eval(node.first));
  for (const auto& [op, expr] : node.rest) {
    TANDEM_ASSIGN_OR_RETURN(Value right, Eval(expr));
    TANDEM_ASSIGN_OR_RETURN(const bool holds, Compare(op, left, right, budget_));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

absl::StatusOr<Value> Interpreter::Evaluate(const ConditionalExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value test, Eval(node.test));
  if (test.IsTrue()) return Eval(node.then);
  if (node.otherwise) return Eval(node.otherwise);
  return Value::MakeUndefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

absl::StatusOr<Value> Interpreter::Evaluate(const AttributeExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value object, Eval(node.object));
  return GetAttribute(object, node.name, budget_);
}

absl::StatusOr<Value> Interpreter::Evaluate(const SubscriptExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value object, Eval(node.object));
  const auto* slice = std::get_if<SliceExpr>(&node.index->node);
  if (slice == nullptr) {
    TANDEM_ASSIGN_OR_RETURN(const Value key, Eval(node.index));
    return GetItem(object, key, budget_);
  }
  SliceBounds bounds;
  const std::pair<const ExprPtr&, Value&> parts[] = {
      {slice->start, bounds.start}, {slice->stop, bounds.stop}, {slice->step, bounds.step}};
  for (const auto& [expr, value] : parts) {
    if (!expr) continue;
    TANDEM_ASSIGN_OR_RETURN(value, Eval(expr));
  }
  return GetSlice(object, bounds, budget_);
}

// Slices among several indices: no value of the language takes those.
absl::StatusOr<Value> Interpreter::Evaluate(const SliceExpr&) {
  return Value::MakeUndefined("no element for a tuple of slices");
}

absl::StatusOr<Value> Interpreter::Evaluate(const CallExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value callee, Eval(node.callee));
  TANDEM_ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(node.arguments));
  return Call(callee, std::move(arguments));
}

absl::StatusOr<Value> Interpreter::Evaluate(const FilterExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(Value value, Eval(node.value));
  return ApplyFilter(node.filter, std::move(value));
}

absl::StatusOr<Value> Interpreter::Evaluate(const TestExpr& node) {
  TANDEM_ASSIGN_OR_RETURN(Value value, Eval(node.value));
  if (node.function == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("no test named '", node.name, "'"));
  }
  TANDEM_ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(node.arguments));
  arguments.positional.insert(arguments.positional.begin(), std::move(value));
  TANDEM_ASSIGN_OR_RETURN(const bool holds, node.function(*this, std::move(arguments)));
  return Value(holds);
}

absl::StatusOr<Arguments> Interpreter::EvalArguments(const ArgumentExprs& exprs) {
  Arguments arguments;
  for (const ExprPtr& expr : exprs.positional) {
    TANDEM_ASSIGN_OR_RETURN(Value value, Eval(expr));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : exprs.named) {
    TANDEM_ASSIGN_OR_RETURN(Value value, Eval(expr));
    arguments.named.emplace_back(name, std::move(value));
  }
  TANDEM_RETURN_IF_ERROR(EvalStars(exprs, &arguments));
  return arguments;
}

absl::Status Interpreter::EvalStars(const ArgumentExprs& exprs, Arguments* arguments) {
  if (exprs.star) {
    TANDEM_ASSIGN_OR_RETURN(const Value value, Eval(exprs.star));
    TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(value, budget_));
    for (Value& item : items) arguments->positional.push_back(std::move(item));
  }
  if (exprs.star_star) {
    TANDEM_ASSIGN_OR_RETURN(const Value value, Eval(exprs.star_star));
    if (!value.dict()) return TypeError("argument after ** must be a mapping");
    for (const auto& [key, item] : value.dict()->items) {
      if (!key.string()) return TypeError("keywords must be strings");
      arguments->named.emplace_back(key.string()->text, item);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::ApplyFilter(const FilterCall& filter, Value value) {
  if (filter.function == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("no filter named '", filter.name, "'"));
  }
  TANDEM_ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(filter.arguments));
  arguments.positional.insert(arguments.positional.begin(), std::move(value));
  return filter.function(*this, std::move(arguments));
}

absl::StatusOr<Value> Interpreter::ApplyFilters(const std::vector<FilterCall>& filters,
                                                Value value) {
  for (const FilterCall& filter : filters) {
    TANDEM_ASSIGN_OR_RETURN(value, ApplyFilter(filter, std::move(value)));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, Arguments arguments) {
  if (callee.is_undefined()) return UndefinedError(callee);
  if (!callee.object()) {
    return TypeError(absl::StrCat("'", callee.TypeName(), "' object is not callable"));
  }
  const DepthGuard guard(budget_);
  TANDEM_RETURN_IF_ERROR(guard.status());
  return callee.object()->Call(*this, std::move(arguments));
}

}  // namespace tandem::jinja
