// What may follow a value in an expression: subscripts, calls, filters and tests.
#include <charconv>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/parser.h"

namespace tandem::jinja {

void Parser::NoteUnknown(std::string_view kind, const std::string& name) {
  if (unknown_allowed_) return;
  unknown_.push_back(
      SyntaxError(current().line, absl::StrCat("no ", Text(kind), " named '", name, "'")));
}

Parser::ExprOr Parser::ParsePostfix(ExprPtr value) {
  while (true) {
    if (IsOperator(".")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseDot(std::move(value)));
    } else if (IsOperator("[")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseSubscript(std::move(value)));
    } else if (IsOperator("(")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseCallOf(std::move(value)));
    } else {
      return value;
    }
  }
}

Parser::ExprOr Parser::ParseFilters(ExprPtr value) {
  while (true) {
    const int line = current().line;
    if (SkipOperator("|")) {
      TANDEM_ASSIGN_OR_RETURN(FilterCall filter, ParseFilterCall());
      TANDEM_ASSIGN_OR_RETURN(value,
                              MakeExpr(FilterExpr{std::move(value), std::move(filter)}, line));
    } else if (SkipName("is")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseTest(std::move(value)));
    } else if (IsOperator("(")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseCallOf(std::move(value)));
    } else {
      return value;
    }
  }
}

// `object.name`, or `object.0` which is `object[0]`.
Parser::ExprOr Parser::ParseDot(ExprPtr object) {
  const int line = Next().line;
  if (current().kind == TokenKind::kInteger) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr index, ParseNumber());
    return MakeExpr(SubscriptExpr{std::move(object), std::move(index)}, line);
  }
  TANDEM_ASSIGN_OR_RETURN(std::string name, ExpectName());
  return MakeExpr(AttributeExpr{std::move(object), std::move(name)}, line);
}

Parser::ExprOr Parser::ParseSubscript(ExprPtr object) {
  const int line = Next().line;
  ListExpr tuple;
  tuple.is_tuple = true;
  while (!IsOperator("]")) {
    if (!tuple.items.empty()) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    TANDEM_ASSIGN_OR_RETURN(ExprPtr item, ParseSubscriptItem());
    tuple.items.push_back(std::move(item));
  }
  Next();
  if (tuple.items.size() == 1) {
    return MakeExpr(SubscriptExpr{std::move(object), std::move(tuple.items[0])}, line);
  }
  TANDEM_ASSIGN_OR_RETURN(ExprPtr index, MakeExpr(std::move(tuple), line));
  return MakeExpr(SubscriptExpr{std::move(object), std::move(index)}, line);
}

// An index, or a slice `start:stop:step` with each part optional.
Parser::ExprOr Parser::ParseSubscriptItem() {
  const int line = current().line;
  SliceExpr slice;
  if (!IsOperator(":")) {
    TANDEM_ASSIGN_OR_RETURN(slice.start, ParseExpression());
    if (!IsOperator(":")) return std::move(slice.start);
  }
  Next();
  const auto at_end = [this] { return IsOperator("]") || IsOperator(","); };
  if (!IsOperator(":") && !at_end()) {
    TANDEM_ASSIGN_OR_RETURN(slice.stop, ParseExpression());
  }
  if (SkipOperator(":") && !at_end()) {
    TANDEM_ASSIGN_OR_RETURN(slice.step, ParseExpression());
  }
  return MakeExpr(std::move(slice), line);
}

Parser::ExprOr Parser::ParseCallOf(ExprPtr callee) {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ArgumentExprs arguments, ParseArguments());
  return MakeExpr(CallExpr{std::move(callee), std::move(arguments)}, line);
}

absl::StatusOr<ArgumentExprs> Parser::ParseArguments() {
  TANDEM_RETURN_IF_ERROR(ExpectOperator("("));
  ArgumentExprs arguments;
  bool first = true;
  while (!IsOperator(")")) {
    if (!std::exchange(first, false)) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    if (IsOperator(")")) break;
    TANDEM_RETURN_IF_ERROR(ParseArgument(&arguments));
  }
  Next();
  return arguments;
}

