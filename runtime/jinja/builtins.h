// The filters, tests, functions and methods that templates find ready.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/value.h"

namespace tandem::jinja {

// Null where there is none of that name.
FilterFunction FindFilter(std::string_view name);
TestFunction FindTest(std::string_view name);

// The tables that FindFilter searches.
struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};
struct FilterTable {
  const FilterEntry* begin;
  const FilterEntry* end;
};
FilterTable TextFilters();
FilterTable NumberFilters();
FilterTable SequenceFilters();
FilterTable SelectionFilters();

// A global such as `range` or `namespace`.
std::optional<Value> FindGlobal(std::string_view name);

// The method `name` of a str, list, dict or tuple, bound to it: what getattr() gives in Python.
// Undefined with a message for those that the sandbox withholds; nothing if it has none.
std::optional<Value> FindMethod(const Value& self, std::string_view name);

// A parameter list in the manner of Python: fills `names` from positional and named arguments.
// Those not given are nullopt; the first `required` must be given.
struct Signature {
  std::string_view function;
  std::vector<std::string_view> names;
  size_t required = 0;
};
using Bound = std::vector<std::optional<Value>>;
absl::StatusOr<Bound> Bind(const Signature& signature, Arguments arguments);

// A bound argument as a type, or `fallback` if it was not given. TypeError for other types.
absl::StatusOr<int64_t> IntegerOr(const std::optional<Value>& argument, int64_t fallback);
absl::StatusOr<std::string> TextOr(const std::optional<Value>& argument, std::string_view fallback);
bool TruthOr(const std::optional<Value>& argument, bool fallback);

}  // namespace tandem::jinja
