// The expressions of the grammar, from the loosest binding to the tightest.
#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/parser.h"

namespace tandem::jinja {
Parser::ExprOr Parser::ParseExpression(bool with_conditional) {
  const NestingGuard guard(nesting_);
  TANDEM_RETURN_IF_ERROR(Nest());
  return with_conditional ? ParseConditional() : ParseOr();
}

Parser::ExprOr Parser::ParseConditional() {
  const size_t unknown = unknown_.size();
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseOr());
  while (SkipName("if")) {
    ConditionalExpr node;
    node.then = std::move(value);
    TANDEM_ASSIGN_OR_RETURN(node.test, ParseOr());
    if (SkipName("else")) {
      TANDEM_ASSIGN_OR_RETURN(node.otherwise, ParseExpression());
    }
    TANDEM_ASSIGN_OR_RETURN(value, MakeExpr(std::move(node), line));
    unknown_.resize(unknown);
  }
  return value;
}

Parser::ExprOr Parser::ParseOr() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr left, ParseAnd());
  while (SkipName("or")) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParseAnd());
    TANDEM_ASSIGN_OR_RETURN(
        left, MakeExpr(BinaryExpr{BinaryOp::kOr, std::move(left), std::move(right)}, line));
  }
  return left;
}

Parser::ExprOr Parser::ParseAnd() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr left, ParseNot());
  while (SkipName("and")) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParseNot());
    TANDEM_ASSIGN_OR_RETURN(
        left, MakeExpr(BinaryExpr{BinaryOp::kAnd, std::move(left), std::move(right)}, line));
  }
  return left;
}

Parser::ExprOr Parser::ParseNot() {
  const int line = current().line;
  if (!SkipName("not")) return ParseCompare();
  const NestingGuard guard(nesting_);
  TANDEM_RETURN_IF_ERROR(Nest());
  TANDEM_ASSIGN_OR_RETURN(ExprPtr operand, ParseNot());
  return MakeExpr(UnaryExpr{UnaryOp::kNot, std::move(operand)}, line);
}

Parser::ExprOr Parser::ParseCompare() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr first, ParseSum());
  CompareExpr node;
  while (true) {
    const auto* op = std::find_if(std::begin(kOps), std::end(kOps),
                                  [this](const auto& entry) { return IsOperator(entry.first); });
    CompareOp kind;
    if (op != std::end(kOps)) {
      kind = op->second;
    } else if (IsName("in")) {
      kind = CompareOp::kIn;
    } else if (IsName("not") && Ahead().kind == TokenKind::kName && Ahead().text == "in") {
      kind = CompareOp::kNotIn;
      Next();
    } else {
      break;
    }
    Next();
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParseSum());
    node.rest.emplace_back(kind, std::move(right));
  }
  if (node.rest.empty()) return first;
  node.first = std::move(first);
  return MakeExpr(std::move(node), line);
}

Parser::ExprOr Parser::ParseSum() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr left, ParseConcat());
  while (IsOperator("+") || IsOperator("-")) {
    const BinaryOp op = Next().text == "+" ? BinaryOp::kAdd : BinaryOp::kSub;
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParseConcat());
    TANDEM_ASSIGN_OR_RETURN(left,
                            MakeExpr(BinaryExpr{op, std::move(left), std::move(right)}, line));
  }
  return left;
}

Parser::ExprOr Parser::ParseConcat() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr first, ParseProduct());
  if (!IsOperator("~")) return first;
  ConcatExpr node;
  node.parts.push_back(std::move(first));
  while (SkipOperator("~")) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr part, ParseProduct());
    node.parts.push_back(std::move(part));
  }
  return MakeExpr(std::move(node), line);
}

Parser::ExprOr Parser::ParseProduct() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr left, ParsePower());
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    const std::string text = Next().text;
    const BinaryOp op = text == "*"   ? BinaryOp::kMul
                        : text == "/" ? BinaryOp::kDiv
                        : text == "%" ? BinaryOp::kMod
                                      : BinaryOp::kFloorDiv;
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParsePower());
    TANDEM_ASSIGN_OR_RETURN(left,
                            MakeExpr(BinaryExpr{op, std::move(left), std::move(right)}, line));
  }
  return left;
}

// Unlike in Python, powers associate to the left and signs bind tighter.
Parser::ExprOr Parser::ParsePower() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(ExprPtr left, ParseUnary());
  while (SkipOperator("**")) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr right, ParseUnary());
    TANDEM_ASSIGN_OR_RETURN(
        left, MakeExpr(BinaryExpr{BinaryOp::kPow, std::move(left), std::move(right)}, line));
  }
  return left;
}

