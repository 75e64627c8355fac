// The variable `loop` inside of a `for`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/jinja/ast.h"
#include "runtime/jinja/interpreter.h"

namespace tandem::jinja {

class LoopObject : public Object {
 public:
  // `items` are those that passed the filter of the loop; `depth` is 0 for the outermost call of a
  // recursive loop.
  LoopObject(const ForStmt& loop, ScopePtr outer, std::vector<Value> items, int64_t depth)
      : loop_(loop), outer_(std::move(outer)), items_(std::move(items)), depth_(depth) {}

  bool HasCurrent() const { return index_ < items_.size(); }
  const Value& Current() const { return items_[index_]; }
  void Advance() { ++index_; }

  std::string TypeName() const override { return "LoopContext"; }
  bool IsCallable() const override { return true; }
  std::optional<Value> Attribute(std::string_view name) const override;
  // loop(items): runs a recursive loop again, one level further down.
  absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments) override;
  std::string ToText() const override;
  void Release() override;

  // loop.changed(values): whether they differ from those of the last call.
  absl::StatusOr<Value> Changed(std::vector<Value> values, Budget& budget);
  // loop.cycle(values): one after the other, from iteration to iteration.
  absl::StatusOr<Value> Cycle(const std::vector<Value>& values) const;

 private:
  const ForStmt& loop_;
  ScopePtr outer_;
  std::vector<Value> items_;
  int64_t depth_;
  size_t index_ = 0;
  std::optional<std::vector<Value>> last_;
};

}  // namespace tandem::jinja
