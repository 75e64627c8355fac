#include "runtime/jinja/parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

template <typename Node>
std::unique_ptr<const Stmt> MakeStmt(Node node, int line) {
  return std::make_unique<const Stmt>(Stmt{line, std::move(node)});
}

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kString:
      return "a string";
    default:
      return absl::StrCat("'", token.text, "'");
  }
}

// Restores a variable when the block ends.
template <typename T>
class Scoped {
 public:
  Scoped(T& variable, T value) : variable_(variable), saved_(std::exchange(variable, value)) {}
  ~Scoped() { variable_ = saved_; }
  Scoped(const Scoped&) = delete;
  Scoped& operator=(const Scoped&) = delete;

 private:
  T& variable_;
  T saved_;
};

}  // namespace

Token Parser::Next() {
  Token token = current();
  if (pos_ + 1 < tokens_.size()) ++pos_;
  return token;
}

bool Parser::IsOperator(std::string_view text) const {
  return current().kind == TokenKind::kOperator && current().text == text;
}

bool Parser::IsName(std::string_view text) const {
  return current().kind == TokenKind::kName && current().text == text;
}

bool Parser::SkipOperator(std::string_view text) {
  if (!IsOperator(text)) return false;
  Next();
  return true;
}

bool Parser::SkipName(std::string_view text) {
  if (!IsName(text)) return false;
  Next();
  return true;
}

absl::Status Parser::Unexpected(std::string_view expected) const {
  return SyntaxError(current().line,
                     absl::StrCat("expected ", Text(expected), ", got ", Describe(current())));
}

absl::Status Parser::ExpectOperator(std::string_view text) {
  if (SkipOperator(text)) return absl::OkStatus();
  return Unexpected(absl::StrCat("'", Text(text), "'"));
}

absl::Status Parser::Expect(TokenKind kind, std::string_view what) {
  if (current().kind != kind) return Unexpected(what);
  Next();
  return absl::OkStatus();
}

absl::StatusOr<std::string> Parser::ExpectName() {
  if (current().kind != TokenKind::kName) return Unexpected("a name");
  return Next().text;
}

absl::Status Parser::Nest() {
  if (nesting_ <= kMaxNesting) return absl::OkStatus();
  return SyntaxError(current().line, absl::StrCat("nested deeper than ", kMaxNesting, " levels"));
}

absl::StatusOr<Block> Parser::ParseAll() {
  TANDEM_ASSIGN_OR_RETURN(Block body, ParseBlock({}));
  if (!unknown_.empty()) return unknown_.front();
  return body;
}

// Statements up to a tag named in `ends`, whose name is then the current token.
absl::StatusOr<Block> Parser::ParseBlock(std::initializer_list<std::string_view> ends) {
  const NestingGuard guard(nesting_);
  TANDEM_RETURN_IF_ERROR(Nest());
  Block body;
  while (true) {
    const int line = current().line;
    switch (Token token = Next(); token.kind) {
      case TokenKind::kData:
        body.push_back(MakeStmt(TextStmt{std::move(token.text)}, line));
        break;
      case TokenKind::kVariableBegin: {
        TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseTuple());
        TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kVariableEnd, "'}}'"));
        body.push_back(MakeStmt(PrintStmt{std::move(value)}, line));
        break;
      }
      case TokenKind::kBlockBegin: {
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return IsName(end); })) {
          return body;
        }
        TANDEM_ASSIGN_OR_RETURN(auto statement, ParseStatement());
        TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
        body.push_back(std::move(statement));
        break;
      }
      default:
        if (ends.size() == 0) return body;
        return Unexpected(absl::StrCat("the tag '", Text(*(ends.end() - 1)), "'"));
    }
  }
}

// The body of a tag that opens a scope, from its '%}' to the name of its end tag, both included.
absl::StatusOr<Block> Parser::ParseScopedBlock(std::string_view end) {
  TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
  const Scoped hard(unknown_allowed_, false);
  TANDEM_ASSIGN_OR_RETURN(Block body, ParseBlock({end}));
  Next();
  return body;
}

Parser::StmtOr Parser::ParseStatement() {
  const int line = current().line;
  TANDEM_ASSIGN_OR_RETURN(const std::string tag, ExpectName());
  if (tag == "if") return ParseIf(line);
  if (tag == "for") return ParseFor(line);
  if (tag == "set") return ParseSet(line);
  if (tag == "macro") return ParseMacro(line);
  if (tag == "call") return ParseCall(line);
  if (tag == "filter") return ParseFilterBlock(line);
  if (tag == "with") return ParseWith(line);
  return ParseSimple(tag, line);
}

