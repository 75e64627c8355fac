// Matching of arguments to parameters, the search for filters, and the global functions.
#include "runtime/jinja/builtins.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/interpreter.h"

namespace tandem::jinja {
namespace {

using Function = absl::StatusOr<Value> (*)(Interpreter&, Arguments);

class BuiltinFunction : public Object {
 public:
  BuiltinFunction(std::string_view name, Function function) : name_(name), function_(function) {}
  std::string TypeName() const override { return "function"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments) override {
    return function_(interpreter, std::move(arguments));
  }
  std::string ToText() const override { return absl::StrCat("<function ", Text(name_), ">"); }

 private:
  std::string_view name_;
  Function function_;
};

// What cycler(items...) returns.
class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string TypeName() const override { return "Cycler"; }
  std::optional<Value> Attribute(std::string_view name) const override;
  void Release() override { items_.clear(); }
  const Value& current() const { return items_[index_]; }
  void Advance() { index_ = (index_ + 1) % items_.size(); }
  void Reset() { index_ = 0; }

 private:
  std::vector<Value> items_;
  size_t index_ = 0;
};

// Its methods `next` and `reset`.
class CyclerMethod : public Object {
 public:
  CyclerMethod(Cycler& cycler, bool is_next) : cycler_(cycler), is_next_(is_next) {}
  std::string TypeName() const override { return "method"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter&, Arguments) override {
    if (!is_next_) {
      cycler_.Reset();
      return Value(None{});
    }
    Value value = cycler_.current();
    cycler_.Advance();
    return value;
  }

 private:
  Cycler& cycler_;  // kept by the interpreter
  bool is_next_;
};

std::optional<Value> Cycler::Attribute(std::string_view name) const {
  if (name == "current") return current();
  if (name != "next" && name != "reset") return std::nullopt;
  auto& self = const_cast<Cycler&>(*this);
  return Value(Value::ObjectPtr(std::make_shared<CyclerMethod>(self, name == "next")));
}

// What joiner(separator) returns: nothing on the first call, then the separator.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string TypeName() const override { return "Joiner"; }
  bool IsCallable() const override { return true; }
  absl::StatusOr<Value> Call(Interpreter&, Arguments) override {
    return std::exchange(used_, true) ? separator_ : Value("");
  }
  void Release() override { separator_ = Value(); }

 private:
  Value separator_;
  bool used_ = false;
};

// The largest range of Jinja's sandbox.
constexpr int64_t kMaxRange = 100'000;

absl::StatusOr<Value> Range(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty() || arguments.positional.size() > 3 || !arguments.named.empty()) {
    return TypeError("range takes 1 to 3 arguments");
  }
  std::array<int64_t, 3> bounds = {0, 0, 1};
  const size_t count = arguments.positional.size();
  for (size_t i = 0; i < count; ++i) {
    const auto bound = arguments.positional[i].integer();
    if (!bound) return TypeError("range takes integers");
    bounds[count == 1 ? 1 : i] = *bound;
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) return absl::InvalidArgumentError("range() arg 3 must not be zero");
  List list({}, List::Kind::kRange);
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(list.items.size()) == kMaxRange) {
      return absl::ResourceExhaustedError(absl::StrCat("range of more than ", kMaxRange, " items"));
    }
    list.items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  list.range = absl::StrCat("range(", start, ", ", stop,
                            step == 1 ? std::string() : absl::StrCat(", ", step), ")");
  return Checked(std::move(list), interpreter.budget());
}

// dict(mapping or pairs, **items), also for namespace().
absl::StatusOr<Dict> MakeDict(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.size() > 1) return TypeError("expected at most 1 argument");
  Budget& budget = interpreter.budget();
  Dict dict;
  if (!arguments.positional.empty() && arguments.positional[0].dict()) {
    dict = *arguments.positional[0].dict();
  } else if (!arguments.positional.empty()) {
    TANDEM_ASSIGN_OR_RETURN(std::vector<Value> pairs, Items(arguments.positional[0], budget));
    for (const Value& pair : pairs) {
      TANDEM_ASSIGN_OR_RETURN(std::vector<Value> items, Items(pair, budget));
      if (items.size() != 2) return TypeError("dict needs pairs of key and value");
      TANDEM_RETURN_IF_ERROR(dict.Insert(std::move(items[0]), std::move(items[1]), budget));
    }
  }
  for (auto& [name, value] : arguments.named) dict.InsertText(name, std::move(value));
  return dict;
}

absl::StatusOr<Value> DictFunction(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Dict dict, MakeDict(interpreter, std::move(arguments)));
  return Checked(std::move(dict), interpreter.budget());
}

