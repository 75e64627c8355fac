// Filters over sequences and dicts.
#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/selection.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

using ValueOr = absl::StatusOr<Value>;

// The items as a generator, as most of these filters return them.
Value AsGenerator(std::vector<Value> items) {
  List list(std::move(items));
  return Value(Generator{std::move(list.items), absl::OkStatus(), list.depth});
}

ValueOr LengthFilter(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"length", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const int64_t length, Length(*bound[0], interpreter.budget()));
  return Value(length);
}

ValueOr First(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"first", {"seq"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], interpreter.budget()));
  return items.empty() ? Value::MakeUndefined("No first item, sequence was empty.") : items.front();
}

ValueOr Last(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"last", {"seq"}, 1}, std::move(arguments)));
  if (bound[0]->generator() || bound[0]->is_undefined()) {
    return TypeError(absl::StrCat("'", bound[0]->TypeName(), "' object is not reversible"));
  }
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], interpreter.budget()));
  return items.empty() ? Value::MakeUndefined("No last item, sequence was empty.") : items.back();
}

ValueOr ListFilter(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"list", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(*bound[0], interpreter.budget()));
  return Checked(List(std::move(items)), interpreter.budget());
}

ValueOr Reverse(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"reverse", {"value"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(*bound[0], interpreter.budget()));
  std::reverse(items.begin(), items.end());
  if (!bound[0]->string()) return AsGenerator(std::move(items));
  std::string text;
  for (const Value& item : items) text += item.string()->text;
  return Value(std::move(text));
}

ValueOr Join(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"join", {"value", "d", "attribute"}, 1}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(bound[2]));
  TANDEM_ASSIGN_OR_RETURN(const std::string separator,
                          ToText(bound[1].value_or(Value("")), budget));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const Value item, Follow(items[i], path, std::nullopt, budget));
    TANDEM_ASSIGN_OR_RETURN(const std::string part, ToText(item, budget));
    TANDEM_RETURN_IF_ERROR(budget.Allocate(separator.size()));
    if (i > 0) text += separator;
    text += part;
  }
  return Value(std::move(text));
}

// The attribute of each item that a filter sorts or compares by.
absl::StatusOr<std::vector<Value>> KeysOf(const std::vector<Value>& items,
                                          const std::vector<Value>& path, bool case_sensitive,
                                          Budget& budget) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    TANDEM_ASSIGN_OR_RETURN(const Value key, Follow(item, path, std::nullopt, budget));
    keys.push_back(case_sensitive ? key : IgnoreCase(key));
  }
  return keys;
}

// Keys for sort, whose attribute may be several with commas between: then each key is a list.
absl::StatusOr<std::vector<Value>> SortKeys(const std::vector<Value>& items,
                                            const std::optional<Value>& attribute,
                                            bool case_sensitive, Budget& budget) {
  if (!attribute || !attribute->string()) {
    TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(attribute));
    return KeysOf(items, path, case_sensitive, budget);
  }
  std::vector<std::vector<Value>> parts(items.size());
  for (const std::string_view name : Split(attribute->string()->text, ",", -1)) {
    TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(Value(name)));
    TANDEM_ASSIGN_OR_RETURN(std::vector<Value> keys, KeysOf(items, path, case_sensitive, budget));
    for (size_t i = 0; i < items.size(); ++i) parts[i].push_back(std::move(keys[i]));
  }
  std::vector<Value> keys;
  for (std::vector<Value>& part : parts) {
    TANDEM_ASSIGN_OR_RETURN(Value key, Checked(List(std::move(part)), budget));
    keys.push_back(std::move(key));
  }
  return keys;
}

ValueOr Sort(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"sort", {"value", "reverse", "case_sensitive", "attribute"}, 1}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(*bound[0], budget));
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> keys,
                          SortKeys(items, bound[3], TruthOr(bound[2], false), budget));
  TANDEM_ASSIGN_OR_RETURN(
      items, SortByKeys(std::move(items), std::move(keys), {TruthOr(bound[1], false)}, budget));
  return Checked(List(std::move(items)), budget);
}

