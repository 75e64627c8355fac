// Walks a template and writes its text.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/budget.h"
#include "runtime/jinja/operators.h"

namespace tandem::jinja {

// Variables of one block; look-ups go on in `parent`. The names live in the template.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::unordered_map<std::string_view, Value> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

// What namespace() returns: the one thing that a template can change.
class Namespace : public Object {
 public:
  explicit Namespace(Dict values);
  std::string TypeName() const override { return "Namespace"; }
  std::optional<Value> Attribute(std::string_view name) const override;
  void Release() override { values_.clear(); }
  void Set(std::string_view name, Value value) { values_[std::string(name)] = std::move(value); }

 private:
  std::unordered_map<std::string, Value> values_;
};

class Interpreter {
 public:
  Interpreter(const Dict& variables, const std::optional<std::tm>& now, Budget& budget)
      : variables_(variables), now_(now), budget_(budget) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  absl::StatusOr<std::string> Render(const Template& parsed);

  // What built-in functions use.
  Budget& budget() { return budget_; }
  const std::optional<std::tm>& now() const { return now_; }
  absl::StatusOr<Value> Call(const Value& callee, Arguments arguments);
  // Keeps `object` until the end of the rendering. Objects that can refer to themselves in a circle
  // go through here, so that the circle is broken then.
  absl::StatusOr<Value> Keep(std::shared_ptr<Object> object);

  // For macros and recursive loops.
  absl::StatusOr<Value> InvokeMacro(const MacroDef& macro, const ScopePtr& closure,
                                    Arguments arguments);
  absl::StatusOr<Value> InvokeLoop(const ForStmt& loop, const ScopePtr& outer, const Value& items,
                                   int64_t depth);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  using FlowOr = absl::StatusOr<Flow>;

  // Makes `scope` the current one for its life.
  class ScopeGuard;

  // Statements (interpreter.cc).
  FlowOr Run(const Block& block);
  FlowOr Run(const Stmt& statement);
  FlowOr Execute(const TextStmt& node);
  FlowOr Execute(const PrintStmt& node);
  FlowOr Execute(const IfStmt& node);
  FlowOr Execute(const ForStmt& node);
  FlowOr Execute(const SetStmt& node);
  FlowOr Execute(const SetBlockStmt& node);
  FlowOr Execute(const MacroStmt& node);
  FlowOr Execute(const CallBlockStmt& node);
  FlowOr Execute(const FilterBlockStmt& node);
  FlowOr Execute(const WithStmt& node);
  FlowOr Execute(const ScopeStmt& node);
  FlowOr Execute(const BreakStmt&) { return Flow::kBreak; }
  FlowOr Execute(const ContinueStmt&) { return Flow::kContinue; }
  FlowOr RunLoop(const ForStmt& loop, const ScopePtr& outer, const Value& iterable, int64_t depth);
  FlowOr RunInScope(const Block& block, const ScopePtr& parent);
  absl::StatusOr<std::vector<Value>> FilterItems(const ForStmt& loop, const ScopePtr& outer,
                                                 std::vector<Value> items);
  absl::StatusOr<ScopePtr> NewScope(ScopePtr parent);
  absl::StatusOr<ScopePtr> MacroScope(const MacroDef& macro, const ScopePtr& closure,
                                      Arguments arguments);
  absl::Status Write(std::string_view text);
  absl::Status WriteValue(const Value& value);
  absl::StatusOr<std::string> Capture(const Block& block, const ScopePtr& scope);
  absl::Status Assign(const Target& target, Value value);
  absl::StatusOr<Value> MakeMacro(const MacroDef& macro);

  // Expressions (evaluate.cc).
  absl::StatusOr<Value> Eval(const Expr& expr);
  absl::StatusOr<Value> Eval(const ExprPtr& expr) { return Eval(*expr); }
  absl::StatusOr<Value> Evaluate(const Literal& node) { return node.value; }
  absl::StatusOr<Value> Evaluate(const NameExpr& node);
  absl::StatusOr<Value> Evaluate(const ListExpr& node);
  absl::StatusOr<Value> Evaluate(const DictExpr& node);
  absl::StatusOr<Value> Evaluate(const UnaryExpr& node);
  absl::StatusOr<Value> Evaluate(const BinaryExpr& node);
  absl::StatusOr<Value> Evaluate(const ConcatExpr& node);
  absl::StatusOr<Value> Evaluate(const CompareExpr& node);
  absl::StatusOr<Value> Evaluate(const ConditionalExpr& node);
  absl::StatusOr<Value> Evaluate(const AttributeExpr& node);
  absl::StatusOr<Value> Evaluate(const SubscriptExpr& node);
  absl::StatusOr<Value> Evaluate(const SliceExpr& node);
  absl::StatusOr<Value> Evaluate(const CallExpr& node);
  absl::StatusOr<Value> Evaluate(const FilterExpr& node);
  absl::StatusOr<Value> Evaluate(const TestExpr& node);
  absl::StatusOr<Value> Lookup(std::string_view name);
  absl::StatusOr<Arguments> EvalArguments(const ArgumentExprs& exprs);
  absl::Status EvalStars(const ArgumentExprs& exprs, Arguments* arguments);
  absl::StatusOr<Value> ApplyFilter(const FilterCall& filter, Value value);
  absl::StatusOr<Value> ApplyFilters(const std::vector<FilterCall>& filters, Value value);

  const Dict& variables_;
  const std::optional<std::tm>& now_;
  Budget& budget_;
  ScopePtr scope_;
  std::string* out_ = nullptr;  // where text goes now: the result, or what a macro captures
  std::vector<std::shared_ptr<Object>> kept_;
};

}  // namespace tandem::jinja
