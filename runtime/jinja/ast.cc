#include "runtime/jinja/ast.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/jinja/lexer.h"

namespace tandem::jinja {
namespace {

int DepthOf(const ExprPtr& expr) { return expr ? expr->depth : 0; }
int DepthOf(const std::vector<ExprPtr>& exprs) {
  int depth = 0;
  for (const ExprPtr& expr : exprs) depth = std::max(depth, DepthOf(expr));
  return depth;
}
template <typename Key>
int DepthOf(const std::vector<std::pair<Key, ExprPtr>>& exprs) {
  int depth = 0;
  for (const auto& [key, expr] : exprs) depth = std::max(depth, DepthOf(expr));
  return depth;
}
int DepthOf(const ArgumentExprs& arguments) {
  return std::max({DepthOf(arguments.positional), DepthOf(arguments.named), DepthOf(arguments.star),
                   DepthOf(arguments.star_star)});
}

int DepthOf(const Literal&) { return 0; }
int DepthOf(const NameExpr&) { return 0; }
int DepthOf(const ListExpr& node) { return DepthOf(node.items); }
int DepthOf(const DictExpr& node) {
  int depth = DepthOf(node.items);
  for (const auto& [key, value] : node.items) depth = std::max(depth, DepthOf(key));
  return depth;
}
int DepthOf(const UnaryExpr& node) { return DepthOf(node.operand); }
int DepthOf(const BinaryExpr& node) { return std::max(DepthOf(node.left), DepthOf(node.right)); }
int DepthOf(const ConcatExpr& node) { return DepthOf(node.parts); }
int DepthOf(const CompareExpr& node) { return std::max(DepthOf(node.first), DepthOf(node.rest)); }
int DepthOf(const ConditionalExpr& node) {
  return std::max({DepthOf(node.test), DepthOf(node.then), DepthOf(node.otherwise)});
}
int DepthOf(const AttributeExpr& node) { return DepthOf(node.object); }
int DepthOf(const SubscriptExpr& node) {
  return std::max(DepthOf(node.object), DepthOf(node.index));
}
int DepthOf(const SliceExpr& node) {
  return std::max({DepthOf(node.start), DepthOf(node.stop), DepthOf(node.step)});
}
int DepthOf(const CallExpr& node) {
  return std::max(DepthOf(node.callee), DepthOf(node.arguments));
}
int DepthOf(const FilterExpr& node) {
  return std::max(DepthOf(node.value), DepthOf(node.filter.arguments));
}
int DepthOf(const TestExpr& node) { return std::max(DepthOf(node.value), DepthOf(node.arguments)); }

}  // namespace

absl::StatusOr<ExprPtr> MakeExpr(ExprNode node, int line) {
  const int depth =
      1 + std::visit([](const auto& alternative) { return DepthOf(alternative); }, node);
  if (depth > kMaxExprDepth) {
    return SyntaxError(line, absl::StrCat("an expression of more than ", kMaxExprDepth, " levels"));
  }
  return std::make_unique<const Expr>(Expr{line, depth, std::move(node)});
}

}  // namespace tandem::jinja
