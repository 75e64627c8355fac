#include "runtime/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem::jinja {
namespace {

int DepthOver(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth + 1;
}

std::string HashText(std::string_view text) { return absl::StrCat("s", Text(text)); }

std::string HashNumber(double value) {
  // Integral floats are equal to ints, so they hash as such.
  if (std::abs(value) < 9e18 && value == std::floor(value)) {
    return absl::StrCat("i", static_cast<int64_t>(value));
  }
  std::string hash(1 + sizeof(value), 'f');
  std::memcpy(&hash[1], &value, sizeof(value));
  return hash;
}

absl::Status CheckDepth(int depth) {
  if (depth <= kMaxValueDepth) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the chat template nests values deeper than ", kMaxValueDepth, " levels"));
}

absl::StatusOr<bool> EqualLists(const List& a, const List& b, Budget& budget) {
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(a.items[i], b.items[i], budget));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> EqualDicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    TANDEM_ASSIGN_OR_RETURN(const Value* other, b.Find(key, budget));
    if (other == nullptr) return false;
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(value, *other, budget));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<int> OrderLists(const List& a, const List& b, Budget& budget) {
  for (size_t i = 0; i < std::min(a.items.size(), b.items.size()); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const bool equal, Equal(a.items[i], b.items[i], budget));
    if (!equal) return Order(a.items[i], b.items[i], budget);
  }
  return a.items.size() < b.items.size() ? -1 : a.items.size() > b.items.size() ? 1 : 0;
}

}  // namespace

Value::Value(List list) : data_(ListPtr(std::make_shared<List>(std::move(list)))) {}
Value::Value(Dict dict) : data_(DictPtr(std::make_shared<Dict>(std::move(dict)))) {}
Value::Value(Generator generator) : data_(std::make_shared<Generator>(std::move(generator))) {}

Value Value::MakeUndefined(std::string message) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return value;
}

std::optional<int64_t> Value::integer() const {
  if (const auto* value = As<int64_t>()) return *value;
  if (const auto* value = As<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const auto* value = As<double>()) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

int Value::depth() const {
  if (list()) return list()->depth;
  if (dict()) return dict()->depth;
  if (generator()) return generator()->depth;
  if (object()) return object()->depth();
  const auto* view = As<DictView>();
  return view ? view->dict->depth + 1 : 0;
}

std::string Value::TypeName() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (As<bool>()) return "bool";
  if (As<int64_t>()) return "int";
  if (As<double>()) return "float";
  if (string()) return string()->markup ? "Markup" : "str";
  if (dict()) return "dict";
  if (generator()) return "generator";
  if (object()) return object()->TypeName();
  if (const auto* view = As<DictView>()) {
    return view->part == DictView::Part::kKeys     ? "dict_keys"
           : view->part == DictView::Part::kValues ? "dict_values"
                                                   : "dict_items";
  }
  return list()->kind == List::Kind::kList    ? "list"
         : list()->kind == List::Kind::kTuple ? "tuple"
                                              : "range";
}

bool Value::IsTrue() const {
  if (is_undefined() || is_none()) return false;
  if (const auto value = number()) return *value != 0;
  if (string()) return !string()->text.empty();
  if (list()) return !list()->items.empty();
  if (dict()) return !dict()->items.empty();
  const auto* view = As<DictView>();
  return view == nullptr || !view->dict->items.empty();
}

List::List(std::vector<Value> values, Kind list_kind)
    : kind(list_kind), items(std::move(values)), depth(DepthOver(items)) {}

void Dict::InsertHashed(std::string hash, Value key, Value value) {
  depth = std::max({depth, key.depth() + 1, value.depth() + 1});
  const auto [found, inserted] = index_.try_emplace(std::move(hash), items.size());
  if (inserted) {
    items.emplace_back(std::move(key), std::move(value));
  } else {
    items[found->second].second = std::move(value);
  }
}

absl::Status Dict::Insert(Value key, Value value, Budget& budget) {
  TANDEM_ASSIGN_OR_RETURN(std::string hash, HashKey(key, budget));
  InsertHashed(std::move(hash), std::move(key), std::move(value));
  return absl::OkStatus();
}

void Dict::InsertText(std::string key, Value value) {
  std::string hash = HashText(key);
  InsertHashed(std::move(hash), Value(std::move(key)), std::move(value));
}