Parser::StmtOr Parser::ParseSimple(const std::string& tag, int line) {
  if (tag == "break" || tag == "continue") return ParseLoopControl(tag == "break", line);
  if (tag == "print") {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseTuple());
    return MakeStmt(PrintStmt{std::move(value)}, line);
  }
  if (tag == "generation") {
    const Scoped loops(loops_, 0);
    TANDEM_ASSIGN_OR_RETURN(Block body, ParseScopedBlock("endgeneration"));
    return MakeStmt(ScopeStmt{std::move(body)}, line);
  }
  for (const char* name : {"block", "extends", "include", "import", "from", "autoescape"}) {
    if (tag == name) {
      return SyntaxError(line, absl::StrCat("the tag '", tag, "' has no place in chat templates"));
    }
  }
  return SyntaxError(line, absl::StrCat("unknown tag '", tag, "'"));
}

Parser::StmtOr Parser::ParseLoopControl(bool is_break, int line) {
  if (loops_ == 0) return SyntaxError(line, "break or continue outside of a loop");
  if (is_break) return MakeStmt(BreakStmt{}, line);
  return MakeStmt(ContinueStmt{}, line);
}

Parser::StmtOr Parser::ParseIf(int line) {
  const Scoped soft(unknown_allowed_, true);
  IfStmt node;
  do {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr test, ParseTuple(/*with_conditional=*/false));
    TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
    TANDEM_ASSIGN_OR_RETURN(Block body, ParseBlock({"elif", "else", "endif"}));
    node.branches.emplace_back(std::move(test), std::move(body));
  } while (SkipName("elif"));
  if (SkipName("else")) {
    TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
    TANDEM_ASSIGN_OR_RETURN(node.otherwise, ParseBlock({"endif"}));
  }
  Next();
  return MakeStmt(std::move(node), line);
}

Parser::StmtOr Parser::ParseFor(int line) {
  ForStmt node;
  TANDEM_ASSIGN_OR_RETURN(node.target, ParseTarget(/*with_namespace=*/false));
  if (!SkipName("in")) return Unexpected("'in'");
  TANDEM_ASSIGN_OR_RETURN(node.iterable, ParseTuple(/*with_conditional=*/false));
  const Scoped hard(unknown_allowed_, false);
  if (SkipName("if")) {
    TANDEM_ASSIGN_OR_RETURN(node.filter, ParseExpression());
  }
  node.recursive = SkipName("recursive");
  TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
  {
    const NestingGuard loop(loops_);
    TANDEM_ASSIGN_OR_RETURN(node.body, ParseBlock({"else", "endfor"}));
  }
  if (SkipName("else")) {
    TANDEM_RETURN_IF_ERROR(Expect(TokenKind::kBlockEnd, "'%}'"));
    TANDEM_ASSIGN_OR_RETURN(node.otherwise, ParseBlock({"endfor"}));
  }
  Next();
  return MakeStmt(std::move(node), line);
}

Parser::StmtOr Parser::ParseSet(int line) {
  TANDEM_ASSIGN_OR_RETURN(Target target, ParseTarget(/*with_namespace=*/true));
  if (SkipOperator("=")) {
    TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseTuple());
    return MakeStmt(SetStmt{std::move(target), std::move(value)}, line);
  }
  SetBlockStmt node{std::move(target), {}, {}};
  const Scoped hard(unknown_allowed_, false);
  if (SkipOperator("|")) {
    TANDEM_ASSIGN_OR_RETURN(node.filters, ParseFilterChain());
  }
  TANDEM_ASSIGN_OR_RETURN(node.body, ParseScopedBlock("endset"));
  return MakeStmt(std::move(node), line);
}

absl::Status Parser::ParseSignature(MacroDef* macro) {
  TANDEM_RETURN_IF_ERROR(ExpectOperator("("));
  while (!IsOperator(")")) {
    if (!macro->parameters.empty()) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    TANDEM_ASSIGN_OR_RETURN(std::string name, ExpectName());
    ExprPtr value;
    if (SkipOperator("=")) {
      TANDEM_ASSIGN_OR_RETURN(value, ParseExpression());
    } else if (!macro->defaults.empty() && macro->defaults.back()) {
      return SyntaxError(current().line, absl::StrCat("parameter '", name,
                                                      "' without a default follows one with it"));
    }
    macro->parameters.push_back(std::move(name));
    macro->defaults.push_back(std::move(value));
  }
  return ExpectOperator(")");
}

