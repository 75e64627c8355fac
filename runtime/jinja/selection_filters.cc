// Filters that apply others to each item, and what sequence filters share.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/interpreter.h"
#include "runtime/jinja/selection.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

using ValueOr = absl::StatusOr<Value>;

// A generator over `value` with what `next` makes of each item; nothing drops the item.
template <typename Next>
Value Generate(Interpreter& interpreter, const Value& value, Next next) {
  Generator generator;
  if (!value.IsTrue()) return Value(std::move(generator));
  absl::StatusOr<std::vector<Value>> items = Items(value, interpreter.budget());
  if (!items.ok()) {
    generator.end = items.status();
    return Value(std::move(generator));
  }
  for (const Value& item : *items) {
    absl::StatusOr<std::optional<Value>> made = next(item);
    if (!made.ok()) {
      generator.end = made.status();
      break;
    }
    if (!made->has_value()) continue;
    generator.depth = std::max(generator.depth, (*made)->depth() + 1);
    generator.items.push_back(**std::move(made));
  }
  if (generator.depth > kMaxValueDepth) {
    generator = {{}, absl::ResourceExhaustedError("values nested too deep"), 1};
  }
  return Value(std::move(generator));
}

ValueOr Map(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty()) return TypeError("map misses its argument");
  const Value value = std::move(arguments.positional[0]);
  arguments.positional.erase(arguments.positional.begin());
  using Made = absl::StatusOr<std::optional<Value>>;
  if (arguments.positional.empty() && !arguments.named.empty()) {
    const std::optional<Value> attribute = arguments.Take("attribute");
    const std::optional<Value> fallback = arguments.Take("default");
    if (!attribute || !arguments.named.empty()) return TypeError("unexpected argument of map");
    TANDEM_ASSIGN_OR_RETURN(const std::vector<Value> path, AttributePath(attribute));
    return Generate(interpreter, value, [&](const Value& item) -> Made {
      TANDEM_ASSIGN_OR_RETURN(Value made, Follow(item, path, fallback, interpreter.budget()));
      return std::optional<Value>(std::move(made));
    });
  }
  if (arguments.positional.empty() || !arguments.positional[0].string()) {
    return TypeError("map requires a filter argument");
  }
  const std::string name = arguments.positional[0].string()->text;
  const FilterFunction filter = FindFilter(name);
  return Generate(interpreter, value, [&](const Value& item) -> Made {
    if (filter == nullptr) return TypeError(absl::StrCat("no filter named '", name, "'"));
    Arguments call = arguments;
    call.positional[0] = item;
    TANDEM_ASSIGN_OR_RETURN(Value made, filter(interpreter, std::move(call)));
    return std::optional<Value>(std::move(made));
  });
}

// select and reject, and with `kByAttribute` selectattr and rejectattr.
template <bool kByAttribute, bool kKeep>
ValueOr Select(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty()) return TypeError("the filter misses its argument");
  const Value value = std::move(arguments.positional[0]);
  arguments.positional.erase(arguments.positional.begin());
  std::vector<Value> path;
  if (kByAttribute) {
    if (arguments.positional.empty()) return TypeError("missing parameter for attribute name");
    TANDEM_ASSIGN_OR_RETURN(path, AttributePath(arguments.positional[0]));
    arguments.positional.erase(arguments.positional.begin());
  }
  TestFunction test = nullptr;
  const bool has_test = !arguments.positional.empty();
  if (has_test) {
    const Str* name = arguments.positional[0].string();
    test = name ? FindTest(name->text) : nullptr;
  }
  return Generate(interpreter, value,
                  [&](const Value& item) -> absl::StatusOr<std::optional<Value>> {
                    TANDEM_RETURN_IF_ERROR(interpreter.budget().Step());
                    TANDEM_ASSIGN_OR_RETURN(const Value subject,
                                            Follow(item, path, std::nullopt, interpreter.budget()));
                    bool holds = subject.IsTrue();
                    if (has_test) {
                      if (test == nullptr) return TypeError("no test of that name");
                      Arguments call = arguments;
                      call.positional[0] = subject;
                      TANDEM_ASSIGN_OR_RETURN(holds, test(interpreter, std::move(call)));
                    }
                    return holds == kKeep ? std::optional<Value>(item) : std::nullopt;
                  });
}

ValueOr Default(Interpreter&, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind({"default", {"value", "default_value", "boolean"}, 1}, std::move(arguments)));
  const bool replace =
      bound[0]->is_undefined() || (TruthOr(bound[2], false) && !bound[0]->IsTrue());
  return replace ? bound[1].value_or(Value("")) : *bound[0];
}

ValueOr Attr(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(const Bound bound,
                          Bind({"attr", {"obj", "name"}, 2}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const std::string name, TextOr(bound[1], ""));
  // Unlike `obj.name` this never looks at items.
  if (bound[0]->object()) return GetAttribute(*bound[0], name, interpreter.budget());
  return FindMethod(*bound[0], name)
      .value_or(Value::MakeUndefined(absl::StrCat("no attribute '", name, "'")));
}

constexpr FilterEntry kFilters[] = {
    {"map", Map},
    {"select", Select<false, true>},
    {"reject", Select<false, false>},
    {"selectattr", Select<true, true>},
    {"rejectattr", Select<true, false>},
    {"default", Default},
    {"d", Default},
    {"attr", Attr},
};

}  // namespace

FilterTable SelectionFilters() { return {std::begin(kFilters), std::end(kFilters)}; }

absl::StatusOr<std::vector<Value>> AttributePath(const std::optional<Value>& attribute) {
  if (!attribute || attribute->is_none()) return std::vector<Value>();
  if (!attribute->string()) return std::vector<Value>{*attribute};
  std::vector<Value> path;
  for (const std::string_view part : Split(attribute->string()->text, ".", -1)) {
    int64_t index = 0;
    const char* end = part.data() + part.size();
    const bool number =
        IsAll(part, TextClass::kDigit) && std::from_chars(part.data(), end, index).ptr == end;
    path.push_back(number ? Value(index) : Value(part));
  }
  return path;
}

absl::StatusOr<Value> Follow(Value value, const std::vector<Value>& path,
                             const std::optional<Value>& fallback, Budget& budget) {
  for (const Value& part : path) {
    TANDEM_ASSIGN_OR_RETURN(value, GetItem(value, part, budget));
    if (value.is_undefined() && fallback && !fallback->is_none()) value = *fallback;
  }
  return value;
}

Value IgnoreCase(const Value& value) {
  return value.string() ? Value(Lower(value.string()->text)) : value;
}

absl::StatusOr<std::vector<Value>> SortByKeys(std::vector<Value> items, std::vector<Value> keys,
                                              SortOrder order, Budget& budget) {
  std::vector<size_t> positions(items.size());
  std::iota(positions.begin(), positions.end(), size_t{0});
  absl::Status failure;
  std::stable_sort(positions.begin(), positions.end(), [&](size_t a, size_t b) {
    if (!failure.ok()) return false;
    const absl::StatusOr<int> result =
        order.reverse ? Order(keys[b], keys[a], budget) : Order(keys[a], keys[b], budget);
    if (!result.ok()) failure = result.status();
    return result.ok() && *result < 0;
  });
  TANDEM_RETURN_IF_ERROR(failure);
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t position : positions) sorted.push_back(std::move(items[position]));
  return sorted;
}

}  // namespace tandem::jinja
