// Attributes, subscripts, slices, iteration and length.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"
#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/operators.h"
#include "runtime/jinja/text.h"

namespace tandem::jinja {
namespace {

Value NoAttribute(const Value& object, std::string_view name) {
  return Value::MakeUndefined(
      absl::StrCat("'", object.TypeName(), " object' has no attribute '", Text(name), "'"));
}

// The item number `index`, counted from the end if negative; nothing if there is none.
std::optional<Value> ItemAt(const Value& object, int64_t index) {
  const List* list = object.list();
  const bool ascii = object.string() != nullptr;
  const auto size = static_cast<int64_t>(list    ? list->items.size()
                                         : ascii ? CountCodePoints(object.string()->text)
                                                 : 0);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  if (list) return list->items[static_cast<size_t>(index)];
  const std::string_view text = object.string()->text;
  const size_t begin = ByteOffset(text, static_cast<size_t>(index));
  size_t end = begin;
  DecodeNext(text, &end);
  return Value(std::string(text.substr(begin, end - begin)), object.string()->markup);
}

// One bound of a slice as Python clips it to [low, high].
absl::StatusOr<int64_t> Clip(const Value& bound, int64_t size, int64_t fallback, int64_t low) {
  if (bound.is_none()) return fallback;
  if (!bound.integer()) return TypeError("slice indices must be integers or none");
  int64_t value = *bound.integer();
  if (value < 0) value = value < -size ? low : value + size;
  return std::clamp(value, low, size + low);
}

// Positions that a slice of `size` items selects, in order.
absl::StatusOr<std::vector<size_t>> SlicePositions(int64_t size, const SliceBounds& bounds,
                                                   Budget& budget) {
  int64_t step = 1;
  if (!bounds.step.is_none()) {
    if (!bounds.step.integer()) return TypeError("slice indices must be integers or none");
    step = *bounds.step.integer();
  }
  if (step == 0) return absl::InvalidArgumentError("slice step cannot be zero");
  const int64_t low = step < 0 ? -1 : 0;
  TANDEM_ASSIGN_OR_RETURN(const int64_t start,
                          Clip(bounds.start, size, step < 0 ? size - 1 : 0, low));
  TANDEM_ASSIGN_OR_RETURN(const int64_t stop, Clip(bounds.stop, size, step < 0 ? -1 : size, low));
  std::vector<size_t> positions;
  TANDEM_RETURN_IF_ERROR(budget.Step(static_cast<uint64_t>(std::abs(stop - start)) / 16));
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    positions.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return positions;
}

absl::StatusOr<Value> SliceText(const Str& string, const SliceBounds& bounds, Budget& budget) {
  TANDEM_RETURN_IF_ERROR(budget.Allocate(string.text.size()));
  const std::vector<std::string_view> points = CodePoints(string.text);
  TANDEM_ASSIGN_OR_RETURN(const std::vector<size_t> positions,
                          SlicePositions(static_cast<int64_t>(points.size()), bounds, budget));
  std::string out;
  for (const size_t position : positions) out += points[position];
  return Value(std::move(out), string.markup);
}

absl::StatusOr<std::vector<Value>> ViewItems(const DictView& view, Budget& budget) {
  std::vector<Value> items;
  items.reserve(view.dict->items.size());
  for (const auto& [key, value] : view.dict->items) {
    if (view.part == DictView::Part::kItems) {
      TANDEM_ASSIGN_OR_RETURN(Value pair, Checked(List({key, value}, List::Kind::kTuple), budget));
      items.push_back(std::move(pair));
    } else {
      items.push_back(view.part == DictView::Part::kKeys ? key : value);
    }
  }
  return items;
}

absl::StatusOr<std::vector<Value>> TakeItems(Generator& generator) {
  std::vector<Value> items = std::exchange(generator.items, {});
  const absl::Status end = std::exchange(generator.end, absl::OkStatus());
  if (!end.ok()) return end;
  return items;
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& object, std::string_view name, Budget& budget) {
  if (object.is_undefined()) return UndefinedError(object);
  TANDEM_RETURN_IF_ERROR(budget.Read(name.size()));
  if (object.object()) {
    std::optional<Value> attribute = object.object()->Attribute(name);
    return attribute ? *std::move(attribute) : NoAttribute(object, name);
  }
  if (std::optional<Value> method = FindMethod(object, name)) return *std::move(method);
  const Value* item = object.dict() ? object.dict()->FindText(name) : nullptr;
  return item ? *item : NoAttribute(object, name);
}

absl::StatusOr<Value> GetItem(const Value& object, const Value& key, Budget& budget) {
  if (object.is_undefined()) return UndefinedError(object);
  if (object.dict()) {
    const absl::StatusOr<const Value*> found = object.dict()->Find(key, budget);
    if (found.status().code() == absl::StatusCode::kResourceExhausted) return found.status();
    if (found.ok() && *found != nullptr) return **found;
  } else if (key.integer() && (object.list() || object.string())) {
    if (object.string()) TANDEM_RETURN_IF_ERROR(budget.Read(object.string()->text.size()));
    if (std::optional<Value> item = ItemAt(object, *key.integer())) return *std::move(item);
  }
  if (key.string()) {
    const std::string& name = key.string()->text;
    std::optional<Value> attribute =
        object.object() ? object.object()->Attribute(name) : FindMethod(object, name);
    return attribute ? *std::move(attribute) : NoAttribute(object, name);
  }
  TANDEM_ASSIGN_OR_RETURN(const std::string text, Repr(key, budget));
  return Value::MakeUndefined(absl::StrCat(object.TypeName(), " object has no element ", text));
}

absl::StatusOr<Value> GetSlice(const Value& object, const SliceBounds& bounds, Budget& budget) {
  if (object.is_undefined()) return UndefinedError(object);
  if (!object.string() && !object.list()) {
    return TypeError(absl::StrCat("'", object.TypeName(), "' object cannot be sliced"));
  }
  if (object.string()) return SliceText(*object.string(), bounds, budget);
  const List& list = *object.list();
  TANDEM_ASSIGN_OR_RETURN(const std::vector<size_t> positions,
                          SlicePositions(static_cast<int64_t>(list.items.size()), bounds, budget));
  std::vector<Value> items;
  items.reserve(positions.size());
  for (const size_t position : positions) items.push_back(list.items[position]);
  const bool tuple = list.kind == List::Kind::kTuple;
  return Checked(List(std::move(items), tuple ? List::Kind::kTuple : List::Kind::kList), budget);
}

absl::StatusOr<std::vector<Value>> Items(const Value& value, Budget& budget) {
  if (value.is_undefined()) return std::vector<Value>();
  if (value.generator()) return TakeItems(*value.generator());
  if (value.object() || value.is_none() || value.number()) {
    return TypeError(absl::StrCat("'", value.TypeName(), "' object is not iterable"));
  }
  TANDEM_ASSIGN_OR_RETURN(const int64_t length, Length(value, budget));
  TANDEM_RETURN_IF_ERROR(budget.Allocate(static_cast<size_t>(length) * sizeof(Value)));
  if (value.list()) return value.list()->items;
  std::vector<Value> items;
  if (value.string()) {
    // Every character becomes a string of its own.
    TANDEM_RETURN_IF_ERROR(budget.Allocate(static_cast<size_t>(length) * sizeof(Str)));
    for (const std::string_view point : CodePoints(value.string()->text)) items.emplace_back(point);
    return items;
  }
  if (const auto* view = value.As<DictView>()) return ViewItems(*view, budget);
  for (const auto& [key, item] : value.dict()->items) items.push_back(key);
  return items;
}

absl::StatusOr<int64_t> Length(const Value& value, Budget& budget) {
  if (value.is_undefined()) return 0;
  if (value.string()) {
    TANDEM_RETURN_IF_ERROR(budget.Read(value.string()->text.size()));
    return static_cast<int64_t>(CountCodePoints(value.string()->text));
  }
  if (value.list()) return static_cast<int64_t>(value.list()->items.size());
  if (value.dict()) return static_cast<int64_t>(value.dict()->items.size());
  if (const auto* view = value.As<DictView>()) {
    return static_cast<int64_t>(view->dict->items.size());
  }
  return TypeError(absl::StrCat("object of type '", value.TypeName(), "' has no len()"));
}

bool IsIterable(const Value& value) {
  return !value.is_none() && !value.number() && !value.object();
}

}  // namespace tandem::jinja