Parser::ExprOr Parser::ParseUnary(bool with_filters) {
  const NestingGuard guard(nesting_);
  TANDEM_RETURN_IF_ERROR(Nest());
  const int line = current().line;
  ExprPtr value;
  if (IsOperator("-") || IsOperator("+")) {
    const UnaryOp op = Next().text == "-" ? UnaryOp::kNegate : UnaryOp::kPlus;
    TANDEM_ASSIGN_OR_RETURN(ExprPtr operand, ParseUnary(/*with_filters=*/false));
    TANDEM_ASSIGN_OR_RETURN(value, MakeExpr(UnaryExpr{op, std::move(operand)}, line));
  } else {
    TANDEM_ASSIGN_OR_RETURN(value, ParsePrimary());
  }
  TANDEM_ASSIGN_OR_RETURN(value, ParsePostfix(std::move(value)));
  if (!with_filters) return value;
  return ParseFilters(std::move(value));
}

Parser::ExprOr Parser::ParsePrimary() {
  const int line = current().line;
  switch (current().kind) {
    case TokenKind::kName: {
      std::string name = Next().text;
      if (name == "true" || name == "True") return MakeExpr(Literal{Value(true)}, line);
      if (name == "false" || name == "False") return MakeExpr(Literal{Value(false)}, line);
      if (name == "none" || name == "None") return MakeExpr(Literal{Value(None{})}, line);
      for (MacroDef* macro : macros_) {
        macro->uses_caller |= name == "caller";
        macro->uses_varargs |= name == "varargs";
        macro->uses_kwargs |= name == "kwargs";
      }
      return MakeExpr(NameExpr{std::move(name)}, line);
    }
    case TokenKind::kString: {
      std::string text = Next().text;
      while (current().kind == TokenKind::kString) text += Next().text;
      return MakeExpr(Literal{Value(std::move(text))}, line);
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    default:
      break;
  }
  if (IsOperator("[")) return ParseListLiteral();
  if (IsOperator("{")) return ParseDictLiteral();
  if (!SkipOperator("(")) return Unexpected("an expression");
  TANDEM_ASSIGN_OR_RETURN(ExprPtr inner,
                          ParseTuple(/*with_conditional=*/true, /*in_parentheses=*/true));
  TANDEM_RETURN_IF_ERROR(ExpectOperator(")"));
  return inner;
}

Parser::ExprOr Parser::ParseNumber() {
  const Token token = Next();
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    double number = 0;
    if (std::from_chars(begin, end, number).ptr != end) {
      return SyntaxError(token.line, absl::StrCat("bad number ", token.text));
    }
    return MakeExpr(Literal{Value(number)}, token.line);
  }
  const char letter = token.text.size() > 1 ? static_cast<char>(token.text[1] | 0x20) : '\0';
  const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
  if (base != 10) begin += 2;
  int64_t number = 0;
  const auto result = std::from_chars(begin, end, number, base);
  const bool leading_zero = base == 10 && token.text[0] == '0' && number != 0;
  if (result.ptr != end || result.ec != std::errc() || leading_zero) {
    return SyntaxError(token.line, absl::StrCat("bad integer ", token.text, ", or beyond 64 bits"));
  }
  return MakeExpr(Literal{Value(number)}, token.line);
}

bool Parser::AtTupleEnd() const {
  return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd ||
         IsOperator(")");
}

Parser::ExprOr Parser::ParseTuple(bool with_conditional, bool in_parentheses) {
  const int line = current().line;
  ListExpr tuple;
  tuple.is_tuple = true;
  while (!AtTupleEnd()) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression(with_conditional));
    if (tuple.items.empty() && !IsOperator(",")) return item;
    tuple.items.push_back(std::move(item));
    if (!SkipOperator(",")) break;
  }
  if (tuple.items.empty() && !in_parentheses) return Unexpected("an expression");
  return MakeExpr(std::move(tuple), line);
}

Parser::ExprOr Parser::ParseListLiteral() {
  const int line = Next().line;
  ListExpr node;
  node.is_tuple = false;
  while (!IsOperator("]")) {
    if (!node.items.empty()) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    if (IsOperator("]")) break;
    TANDEM_ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
    node.items.push_back(std::move(item));
  }
  Next();
  return MakeExpr(std::move(node), line);
}

Parser::ExprOr Parser::ParseDictLiteral() {
  const int line = Next().line;
  DictExpr node;
  while (!IsOperator("}")) {
    if (!node.items.empty()) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    if (IsOperator("}")) break;
    TANDEM_ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
    TANDEM_RETURN_IF_ERROR(ExpectOperator(":"));
    TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    node.items.emplace_back(std::move(key), std::move(value));
  }
  Next();
  return MakeExpr(std::move(node), line);
}

}  // namespace tandem::jinja