absl::StatusOr<Value> NamespaceFunction(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Dict dict, MakeDict(interpreter, std::move(arguments)));
  return interpreter.Keep(std::make_shared<Namespace>(std::move(dict)));
}

absl::StatusOr<Value> CyclerFunction(Interpreter& interpreter, Arguments arguments) {
  if (arguments.positional.empty()) return TypeError("at least one item has to be provided");
  return interpreter.Keep(std::make_shared<Cycler>(std::move(arguments.positional)));
}

absl::StatusOr<Value> JoinerFunction(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Bound bound, Bind({"joiner", {"sep"}}, std::move(arguments)));
  return interpreter.Keep(std::make_shared<Joiner>(bound[0].value_or(Value(", "))));
}

absl::StatusOr<Value> RaiseException(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Bound bound,
                          Bind({"raise_exception", {"message"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(const std::string text, ToText(*bound[0], interpreter.budget()));
  return absl::InvalidArgumentError(absl::StrCat("the template says: ", text));
}

absl::StatusOr<Value> StrftimeNow(Interpreter& interpreter, Arguments arguments) {
  TANDEM_ASSIGN_OR_RETURN(Bound bound, Bind({"strftime_now", {"format"}, 1}, std::move(arguments)));
  TANDEM_ASSIGN_OR_RETURN(std::string format, TextOr(bound[0], ""));
  if (!interpreter.now()) {
    return absl::FailedPreconditionError("strftime_now was called, but no time was given");
  }
  constexpr size_t kMaxFormat = 256;
  if (format.size() > kMaxFormat) return TypeError("the format of strftime_now is too long");
  // The mark keeps the result from being empty, which strftime also says of a full buffer.
  format += '.';
  std::array<char, 16 * kMaxFormat> buffer;
  const size_t size =
      std::strftime(buffer.data(), buffer.size(), format.c_str(), &*interpreter.now());
  if (size == 0) return TypeError("the format of strftime_now asks for too long a text");
  return Value(std::string(buffer.data(), size - 1));
}

constexpr std::pair<std::string_view, Function> kGlobals[] = {
    {"range", Range},
    {"dict", DictFunction},
    {"namespace", NamespaceFunction},
    {"cycler", CyclerFunction},
    {"joiner", JoinerFunction},
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
};

}  // namespace

FilterFunction FindFilter(std::string_view name) {
  for (const FilterTable& table :
       {TextFilters(), NumberFilters(), SequenceFilters(), SelectionFilters()}) {
    const auto* found = std::find_if(table.begin, table.end,
                                     [name](const auto& entry) { return entry.name == name; });
    if (found != table.end) return found->function;
  }
  return nullptr;
}

std::optional<Value> FindGlobal(std::string_view name) {
  for (const auto& [global, function] : kGlobals) {
    if (global == name) {
      return Value(Value::ObjectPtr(std::make_shared<BuiltinFunction>(global, function)));
    }
  }
  return std::nullopt;
}

absl::StatusOr<Bound> Bind(const Signature& signature, Arguments arguments) {
  const std::string name(signature.function);
  if (arguments.positional.size() > signature.names.size()) {
    return TypeError(absl::StrCat(name, " takes at most ", signature.names.size(), " arguments, ",
                                  arguments.positional.size(), " were given"));
  }
  Bound bound(signature.names.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    bound[i] = std::move(arguments.positional[i]);
  }
  for (auto& [key, value] : arguments.named) {
    const auto found = std::find(signature.names.begin(), signature.names.end(), key);
    const auto index = static_cast<size_t>(found - signature.names.begin());
    if (found == signature.names.end() || bound[index]) {
      return TypeError(absl::StrCat(name, " got an unexpected argument '", key, "'"));
    }
    bound[index] = std::move(value);
  }
  for (size_t i = 0; i < signature.required; ++i) {
    if (!bound[i]) {
      return TypeError(absl::StrCat(name, " misses its argument '", Text(signature.names[i]), "'"));
    }
  }
  return bound;
}

absl::StatusOr<int64_t> IntegerOr(const std::optional<Value>& argument, int64_t fallback) {
  if (!argument) return fallback;
  if (const auto integer = argument->integer()) return *integer;
  return TypeError(absl::StrCat("an integer is required, not '", argument->TypeName(), "'"));
}

absl::StatusOr<std::string> TextOr(const std::optional<Value>& argument,
                                   std::string_view fallback) {
  if (!argument) return std::string(fallback);
  if (argument->string()) return argument->string()->text;
  return TypeError(absl::StrCat("a string is required, not '", argument->TypeName(), "'"));
}

bool TruthOr(const std::optional<Value>& argument, bool fallback) {
  return argument ? argument->IsTrue() : fallback;
}

}  // namespace tandem::jinja
