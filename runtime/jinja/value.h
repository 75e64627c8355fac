// The values that a template computes with: Python's, as far as templates can see them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/jinja/budget.h"

namespace tandem::jinja {

class Interpreter;
class Value;
struct List;
struct Dict;
struct Generator;
class Object;

// Values nest at most this deep, so that recursion over them is safe.
inline constexpr int kMaxValueDepth = 200;

// The result of a failed look-up. Printing it is fine, using it gives `message` as an error.
struct Undefined {
  std::shared_ptr<const std::string> message;
};
struct None {};
struct Str {
  std::string text;
  bool markup = false;  // made by `safe`: `+` escapes what is joined to it
};
// What dict.keys(), .values() and .items() return.
struct DictView {
  enum class Part { kKeys, kValues, kItems };
  std::shared_ptr<const Dict> dict;
  Part part;
};

// Cheap to copy: strings and containers are shared. Containers never change.
class Value {
 public:
  using StrPtr = std::shared_ptr<const Str>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using GeneratorPtr = std::shared_ptr<Generator>;
  using ObjectPtr = std::shared_ptr<Object>;

  Value() = default;  // undefined
  Value(None) : data_(None{}) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text, bool markup = false)
      : data_(std::make_shared<const Str>(Str{std::move(text), markup})) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(List list);
  Value(ListPtr list) : data_(std::move(list)) {}
  Value(Dict dict);
  Value(DictPtr dict) : data_(std::move(dict)) {}
  Value(DictView view) : data_(std::move(view)) {}
  Value(Generator generator);
  Value(ObjectPtr object) : data_(std::move(object)) {}
  static Value MakeUndefined(std::string message);

  template <typename T>
  const T* As() const {
    return std::get_if<T>(&data_);
  }
  // Null where the value is something else.
  const Str* string() const { return Pointee<Str, StrPtr>(); }
  const List* list() const { return Pointee<List, ListPtr>(); }
  const Dict* dict() const { return Pointee<Dict, DictPtr>(); }
  Generator* generator() const { return Pointee<Generator, GeneratorPtr>(); }
  Object* object() const { return Pointee<Object, ObjectPtr>(); }
  bool is_undefined() const { return As<Undefined>() != nullptr; }
  bool is_none() const { return As<None>() != nullptr; }
  // The value of an int or, as in Python, of a bool.
  std::optional<int64_t> integer() const;
  // The value of an int, a bool or a float.
  std::optional<double> number() const;

  // How many containers are nested in it, at most.
  int depth() const;
  // The name of the Python type, for messages.
  std::string TypeName() const;
  bool IsTrue() const;

 private:
  template <typename T, typename Pointer>
  auto Pointee() const -> decltype(std::declval<Pointer>().get()) {
    const Pointer* pointer = As<Pointer>();
    return pointer ? pointer->get() : nullptr;
  }

  std::variant<Undefined, None, bool, int64_t, double, StrPtr, ListPtr, DictPtr, DictView,
               GeneratorPtr, ObjectPtr>
      data_;
};

struct List {
  enum class Kind { kList, kTuple, kRange };
  explicit List(std::vector<Value> items = {}, Kind kind = Kind::kList);

  Kind kind;
  std::vector<Value> items;
  std::string range;  // of a range: what it prints as
  int depth = 1;
};

// A dict that keeps the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  int depth = 1;

  // TypeError for a key that is a list or a dict.
  absl::Status Insert(Value key, Value value, Budget& budget);
  void InsertText(std::string key, Value value);
  absl::StatusOr<const Value*> Find(const Value& key, Budget& budget) const;  // null: not there
  const Value* FindText(std::string_view key) const;

 private:
  void InsertHashed(std::string hash, Value key, Value value);
  std::unordered_map<std::string, size_t> index_;  // by HashKey of the key
};

// The result of map, select and their like: it can be walked once. The items are computed ahead;
// an error on the way shows up when the walk reaches it, as if they were computed on demand.
struct Generator {
  std::vector<Value> items;
  absl::Status end;  // what follows the last item
  int depth = 1;
};

// Positional and keyword arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The named argument `name`, taken out; nothing if it was not given.
  std::optional<Value> Take(std::string_view name);
};

// Everything with behaviour of its own: functions, macros, namespaces, loops.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string TypeName() const = 0;
  virtual bool IsCallable() const { return false; }
  virtual absl::StatusOr<Value> Call(Interpreter& interpreter, Arguments arguments);
  virtual std::optional<Value> Attribute(std::string_view) const { return std::nullopt; }
  // The text it prints as.
  virtual std::string ToText() const { return "<" + TypeName() + ">"; }
  virtual int depth() const { return 0; }
  // Drops all values held, which breaks cycles at the end of a rendering.
  virtual void Release() {}
};

// A text that is equal for equal keys of a dict, as Python's == and hash define it.
absl::StatusOr<std::string> HashKey(const Value& value, Budget& budget);

// Python's == and its ordering (TypeError for types without one): negative, zero or positive.
absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget);
absl::StatusOr<int> Order(const Value& a, const Value& b, Budget& budget);

// The same list or dict, checked for depth and charged to the budget.
absl::StatusOr<Value> Checked(List list, Budget& budget);
absl::StatusOr<Value> Checked(Dict dict, Budget& budget);

// Errors that Python would raise.
absl::Status TypeError(std::string_view message);
absl::Status UndefinedError(const Value& undefined);
// The error with the line of the template in front, unless a node further down has added it.
absl::Status Located(const absl::Status& status, int line);

}  // namespace tandem::jinja
