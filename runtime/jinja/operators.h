// Operators, subscripts and attributes of values, with Python's rules.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/jinja/ast.h"
#include "runtime/jinja/value.h"

namespace tandem::jinja {

// Every operator but `and` and `or`, which do not always evaluate both sides.
absl::StatusOr<Value> ApplyBinary(BinaryOp op, const Value& left, const Value& right,
                                  Budget& budget);
absl::StatusOr<Value> ApplyUnary(UnaryOp op, const Value& operand);
absl::StatusOr<bool> Compare(CompareOp op, const Value& left, const Value& right, Budget& budget);

// `needle in haystack`.
absl::StatusOr<bool> ContainsValue(const Value& haystack, const Value& needle, Budget& budget);

// `object.name`: methods first, then items. What does not exist is undefined.
absl::StatusOr<Value> GetAttribute(const Value& object, std::string_view name, Budget& budget);
// `object[key]`: items first, then methods.
absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Budget& budget);
// `object[start:stop:step]`; undefined and none stand for parts that are not given.
struct SliceBounds {
  Value start = None{};
  Value stop = None{};
  Value step = None{};
};
absl::StatusOr<Value> GetSlice(const Value& object, const SliceBounds& bounds, Budget& budget);

// All items that iteration over `value` gives; a generator is used up.
absl::StatusOr<std::vector<Value>> Items(const Value& value, Budget& budget);

// len(value).
absl::StatusOr<int64_t> Length(const Value& value, Budget& budget);

bool IsIterable(const Value& value);

}  // namespace tandem::jinja
