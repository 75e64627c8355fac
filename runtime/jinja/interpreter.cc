// Statements, scopes and calls of macros.
#include "runtime/jinja/interpreter.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/loop.h"

namespace tandem::jinja {
namespace {

class MacroObject : public Object {
 public:
  MacroObject(const MacroDef& macro, ScopePtr closure)
      : macro_(macro), closure_(std::move(closure)) {}

  std::string TypeName() const override { return "Macro"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments) override {
    return interpreter.InvokeMacro(macro_, closure_, std::move(arguments));
  }
  std::optional<Value> Attribute(std::string_view name) const override {
    if (name == "name") return Value(macro_.name);
    return std::nullopt;
  }
  std::string ToText() const override { return absl::StrCat("<Macro '", macro_.name, "'>"); }
  void Release() override { closure_.reset(); }

 private:
  const MacroDef& macro_;
  ScopePtr closure_;
};

}  // namespace

class Interpreter::ScopeGuard {
 public:
  ScopeGuard(Interpreter& interpreter, ScopePtr scope)
      : interpreter_(interpreter), saved_(std::exchange(interpreter.scope_, std::move(scope))) {}
  ~ScopeGuard() { interpreter_.scope_ = std::move(saved_); }
  ScopeGuard(const ScopeGuard&) = delete;
  ScopeGuard& operator=(const ScopeGuard&) = delete;