absl::Status Parser::ParseArgument(ArgumentExprs* arguments) {
  if (SkipOperator("*")) {
    if (arguments->star || arguments->star_star) return Unexpected("one argument list");
    TANDEM_ASSIGN_OR_RETURN(arguments->star, ParseExpression());
    return absl::OkStatus();
  }
  if (SkipOperator("**")) {
    if (arguments->star_star) return Unexpected("one dict of keyword arguments");
    TANDEM_ASSIGN_OR_RETURN(arguments->star_star, ParseExpression());
    return absl::OkStatus();
  }
  if (arguments->star_star) return Unexpected("no argument after **");
  const Token& ahead = Ahead();
  if (current().kind == TokenKind::kName && ahead.kind == TokenKind::kOperator &&
      ahead.text == "=") {
    std::string name = Next().text;
    Next();
    TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    arguments->named.emplace_back(std::move(name), std::move(value));
    return absl::OkStatus();
  }
  if (arguments->star || !arguments->named.empty()) return Unexpected("a keyword argument");
  TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
  arguments->positional.push_back(std::move(value));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Parser::ParseDottedName() {
  TANDEM_ASSIGN_OR_RETURN(std::string name, ExpectName());
  while (SkipOperator(".")) {
    TANDEM_ASSIGN_OR_RETURN(const std::string part, ExpectName());
    absl::StrAppend(&name, ".", part);
  }
  return name;
}

absl::StatusOr<FilterCall> Parser::ParseFilterCall() {
  FilterCall call;
  TANDEM_ASSIGN_OR_RETURN(call.name, ParseDottedName());
  call.function = FindFilter(call.name);
  if (call.function == nullptr) NoteUnknown("filter", call.name);
  if (IsOperator("(")) {
    TANDEM_ASSIGN_OR_RETURN(call.arguments, ParseArguments());
  }
  return call;
}

absl::StatusOr<std::vector<FilterCall>> Parser::ParseFilterChain() {
  std::vector<FilterCall> filters;
  do {
    TANDEM_ASSIGN_OR_RETURN(FilterCall filter, ParseFilterCall());
    filters.push_back(std::move(filter));
  } while (SkipOperator("|"));
  return filters;
}

// The argument of a test may stand without parentheses: `x is divisibleby 3`.
absl::Status Parser::ParseTestArguments(ArgumentExprs* arguments) {
  if (IsOperator("(")) {
    TANDEM_ASSIGN_OR_RETURN(*arguments, ParseArguments());
    return absl::OkStatus();
  }
  const TokenKind kind = current().kind;
  const bool value = kind == TokenKind::kName || kind == TokenKind::kString ||
                     kind == TokenKind::kInteger || kind == TokenKind::kFloat || IsOperator("[") ||
                     IsOperator("{");
  if (!value || IsName("else") || IsName("or") || IsName("and")) return absl::OkStatus();
  if (IsName("is")) return SyntaxError(current().line, "tests cannot be chained with 'is'");
  TANDEM_ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
  TANDEM_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
  arguments->positional.push_back(std::move(argument));
  return absl::OkStatus();
}

Parser::ExprOr Parser::ParseTest(ExprPtr value) {
  const int line = current().line;
  const bool negated = SkipName("not");
  TestExpr node;
  node.value = std::move(value);
  TANDEM_ASSIGN_OR_RETURN(node.name, ParseDottedName());
  node.function = FindTest(node.name);
  if (node.function == nullptr) NoteUnknown("test", node.name);
  TANDEM_RETURN_IF_ERROR(ParseTestArguments(&node.arguments));
  TANDEM_ASSIGN_OR_RETURN(ExprPtr test, MakeExpr(std::move(node), line));
  if (!negated) return test;
  return MakeExpr(UnaryExpr{UnaryOp::kNot, std::move(test)}, line);
}

}  // namespace tandem::jinja
