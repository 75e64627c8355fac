// From tokens to a template.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/lexer.h"

namespace tandem::jinja {

// The template of `source`. InvalidArgument with the line for a syntax error, for filters and
// tests that do not exist, and for nesting that evaluation could not follow.
absl::StatusOr<std::shared_ptr<const Template>> ParseTemplate(std::string_view source);

// Recursive descent with the grammar and precedence of Jinja.
class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<Block> ParseAll();

 private:
  using ExprOr = absl::StatusOr<ExprPtr>;
  using StmtOr = absl::StatusOr<std::unique_ptr<const Stmt>>;

  // How deep statements and parentheses may nest.
  static constexpr int kMaxNesting = 100;

  // Tokens (parser.cc).
  const Token& current() const { return tokens_[pos_]; }
  const Token& Ahead() const { return tokens_[std::min(pos_ + 1, tokens_.size() - 1)]; }
  Token Next();
  bool IsOperator(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool SkipOperator(std::string_view text);
  bool SkipName(std::string_view text);
  absl::Status ExpectOperator(std::string_view text);
  absl::Status Expect(TokenKind kind, std::string_view what);
  absl::StatusOr<std::string> ExpectName();
  absl::Status Unexpected(std::string_view expected) const;
  absl::Status Nest();

  // Statements (parser.cc).
  absl::StatusOr<Block> ParseBlock(std::initializer_list<std::string_view> ends);
  absl::StatusOr<Block> ParseScopedBlock(std::string_view end);
  StmtOr ParseStatement();
  StmtOr ParseSimple(const std::string& tag, int line);
  StmtOr ParseIf(int line);
  StmtOr ParseFor(int line);
  StmtOr ParseSet(int line);
  StmtOr ParseMacro(int line);
  StmtOr ParseCall(int line);
  StmtOr ParseFilterBlock(int line);
  StmtOr ParseWith(int line);
  StmtOr ParseLoopControl(bool is_break, int line);
  absl::Status ParseSignature(MacroDef* macro);
  absl::Status ParseMacroBody(std::string_view end, MacroDef* macro);
  absl::StatusOr<Target> ParseTarget(bool with_namespace);
  absl::StatusOr<Target> ParseSingleTarget();

  // Operators and literals (parse_expression.cc).
  ExprOr ParseExpression(bool with_conditional = true);
  ExprOr ParseConditional();
  ExprOr ParseOr();
  ExprOr ParseAnd();
  ExprOr ParseNot();
  ExprOr ParseCompare();
  ExprOr ParseSum();
  ExprOr ParseConcat();
  ExprOr ParseProduct();
  ExprOr ParsePower();
  ExprOr ParseUnary(bool with_filters = true);
  ExprOr ParsePrimary();
  ExprOr ParseNumber();
  // An expression or, with commas, a tuple of them. An empty one only in parentheses.
  ExprOr ParseTuple(bool with_conditional = true, bool in_parentheses = false);
  bool AtTupleEnd() const;
  ExprOr ParseListLiteral();
  ExprOr ParseDictLiteral();

  // What follows a value (parse_postfix.cc).
  ExprOr ParsePostfix(ExprPtr value);
  ExprOr ParseFilters(ExprPtr value);
  ExprOr ParseDot(ExprPtr object);
  ExprOr ParseSubscript(ExprPtr object);
  ExprOr ParseSubscriptItem();
  ExprOr ParseCallOf(ExprPtr callee);
  ExprOr ParseTest(ExprPtr value);
  absl::Status ParseTestArguments(ArgumentExprs* arguments);
  absl::StatusOr<std::string> ParseDottedName();
  absl::StatusOr<FilterCall> ParseFilterCall();
  absl::StatusOr<std::vector<FilterCall>> ParseFilterChain();
  absl::StatusOr<ArgumentExprs> ParseArguments();
  absl::Status ParseArgument(ArgumentExprs* arguments);
  void NoteUnknown(std::string_view kind, const std::string& name);

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // open loops that break and continue would reach
  // Jinja lets unknown filters and tests pass until they run directly inside of `if`, statement or
  // expression; elsewhere they are errors of the template.
  bool unknown_allowed_ = false;
  std::vector<absl::Status> unknown_;
  std::vector<MacroDef*> macros_;  // open ones, which note the special names that they use
};

// Counts one level of nesting for its life.
class NestingGuard {
 public:
  explicit NestingGuard(int& nesting) : nesting_(nesting) { ++nesting_; }
  ~NestingGuard() { --nesting_; }
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;

 private:
  int& nesting_;
};

}  // namespace tandem::jinja
