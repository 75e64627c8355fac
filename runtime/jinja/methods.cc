// Methods of strings and containers, as Python's.
#include "runtime/jinja/methods.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/interpreter.h"

namespace tandem::jinja {
namespace {

// A method and the value it was taken from.
class BoundMethod : public Object {
 public:
  BoundMethod(Value self, const MethodEntry& method) : self_(std::move(self)), method_(method) {}
  std::string TypeName() const override { return "builtin_function_or_method"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments) override {
    if (method_.function == nullptr) {
      return absl::UnimplementedError(absl::StrCat("the method '", Text(method_.name), "' of '",
                                                   self_.TypeName(), "' is not supported"));
    }
    return method_.function(interpreter, self_, std::move(arguments));
  }
  int depth() const override { return self_.depth() + 1; }

 private:
  Value self_;
  const MethodEntry& method_;
};

template <DictView::Part kPart>
absl::StatusOr<Value> View(Interpreter&, const Value& self, Arguments arguments) {
  TANDEM_RETURN_IF_ERROR(Bind({"the method", {}}, std::move(arguments)).status());
  return Value(DictView{*self.As<Value::DictPtr>(), kPart});
}

absl::StatusOr<Value> DictGet(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Bound bound, Bind({"get", {"key", "default"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const Value* found, self.dict()->Find(*bound[0], interpreter.budget()));
  return found ? *found : bound[1].value_or(Value(None{}));
}

absl::StatusOr<Value> CopyDict(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_RETURN_IF_ERROR(Bind({"copy", {}}, std::move(arguments)).status());
  return Checked(*self.dict(), interpreter.budget());
}

absl::StatusOr<Value> ListCount(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"count", {"value"}, 1}, std::move(arguments)));
  int64_t count = 0;
  for (const Value& item : self.list()->items) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(item, *bound[0], interpreter.budget()));
    count += equal ? 1 : 0;
  }
  return Value(count);
}

absl::StatusOr<Value> ListIndex(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"index", {"value"}, 1}, std::move(arguments)));
  const std::vector<Value>& items = self.list()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(items[i], *bound[0], interpreter.budget()));
    if (equal) return Value(static_cast<int64_t>(i));
  }
  return absl::InvalidArgumentError("the value is not in the list");
}

absl::StatusOr<Value> CopyList(Interpreter& interpreter, const Value& self, Arguments arguments) {
  TANDEM_RETURN_IF_ERROR(Bind({"copy", {}}, std::move(arguments)).status());
  return Checked(List(self.list()->items), interpreter.budget());
}

constexpr MethodEntry kDictMethods[] = {
    {"get", DictGet},
    {"items", View<DictView::Part::kItems>},
    {"keys", View<DictView::Part::kKeys>},
    {"values", View<DictView::Part::kValues>},
    {"copy", CopyDict},
    {"fromkeys", nullptr},
};
constexpr MethodEntry kListMethods[] = {
    {"copy", CopyList}, {"count", ListCount}, {"index", ListIndex}};
constexpr MethodEntry kTupleMethods[] = {{"count", ListCount}, {"index", ListIndex}};

constexpr std::string_view kUnsafeDictMethods[] = {"clear", "pop", "popitem", "setdefault",
                                                   "update"};
constexpr std::string_view kUnsafeListMethods[] = {"append", "clear",  "extend",  "insert",
                                                   "pop",    "remove", "reverse", "sort"};

bool IsUnsafe(const Value& self, std::string_view name) {
  const auto among = [name](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (self.dict()) return among(kUnsafeDictMethods);
  return self.list() && self.list()->kind == List::Kind::kList && among(kUnsafeListMethods);
}

MethodTable MethodsOf(const Value& self) {
  if (self.string()) return TextMethods();
  if (self.dict()) return {std::begin(kDictMethods), std::end(kDictMethods)};
  if (self.list() && self.list()->kind == List::Kind::kList) {
    return {std::begin(kListMethods), std::end(kListMethods)};
  }
  if (self.list()) return {std::begin(kTupleMethods), std::end(kTupleMethods)};
  return {nullptr, nullptr};
}

}  // namespace

std::optional<Value> FindMethod(const Value& self, std::string_view name) {
  if (IsUnsafe(self, name)) {
    return Value::MakeUndefined(absl::StrCat("access to attribute '", Text(name), "' of '",
                                             self.TypeName(), "' object is unsafe"));
  }
  const MethodTable table = MethodsOf(self);
  const auto* found = std::find_if(table.begin, table.end,
                                   [name](const auto& entry) { return entry.name == name; });
  if (found == table.end) return std::nullopt;
  return Value(Value::ObjectPtr(std::make_shared<BoundMethod>(self, *found)));
}

}  // namespace tandem::jinja