ValueOr DictSort(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"dictsort", {"value", "case_sensitive", "by", "reverse"}, 1}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  if (!bound[0]->dict()) return TypeError("dictsort needs a mapping");
  TANDEM_ASSIGN_OR_RETURN(const std::string by, TextOr(bound[2], "key"));
  if (by != "key" && by != "value") return TypeError("you can only sort by 'key' or 'value'");
  const Value view(DictView{*bound[0]->As<Value::DictPtr>(), DictView::Part::kItems});
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(view, budget));
  const std::vector<Value> path = {Value(int64_t{by == "key" ? 0 : 1})};
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> keys,
                          KeysOf(items, path, TruthOr(bound[1], false), budget));
  TANDEM_ASSIGN_OR_RETURN(
      items, SortByKeys(std::move(items), std::move(keys), {TruthOr(bound[3], false)}, budget));
  return Checked(List(std::move(items)), budget);
}

ValueOr ItemsFilter(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"items", {"value"}, 1}, std::move(arguments)));
  if (bound[0]->is_undefined()) return Value(Generator{});
  if (!bound[0]->dict()) {
    return Value(Generator{{}, TypeError("Can only get item pairs from a mapping."), 1});
  }
  const Value view(DictView{*bound[0]->As<Value::DictPtr>(), DictView::Part::kItems});
  TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(view, interpreter.budget()));
  return AsGenerator(std::move(items));
}

ValueOr Unique(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"unique", {"value", "case_sensitive", "attribute"}, 1}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(bound[2]));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> keys,
                          KeysOf(items, path, TruthOr(bound[1], false), budget));
  std::unordered_set<std::string> seen;
  std::vector<Value> unique;
  for (size_t i = 0; i < items.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(std::string hash, HashKey(keys[i], budget));
    if (seen.insert(std::move(hash)).second) unique.push_back(items[i]);
  }
  return AsGenerator(std::move(unique));
}

// min and max: the first item whose key no other beats.
template <bool kMax>
ValueOr Extreme(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"min", {"value", "case_sensitive", "attribute"}, 1}, std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(bound[2]));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  if (items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> keys,
                          KeysOf(items, path, TruthOr(bound[1], false), budget));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(const int order, Order(keys[i], keys[best], budget));
    if (kMax ? order > 0 : order < 0) best = i;
  }
  return items[best];
}

ValueOr Sum(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"sum", {"iterable", "attribute", "start"}, 1},
                                                  std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(bound[1]));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  Value sum = bound[2].value_or(Value(int64_t{0}));
  if (sum.string()) return TypeError("sum() can't sum strings");
  for (const Value& item : items) {
    TANDEM_ASSIGN_OR_RETURN(const Value term, Follow(item, path, std::nullopt, budget));
    TANDEM_ASSIGN_OR_RETURN(sum, ApplyBinary(BinaryOp::kAdd, sum, term, budget));
  }
  return sum;
}

ValueOr Batch(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound, Bind({"batch", {"value", "linecount", "fill_with"}, 2},
                                                  std::move(arguments)));
  Budget& budget = interpreter.budget();
  TANDEM_ASSIGN_OR_RETURN(const int64_t size, IntegerOr(bound[1], 0));
  TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(*bound[0], budget));
  if (size < 1) return TypeError(absl::StrCat("batches of ", size, " items"));
  std::vector<Value> batches;
  for (size_t begin = 0; begin < items.size(); begin += static_cast<size_t>(size)) {
    const size_t count = std::min(static_cast<size_t>(size), items.size() - begin);
    std::vector<Value> batch(items.begin() + begin, items.begin() + begin + count);
    if (bound[2] && !bound[2]->is_none()) {
      TANDEM_RETURN_IF_ERROR(budget.Allocate(static_cast<size_t>(size) * sizeof(Value)));
      batch.resize(static_cast<size_t>(size), *bound[2]);
    }
    TANDEM_ASSIGN_OR_RETURN(Value value, Checked(List(std::move(batch)), budget));
    batches.push_back(std::move(value));
  }
  return AsGenerator(std::move(batches));
}

constexpr FilterEntry kFilters[] = {
    {"batch", Batch},        {"count", LengthFilter},
    {"dictsort", DictSort},  {"first", First},
    {"items", ItemsFilter},  {"join", Join},
    {"last", Last},          {"length", LengthFilter},
    {"list", ListFilter},    {"max", Extreme<true>},
    {"min", Extreme<false>}, {"reverse", Reverse},
    {"sort", Sort},          {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

FilterTable SequenceFilters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace tandem::jinja
