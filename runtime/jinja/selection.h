// What several filters over sequences share: paths to attributes, and sorting.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/jinja/value.h"

namespace tandem::jinja {

// "a.b.0" as the subscripts ["a"]["b"][0]; an int is one subscript; none or nothing is no
// subscript.
absl::StatusOr<std::vector<Value>> AttributePath(const std::optional<Value>& attribute);

// The value at the end of `path`; `fallback`, if given and not none, replaces undefined ones.
absl::StatusOr<Value> Follow(Value value, const std::vector<Value>& path,
                             const std::optional<Value>& fallback, Budget& budget);

// Text in lower case; any other value as it is.
Value IgnoreCase(const Value& value);

// Sorts items stably by keys, one of each per item.
struct SortOrder {
  bool reverse = false;
};
absl::StatusOr<std::vector<Value>> SortByKeys(std::vector<Value> items, std::vector<Value> keys,
                                              SortOrder order, Budget& budget);

}  // namespace tandem::jinja