 private:
  Interpreter& interpreter_;
  ScopePtr saved_;
};

Namespace::Namespace(Dict values) {
  for (auto& [key, value] : values.items) {
    if (key.string()) values_[key.string()->text] = std::move(value);
  }
}

std::optional<Value> Namespace::Attribute(std::string_view name) const {
  const auto found = values_.find(std::string(name));
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

Interpreter::~Interpreter() {
  for (const auto& object : kept_) object->Release();
}

absl::StatusOr<Value> Interpreter::Keep(std::shared_ptr<Object> object) {
  constexpr size_t kBytesPerObject = 256;
  TANDEM_RETURN_IF_ERROR(budget_.Allocate(kBytesPerObject));
  kept_.push_back(object);
  return Value(std::move(object));
}

absl::StatusOr<std::string> Interpreter::Render(const Template& parsed) {
  TANDEM_ASSIGN_OR_RETURN(const ScopePtr root, NewScope(nullptr));
  return Capture(parsed.body, root);
}

absl::StatusOr<ScopePtr> Interpreter::NewScope(ScopePtr parent) {
  constexpr size_t kBytesPerScope = 128;
  TANDEM_RETURN_IF_ERROR(budget_.Allocate(kBytesPerScope));
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  return scope;
}

absl::Status Interpreter::Write(std::string_view text) {
  const size_t limit = budget_.limits().max_output_bytes;
  if (text.size() > limit || out_->size() > limit - text.size()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the chat template writes more than ", limit, " bytes"));
  }
  out_->append(text);
  return budget_.Allocate(text.size());
}

absl::Status Interpreter::WriteValue(const Value& value) {
  if (value.string()) return Write(value.string()->text);
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ToText(value, budget_));
  return Write(text);
}

// What `block` writes when it runs in `scope`.
absl::StatusOr<std::string> Interpreter::Capture(const Block& block, const ScopePtr& scope) {
  const ScopeGuard guard(*this, scope);
  std::string text;
  std::string* const saved = std::exchange(out_, &text);
  const FlowOr flow = Run(block);
  out_ = saved;
  if (!flow.ok()) return flow.status();
  return text;
}

Interpreter::FlowOr Interpreter::Run(const Block& block) {
  for (const auto& statement : block) {
    TANDEM_ASSIGN_OR_RETURN(const Flow flow, Run(*statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Run(const Stmt& statement) {
  const DepthGuard guard(budget_);
  TANDEM_RETURN_IF_ERROR(guard.status());
  TANDEM_RETURN_IF_ERROR(budget_.Step());
  FlowOr flow = std::visit([this](const auto& node) { return Execute(node); }, statement.node);
  if (!flow.ok()) return Located(flow.status(), statement.line);
  return flow;
}

Interpreter::FlowOr Interpreter::RunInScope(const Block& block, const ScopePtr& parent) {
  TANDEM_ASSIGN_OR_RETURN(ScopePtr scope, NewScope(parent));
  const ScopeGuard guard(*this, std::move(scope));
  return Run(block);
}

Interpreter::FlowOr Interpreter::Execute(const TextStmt& node) {
  TANDEM_RETURN_IF_ERROR(Write(node.text));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const PrintStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value value, Eval(node.value));
  TANDEM_RETURN_IF_ERROR(WriteValue(value));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const IfStmt& node) {
  for (const auto& [test, body] : node.branches) {
    TANDEM_ASSIGN_OR_RETURN(const Value value, Eval(test));
    if (value.IsTrue()) return Run(body);
  }
  return Run(node.otherwise);
}

Interpreter::FlowOr Interpreter::Execute(const ForStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(const Value iterable, Eval(node.iterable));
  return RunLoop(node, scope_, iterable, /*depth=*/0);
}

absl::StatusOr<std::vector<Value>> Interpreter::FilterItems(const ForStmt& loop,
                                                            const ScopePtr& outer,
                                                            std::vector<Value> items) {
  if (!loop.filter) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    TANDEM_ASSIGN_OR_RETURN(ScopePtr scope, NewScope(outer));
    const ScopeGuard guard(*this, std::move(scope));
    TANDEM_RETURN_IF_ERROR(Assign(loop.target, item));
    TANDEM_ASSIGN_OR_RETURN(const Value test, Eval(loop.filter));
    if (test.IsTrue()) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::FlowOr Interpreter::RunLoop(const ForStmt& loop, const ScopePtr& outer,
                                         const Value& iterable, int64_t depth) {
  const ScopePtr parent = outer;  // `outer` may be the current scope, which the guards replace
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(iterable, budget_));
  TANDEM_ASSIGN_OR_RETURN(items, FilterItems(loop, parent, std::move(items)));
  if (items.empty()) return RunInScope(loop.otherwise, parent);
  auto state = std::make_shared<LoopObject>(loop, parent, std::move(items), depth);
  TANDEM_ASSIGN_OR_RETURN(const Value loop_value, Keep(state));
  for (; state->HasCurrent(); state->Advance()) {
    TANDEM_ASSIGN_OR_RETURN(ScopePtr scope, NewScope(parent));
    const ScopeGuard guard(*this, std::move(scope));
    scope_->variables["loop"] = loop_value;
    TANDEM_RETURN_IF_ERROR(Assign(loop.target, state->Current()));
    TANDEM_ASSIGN_OR_RETURN(const Flow flow, Run(loop.body));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

absl::StatusOr<Value> Interpreter::InvokeLoop(const ForStmt& loop, const ScopePtr& outer,
                                              const Value& items, int64_t depth) {
  std::string text;
  std::string* const saved = std::exchange(out_, &text);
  const FlowOr flow = RunLoop(loop, outer, items, depth);
  out_ = saved;
  if (!flow.ok()) return flow.status();
  return Value(std::move(text));
}

absl::Status Interpreter::Assign(const Target& target, Value value) {
  if (target.is_tuple) {
    TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(value, budget_));
    if (items.size() != target.items.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "cannot unpack ", items.size(), " values into ", target.items.size(), " names"));
    }
    for (size_t i = 0; i < items.size(); ++i) {
      TANDEM_RETURN_IF_ERROR(Assign(target.items[i], std::move(items[i])));
    }
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    scope_->variables.insert_or_assign(target.name, std::move(value));
    return absl::OkStatus();
  }
  TANDEM_ASSIGN_OR_RETURN(const Value object, Lookup(target.name));
  auto* names = dynamic_cast<Namespace*>(object.object());
  if (names == nullptr) {
    return TypeError(absl::StrCat("cannot assign attribute '", target.attribute, "' of '",
                                  target.name, "', which is no namespace"));
  }
  TANDEM_RETURN_IF_ERROR(budget_.Allocate(target.attribute.size()));
  names->Set(target.attribute, std::move(value));
  return absl::OkStatus();
}

Interpreter::FlowOr Interpreter::Execute(const SetStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(Value value, Eval(node.value));
  TANDEM_RETURN_IF_ERROR(Assign(node.target, std::move(value)));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const SetBlockStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(const ScopePtr scope, NewScope(scope_));
  TANDEM_ASSIGN_OR_RETURN(std::string text, Capture(node.body, scope));
  TANDEM_ASSIGN_OR_RETURN(Value value, ApplyFilters(node.filters, Value(std::move(text))));
  TANDEM_RETURN_IF_ERROR(Assign(node.target, std::move(value)));
  return Flow::kNext;
}

absl::StatusOr<Value> Interpreter::MakeMacro(const MacroDef& macro) {
  return Keep(std::make_shared<MacroObject>(macro, scope_));
}

Interpreter::FlowOr Interpreter::Execute(const MacroStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(Value macro, MakeMacro(node.macro));
  scope_->variables.insert_or_assign(node.macro.name, std::move(macro));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const CallBlockStmt& node) {
  const auto& call = std::get<CallExpr>(node.call->node);
  TANDEM_ASSIGN_OR_RETURN(Value caller, MakeMacro(node.caller));
  TANDEM_ASSIGN_OR_RETURN(const Value callee, Eval(call.callee));
  TANDEM_ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(call.arguments));
  arguments.named.emplace_back("caller", std::move(caller));
  TANDEM_ASSIGN_OR_RETURN(const Value value, Call(callee, std::move(arguments)));
  TANDEM_RETURN_IF_ERROR(WriteValue(value));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const FilterBlockStmt& node) {
  TANDEM_ASSIGN_OR_RETURN(const ScopePtr scope, NewScope(scope_));
  TANDEM_ASSIGN_OR_RETURN(std::string text, Capture(node.body, scope));
  TANDEM_ASSIGN_OR_RETURN(const Value value, ApplyFilters(node.filters, Value(std::move(text))));
  TANDEM_RETURN_IF_ERROR(WriteValue(value));
  return Flow::kNext;
}

Interpreter::FlowOr Interpreter::Execute(const WithStmt& node) {
  std::vector<Value> values;
  for (const auto& [target, expr] : node.variables) {
    TANDEM_ASSIGN_OR_RETURN(Value value, Eval(expr));
    values.push_back(std::move(value));
  }
  TANDEM_ASSIGN_OR_RETURN(ScopePtr scope, NewScope(scope_));
  const ScopeGuard guard(*this, std::move(scope));
  for (size_t i = 0; i < values.size(); ++i) {
    TANDEM_RETURN_IF_ERROR(Assign(node.variables[i].first, std::move(values[i])));
  }
  return Run(node.body);
}

Interpreter::FlowOr Interpreter::Execute(const ScopeStmt& node) {
  return RunInScope(node.body, scope_);
}

// A scope with the parameters of `macro` set from `arguments`, as Jinja matches them.
absl::StatusOr<ScopePtr> Interpreter::MacroScope(const MacroDef& macro, const ScopePtr& closure,
                                                 Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(ScopePtr scope, NewScope(closure));
  const size_t given = std::min(arguments.positional.size(), macro.parameters.size());
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const std::string& name = macro.parameters[i];
    std::optional<Value> value =
        i < given ? std::move(arguments.positional[i]) : arguments.Take(name);
    if (value) scope->variables.insert_or_assign(name, *std::move(value));
  }
  if (macro.uses_caller) {
    scope->variables["caller"] =
        arguments.Take("caller").value_or(Value::MakeUndefined("No caller defined"));
  }
  if (macro.uses_kwargs) {
    Dict rest;
    for (auto& [name, value] : arguments.named) rest.InsertText(name, std::move(value));
    TANDEM_ASSIGN_OR_RETURN(scope->variables["kwargs"], Checked(std::move(rest), budget_));
  } else if (!arguments.named.empty()) {
    return TypeError(absl::StrCat("macro '", macro.name, "' takes no keyword argument '",
                                  arguments.named.front().first, "'"));
  }
  if (macro.uses_varargs) {
    std::vector<Value> rest(arguments.positional.begin() + given, arguments.positional.end());
    TANDEM_ASSIGN_OR_RETURN(scope->variables["varargs"],
                            Checked(List(std::move(rest), List::Kind::kTuple), budget_));
  } else if (arguments.positional.size() > given) {
    return TypeError(
        absl::StrCat("macro '", macro.name, "' takes not more than ", given, " argument(s)"));
  }
  return scope;
}

absl::StatusOr<Value> Interpreter::InvokeMacro(const MacroDef& macro, const ScopePtr& closure,
                                               Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const ScopePtr scope, MacroScope(macro, closure, std::move(arguments)));
  {
    const ScopeGuard guard(*this, scope);
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const std::string& name = macro.parameters[i];
      if (scope->variables.contains(name)) continue;
      Value value = Value::MakeUndefined(absl::StrCat("parameter '", name, "' was not provided"));
      if (macro.defaults[i]) {
        TANDEM_ASSIGN_OR_RETURN(value, Eval(macro.defaults[i]));
      }
      scope->variables.insert_or_assign(name, std::move(value));
    }
  }
  TANDEM_ASSIGN_OR_RETURN(std::string text, Capture(macro.body, scope));
  return Value(std::move(text));
}

}  // namespace tandem::jinja
