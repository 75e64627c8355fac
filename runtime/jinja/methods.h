// Tables of methods, for methods.cc and text_methods.cc.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/jinja/value.h"

namespace tandem::jinja {

// Null for methods that exist in Python but not here: calling them is an error.
using MethodFunction = absl::StatusOr<Value> (*)(Interpreter&, const Value& self, Arguments);
struct MethodEntry {
  std::string_view name;
  MethodFunction function;
};
struct MethodTable {
  const MethodEntry* begin;
  const MethodEntry* end;
};

MethodTable TextMethods();

}  // namespace tandem::jinja
