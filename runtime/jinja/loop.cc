#include "runtime/jinja/loop.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem::jinja {
namespace {

// loop.changed and loop.cycle. They live as long as an expression or, stored, as the loop does.
class LoopMethod : public Object {
 public:
  enum class Kind { kChanged, kCycle };
  LoopMethod(LoopObject& loop, Kind kind) : loop_(loop), kind_(kind) {}

  std::string TypeName() const override { return "method"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments) override {
    if (kind_ == Kind::kCycle) return loop_.Cycle(arguments.positional);
    return loop_.Changed(std::move(arguments.positional), interpreter.budget());
  }

 private:
  LoopObject& loop_;  // kept by the interpreter, as all loops are
  Kind kind_;
};

}  // namespace

std::optional<Value> LoopObject::Attribute(std::string_view name) const {
  const auto index = static_cast<int64_t>(index_);
  const auto size = static_cast<int64_t>(items_.size());
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(size - index);
  if (name == "revindex0") return Value(size - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == size);
  if (name == "length") return Value(size);
  if (name == "depth") return Value(depth_ + 1);
  if (name == "depth0") return Value(depth_);
  if (name == "previtem") {
    return index > 0 ? items_[index_ - 1] : Value::MakeUndefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < size ? items_[index_ + 1] : Value::MakeUndefined("there is no next item");
  }
  auto& self = const_cast<LoopObject&>(*this);
  if (name == "changed") {
    return Value(Value::ObjectPtr(std::make_shared<LoopMethod>(self, LoopMethod::Kind::kChanged)));
  }
  if (name == "cycle") {
    return Value(Value::ObjectPtr(std::make_shared<LoopMethod>(self, LoopMethod::Kind::kCycle)));
  }
  return std::nullopt;
}

absl::StatusOr<Value> LoopObject::Call(Interpreter& interpreter, Arguments arguments) {
  if (!loop_.recursive) {
    return TypeError("the loop must have the 'recursive' marker to be called");
  }
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    return TypeError("a recursive loop takes one argument");
  }
  return interpreter.InvokeLoop(loop_, outer_, arguments.positional[0], depth_ + 1);
}

std::string LoopObject::ToText() const {
  return absl::StrCat("<LoopContext ", index_ + 1, "/", items_.size(), ">");
}

void LoopObject::Release() {
  outer_.reset();
  items_.clear();
  last_.reset();
}

absl::StatusOr<Value> LoopObject::Changed(std::vector<Value> values, Budget& budget) {
  bool same = last_.has_value() && last_->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) {
    TANDEM_ASSIGN_OR_RETURN(same, Equal((*last_)[i], values[i], budget));
  }
  if (!same) last_ = std::move(values);
  return Value(!same);
}

absl::StatusOr<Value> LoopObject::Cycle(const std::vector<Value>& values) const {
  if (values.empty()) return TypeError("no items for cycling given");
  return values[index_ % values.size()];
}

}  // namespace tandem::jinja