absl::Status Parser::ParseMacroBody(std::string_view end, MacroDef* macro) {
  const Scoped loops(loops_, 0);
  macros_.push_back(macro);
  TANDEM_ASSIGN_OR_RETURN(macro->body, ParseScopedBlock(end));
  macros_.pop_back();
  return absl::OkStatus();
}

Parser::StmtOr Parser::ParseMacro(int line) {
  const Scoped hard(unknown_allowed_, false);
  MacroDef macro;
  TANDEM_ASSIGN_OR_RETURN(macro.name, ExpectName());
  TANDEM_RETURN_IF_ERROR(ParseSignature(&macro));
  TANDEM_RETURN_IF_ERROR(ParseMacroBody("endmacro", &macro));
  return MakeStmt(MacroStmt{std::move(macro)}, line);
}

Parser::StmtOr Parser::ParseCall(int line) {
  CallBlockStmt node;
  node.caller.name = "caller";
  if (IsOperator("(")) TANDEM_RETURN_IF_ERROR(ParseSignature(&node.caller));
  TANDEM_ASSIGN_OR_RETURN(node.call, ParseExpression());
  if (!std::holds_alternative<CallExpr>(node.call->node)) {
    return SyntaxError(line, "the tag 'call' needs a call");
  }
  TANDEM_RETURN_IF_ERROR(ParseMacroBody("endcall", &node.caller));
  return MakeStmt(std::move(node), line);
}

Parser::StmtOr Parser::ParseFilterBlock(int line) {
  const Scoped hard(unknown_allowed_, false);
  FilterBlockStmt node;
  TANDEM_ASSIGN_OR_RETURN(node.filters, ParseFilterChain());
  TANDEM_ASSIGN_OR_RETURN(node.body, ParseScopedBlock("endfilter"));
  return MakeStmt(std::move(node), line);
}

Parser::StmtOr Parser::ParseWith(int line) {
  WithStmt node;
  while (current().kind != TokenKind::kBlockEnd) {
    if (!node.variables.empty()) TANDEM_RETURN_IF_ERROR(ExpectOperator(","));
    TANDEM_ASSIGN_OR_RETURN(Target target, ParseTarget(/*with_namespace=*/false));
    TANDEM_RETURN_IF_ERROR(ExpectOperator("="));
    TANDEM_ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    node.variables.emplace_back(std::move(target), std::move(value));
  }
  TANDEM_ASSIGN_OR_RETURN(node.body, ParseScopedBlock("endwith"));
  return MakeStmt(std::move(node), line);
}

absl::StatusOr<Target> Parser::ParseSingleTarget() {
  const NestingGuard guard(nesting_);
  TANDEM_RETURN_IF_ERROR(Nest());
  Target target;
  if (SkipOperator("(")) {
    TANDEM_ASSIGN_OR_RETURN(target, ParseTarget(/*with_namespace=*/false));
    TANDEM_RETURN_IF_ERROR(ExpectOperator(")"));
    return target;
  }
  TANDEM_ASSIGN_OR_RETURN(target.name, ExpectName());
  for (const char* reserved : {"true", "false", "none", "True", "False", "None"}) {
    if (target.name == reserved) {
      return SyntaxError(current().line, absl::StrCat("can't assign to '", target.name, "'"));
    }
  }
  return target;
}

absl::StatusOr<Target> Parser::ParseTarget(bool with_namespace) {
  if (with_namespace && Ahead().kind == TokenKind::kOperator && Ahead().text == ".") {
    Target target;
    TANDEM_ASSIGN_OR_RETURN(target.name, ExpectName());
    Next();
    TANDEM_ASSIGN_OR_RETURN(target.attribute, ExpectName());
    return target;
  }
  Target tuple;
  tuple.is_tuple = true;
  while (true) {
    TANDEM_ASSIGN_OR_RETURN(Target target, ParseSingleTarget());
    if (tuple.items.empty() && !IsOperator(",")) return target;
    tuple.items.push_back(std::move(target));
    if (!SkipOperator(",")) return tuple;
    if (IsName("in") || IsOperator("=") || IsOperator(")")) return tuple;
  }
}

absl::StatusOr<std::shared_ptr<const Template>> ParseTemplate(std::string_view source) {
  if (!IsValidUtf8(source))
    return absl::InvalidArgumentError("the chat template is no valid UTF-8");
  TANDEM_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  auto parsed = std::make_shared<Template>();
  TANDEM_ASSIGN_OR_RETURN(parsed->body, Parser(std::move(tokens)).ParseAll());
  return std::shared_ptr<const Template>(std::move(parsed));
}

}  // namespace tandem::jinja