absl::StatusOr<const Value*> Dict::Find(const Value& key, Budget& budget) const {
  TANDEM_ASSIGN_OR_RETURN(const std::string hash, HashKey(key, budget));
  const auto found = index_.find(hash);
  return found == index_.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::FindText(std::string_view key) const {
  const auto found = index_.find(HashText(key));
  return found == index_.end() ? nullptr : &items[found->second].second;
}

std::optional<Value> Arguments::Take(std::string_view name) {
  for (auto it = named.begin(); it != named.end(); ++it) {
    if (it->first != name) continue;
    Value value = std::move(it->second);
    named.erase(it);
    return value;
  }
  return std::nullopt;
}

absl::StatusOr<Value> Object::Call(Interpreter&, Arguments) {
  return TypeError(absl::StrCat("'", TypeName(), "' object is not callable"));
}

absl::StatusOr<std::string> HashKey(const Value& value, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(budget.Step());
  if (value.string()) {
    TANDEM_RETURN_IF_ERROR(budget.Read(value.string()->text.size()));
    return HashText(value.string()->text);
  }
  if (value.is_none()) return std::string("n");
  if (value.is_undefined()) return std::string("u");
  if (const auto integer = value.integer()) return absl::StrCat("i", *integer);
  if (const auto number = value.number()) return HashNumber(*number);
  if (value.object()) return absl::StrCat("o", reinterpret_cast<uintptr_t>(value.object()));
  if (value.generator()) return absl::StrCat("g", reinterpret_cast<uintptr_t>(value.generator()));
  if (!value.list() || value.list()->kind != List::Kind::kTuple) {
    return TypeError(absl::StrCat("unhashable type: '", value.TypeName(), "'"));
  }
  std::string hash = "t";
  for (const Value& item : value.list()->items) {
    TANDEM_ASSIGN_OR_RETURN(const std::string part, HashKey(item, budget));
    absl::StrAppend(&hash, part.size(), ":", part);
    TANDEM_RETURN_IF_ERROR(budget.Allocate(part.size()));
  }
  return hash;
}

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(budget.Step());
  if (a.string() && b.string()) {
    const std::string& text = a.string()->text;
    if (text.size() != b.string()->text.size()) return false;
    TANDEM_RETURN_IF_ERROR(budget.Read(text.size()));
    return text == b.string()->text;
  }
  if (a.integer() && b.integer()) return *a.integer() == *b.integer();
  if (a.number() && b.number()) return *a.number() == *b.number();
  if (a.list() && b.list()) return EqualLists(*a.list(), *b.list(), budget);
  if (a.dict() && b.dict()) return EqualDicts(*a.dict(), *b.dict(), budget);
  if (a.object()) return a.object() == b.object();
  if (a.generator()) return a.generator() == b.generator();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

absl::StatusOr<int> Order(const Value& a, const Value& b, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(budget.Step());
  if (a.is_undefined()) return UndefinedError(a);
  if (b.is_undefined()) return UndefinedError(b);
  if (a.string() && b.string()) {
    TANDEM_RETURN_IF_ERROR(budget.Read(a.string()->text.size()));
    // The order of UTF-8 bytes is the order of code points.
    return a.string()->text.compare(b.string()->text);
  }
  if (a.integer() && b.integer()) {
    return *a.integer() < *b.integer() ? -1 : *a.integer() > *b.integer() ? 1 : 0;
  }
  if (a.number() && b.number()) {
    return *a.number() < *b.number() ? -1 : *a.number() > *b.number() ? 1 : 0;
  }
  if (a.list() && b.list() && a.list()->kind == b.list()->kind &&
      a.list()->kind != List::Kind::kRange) {
    return OrderLists(*a.list(), *b.list(), budget);
  }
  return TypeError(
      absl::StrCat("'", a.TypeName(), "' and '", b.TypeName(), "' have no order between them"));
}

absl::StatusOr<Value> Checked(List list, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(CheckDepth(list.depth));
  TANDEM_RETURN_IF_ERROR(budget.Step(list.items.size()));
  TANDEM_RETURN_IF_ERROR(budget.Allocate(sizeof(List) + list.items.size() * sizeof(Value)));
  return Value(std::move(list));
}

absl::StatusOr<Value> Checked(Dict dict, Budget& budget) {
  // An item costs about two values, a hash text and a node of the index.
  constexpr size_t kBytesPerItem = 160;
  TANDEM_RETURN_IF_ERROR(CheckDepth(dict.depth));
  TANDEM_RETURN_IF_ERROR(budget.Step(dict.items.size()));
  TANDEM_RETURN_IF_ERROR(budget.Allocate(sizeof(Dict) + dict.items.size() * kBytesPerItem));
  return Value(std::move(dict));
}

absl::Status TypeError(std::string_view message) {
  return absl::InvalidArgumentError(Text(message));
}

absl::Status Located(const absl::Status& status, int line) {
  constexpr absl::string_view kPrefix = "chat template, line ";
  if (absl::StartsWith(status.message(), kPrefix)) return status;
  return absl::Status(status.code(), absl::StrCat(kPrefix, line, ": ", status.message()));
}

absl::Status UndefinedError(const Value& undefined) {
  const auto* info = undefined.As<Undefined>();
  return absl::InvalidArgumentError(info && info->message ? *info->message
                                                          : "the value is undefined");
}

}  // namespace tandem::jinja
