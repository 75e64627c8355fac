// A parsed template. Nodes never change, so that renderings can share them between threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/jinja/value.h"

namespace tandem::jinja {

// Filters get the filtered value as their first positional argument, tests alike.
using FilterFunction = absl::StatusOr<Value> (*)(Interpreter&, Arguments);
using TestFunction = absl::StatusOr<bool> (*)(Interpreter&, Arguments);

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<const Expr>;
using Block = std::vector<std::unique_ptr<const Stmt>>;

enum class UnaryOp { kNegate, kPlus, kNot };
enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow, kAnd, kOr };
enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

struct Literal {
  Value value;
};
struct NameExpr {
  std::string name;
};
struct ListExpr {
  std::vector<ExprPtr> items;
  bool is_tuple;
};
struct DictExpr {
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};
struct UnaryExpr {
  UnaryOp op;
  ExprPtr operand;
};
struct BinaryExpr {
  BinaryOp op;
  ExprPtr left;
  ExprPtr right;
};
struct ConcatExpr {  // a ~ b ~ c
  std::vector<ExprPtr> parts;
};
struct CompareExpr {  // a < b < c
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct ConditionalExpr {
  ExprPtr test;
  ExprPtr then;
  ExprPtr otherwise;  // null: undefined
};
struct AttributeExpr {
  ExprPtr object;
  std::string name;
};
struct SubscriptExpr {
  ExprPtr object;
  ExprPtr index;
};
struct SliceExpr {  // only as the index of a subscript; null: not given
  ExprPtr start;
  ExprPtr stop;
  ExprPtr step;
};
struct ArgumentExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star;       // *args, or null
  ExprPtr star_star;  // **kwargs, or null
};
struct CallExpr {
  ExprPtr callee;
  ArgumentExprs arguments;
};
struct FilterCall {
  std::string name;
  FilterFunction function;  // null: no such filter, an error when it runs
  ArgumentExprs arguments;
};
struct FilterExpr {
  ExprPtr value;
  FilterCall filter;
};
struct TestExpr {
  ExprPtr value;
  std::string name;
  TestFunction function;  // null: no such test
  ArgumentExprs arguments;
};

using ExprNode = std::variant<Literal, NameExpr, ListExpr, DictExpr, UnaryExpr, BinaryExpr,
                              ConcatExpr, CompareExpr, ConditionalExpr, AttributeExpr,
                              SubscriptExpr, SliceExpr, CallExpr, FilterExpr, TestExpr>;

struct Expr {
  int line;
  int depth;  // levels of nodes below and with this one
  ExprNode node;
};

// How deep the tree of one expression may be, so that recursion over it is safe.
inline constexpr int kMaxExprDepth = 300;

// The only place that makes expressions; an error if the tree becomes too deep.
absl::StatusOr<ExprPtr> MakeExpr(ExprNode node, int line);

// What an assignment assigns to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;      // not empty: namespace `name`, attribute `attribute`
  std::vector<Target> items;  // with is_tuple
  bool is_tuple = false;
};

struct MacroDef {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // one per parameter; null: none
  Block body;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct TextStmt {
  std::string text;
};
struct PrintStmt {
  ExprPtr value;
};
struct IfStmt {
  std::vector<std::pair<ExprPtr, Block>> branches;  // if and elif
  Block otherwise;
};
struct ForStmt {
  Target target;
  ExprPtr iterable;
  ExprPtr filter;  // `for x in xs if filter`, or null
  Block body;
  Block otherwise;
  bool recursive = false;
};
struct SetStmt {
  Target target;
  ExprPtr value;
};
struct SetBlockStmt {
  Target target;
  std::vector<FilterCall> filters;
  Block body;
};
struct MacroStmt {
  MacroDef macro;
};
struct CallBlockStmt {  // {% call(args) callee(...) %}body{% endcall %}
  MacroDef caller;
  ExprPtr call;
};
struct FilterBlockStmt {
  std::vector<FilterCall> filters;
  Block body;
};
struct WithStmt {
  std::vector<std::pair<Target, ExprPtr>> variables;
  Block body;
};
struct ScopeStmt {  // {% generation %}: a scope and nothing more
  Block body;
};
struct BreakStmt {};
struct ContinueStmt {};

struct Stmt {
  int line;
  std::variant<TextStmt, PrintStmt, IfStmt, ForStmt, SetStmt, SetBlockStmt, MacroStmt,
               CallBlockStmt, FilterBlockStmt, WithStmt, ScopeStmt, BreakStmt, ContinueStmt>
      node;
};

struct Template {
  Block body;
};

}  // namespace tandem::jinja
