#include "runtime/gguf_metadata.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "absl/strings/escaping.h"
#include "runtime/byte_reader.h"
#include "runtime/quoted.h"

namespace tandem {
namespace {

struct TypeInfo {
  std::string_view name;
  uint64_t bytes;
};

constexpr TypeInfo kTypes[] = {
    {"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
    {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8},
};

// What a caller asks for, in words.
template <typename T>
std::string_view WantedName() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  if constexpr (std::is_integral_v<T>) return "integer";
  if constexpr (std::is_floating_point_v<T>) return "float";
  return "string";
}

// Whether `From` may be given to a caller that asks for `To`, values apart.
template <typename To, typename From>
constexpr bool kConvertible = (std::is_integral_v<To> && std::is_integral_v<From>) ||
                              (std::is_floating_point_v<To> && std::is_floating_point_v<From>);

absl::Status WrongType(const GgufValue& value, std::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("is ", value.is_array ? "an array of " : "of type ",
                   Text(GgufTypeName(value.type)), ", not ", Text(wanted)));
}

template <typename To, typename From>
absl::StatusOr<To> Convert(From from) {
  bool fits = true;
  if constexpr (std::is_integral_v<To>) {
    fits = std::in_range<To>(from);
  } else {
    fits = !std::isfinite(from) || std::abs(from) <= std::numeric_limits<To>::max();
  }
  if (!fits) return absl::OutOfRangeError(absl::StrCat("is ", from, ", which is out of range"));
  return static_cast<To>(from);
}

// Element `i` of `value`, whose bytes hold numbers of the type From.
template <typename To, typename From>
absl::StatusOr<To> ElementFrom(const GgufValue& value, uint64_t i) {
  if constexpr (!std::is_same_v<To, bool> && kConvertible<To, From>) {
    return Convert<To>(LoadNumber<From>(value.bytes, i * sizeof(From)));
  } else {
    return WrongType(value, WantedName<To>());
  }
}

template <typename To>
absl::StatusOr<To> Element(const GgufValue& value, uint64_t i) {
  switch (value.type) {
    case GgufType::kU8:
      return ElementFrom<To, uint8_t>(value, i);
    case GgufType::kI8:
      return ElementFrom<To, int8_t>(value, i);
    case GgufType::kU16:
      return ElementFrom<To, uint16_t>(value, i);
    case GgufType::kI16:
      return ElementFrom<To, int16_t>(value, i);
    case GgufType::kU32:
      return ElementFrom<To, uint32_t>(value, i);
    case GgufType::kI32:
      return ElementFrom<To, int32_t>(value, i);
    case GgufType::kF32:
      return ElementFrom<To, float>(value, i);
    case GgufType::kU64:
      return ElementFrom<To, uint64_t>(value, i);
    case GgufType::kI64:
      return ElementFrom<To, int64_t>(value, i);
    case GgufType::kF64:
      return ElementFrom<To, double>(value, i);
    case GgufType::kBool:
      if constexpr (std::is_same_v<To, bool>) return value.bytes[i] != std::byte{0};
      break;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return WrongType(value, WantedName<To>());
}

absl::StatusOr<std::vector<std::string_view>> Strings(const GgufValue& value, uint64_t count) {
  if (value.type != GgufType::kString) return WrongType(value, "string");
  std::vector<std::string_view> strings;
  strings.reserve(count);
  ByteReader reader(value.bytes);
  for (uint64_t i = 0; i < count; ++i) {
    TANDEM_ASSIGN_OR_RETURN(strings.emplace_back(), reader.ReadString("an array of strings"));
  }
  return strings;
}

template <typename T>
absl::StatusOr<std::vector<T>> Elements(const GgufValue& value) {
  if constexpr (std::is_same_v<T, std::string_view>) {
    return Strings(value, value.count);
  } else {
    std::vector<T> elements;
    elements.reserve(value.count);
    for (uint64_t i = 0; i < value.count; ++i) {
      TANDEM_ASSIGN_OR_RETURN(const T element, Element<T>(value, i));
      elements.push_back(element);
    }
    return elements;
  }
}

absl::Status AnnotateKey(const absl::Status& status, std::string_view key) {
  return absl::Status(status.code(),
                      absl::StrCat("metadata key ", Quoted(key), " ", status.message()));
}

absl::StatusOr<const GgufValue*> Require(const GgufMetadata& metadata, std::string_view key,
                                         bool is_array) {
  const GgufValue* value = metadata.Find(key);
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat("metadata key ", Quoted(key), " is missing"));
  }
  if (value->is_array != is_array) {
    return AnnotateKey(WrongType(*value, is_array ? "an array" : "a single value"), key);
  }
  return value;
}

template <typename T>
absl::StatusOr<T> GetSingle(const GgufMetadata& metadata, std::string_view key) {
  TANDEM_ASSIGN_OR_RETURN(const GgufValue* value, Require(metadata, key, /*is_array=*/false));
  if constexpr (std::is_same_v<T, std::string_view>) {
    auto strings = Strings(*value, 1);
    if (!strings.ok()) return AnnotateKey(strings.status(), key);
    return strings->front();
  } else {
    auto element = Element<T>(*value, 0);
    if (!element.ok()) return AnnotateKey(element.status(), key);
    return element;
  }
}

template <typename T>
absl::StatusOr<std::vector<T>> GetArray(const GgufMetadata& metadata, std::string_view key) {
  TANDEM_ASSIGN_OR_RETURN(const GgufValue* value, Require(metadata, key, /*is_array=*/true));
  auto elements = Elements<T>(*value);
  if (!elements.ok()) return AnnotateKey(elements.status(), key);
  return elements;
}

template <typename T>
using Getter = absl::StatusOr<T> (GgufMetadata::*)(std::string_view) const;

template <typename T>
absl::StatusOr<std::optional<T>> FindWith(const GgufMetadata& metadata, Getter<T> getter,
                                          std::string_view key) {
  if (metadata.Find(key) == nullptr) return std::optional<T>();
  TANDEM_ASSIGN_OR_RETURN(T value, (metadata.*getter)(key));
  return std::optional<T>(std::move(value));
}

template <typename T>
void AppendNumbers(const GgufValue& value, uint64_t shown, std::string& text) {
  for (uint64_t i = 0; i < shown; ++i) {
    const auto element = Element<T>(value, i);
    if (!element.ok()) continue;
    if (i > 0) text += ", ";
    if constexpr (std::is_same_v<T, bool>) {
      text += *element ? "true" : "false";
    } else {
      absl::StrAppend(&text, *element);
    }
  }
}

void AppendStrings(const GgufValue& value, uint64_t shown, std::string& text) {
  const auto strings = Strings(value, shown);
  if (!strings.ok()) return;
  for (size_t i = 0; i < strings->size(); ++i) {
    absl::StrAppend(&text, i > 0 ? ", " : "", "\"", absl::Utf8SafeCEscape(Text((*strings)[i])),
                    "\"");
  }
}

void AppendElements(const GgufValue& value, uint64_t shown, std::string& text) {
  switch (value.type) {
    case GgufType::kString:
      return AppendStrings(value, shown, text);
    case GgufType::kBool:
      return AppendNumbers<bool>(value, shown, text);
    case GgufType::kF32:
    case GgufType::kF64:
      return AppendNumbers<double>(value, shown, text);
    case GgufType::kU64:
      return AppendNumbers<uint64_t>(value, shown, text);
    default:
      return AppendNumbers<int64_t>(value, shown, text);
  }
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  const auto number = static_cast<uint32_t>(type);
  return number < std::size(kTypes) ? kTypes[number].name : "unknown";
}

std::optional<uint64_t> GgufTypeBytes(GgufType type) {
  const auto number = static_cast<uint32_t>(type);
  if (number >= std::size(kTypes)) return std::nullopt;
  return kTypes[number].bytes;
}

std::string ToString(const GgufValue& value, size_t max_elements) {
  std::string elements;
  if (!value.is_array) {
    AppendElements(value, 1, elements);
    return elements;
  }
  const uint64_t shown = std::min<uint64_t>(value.count, max_elements);
  AppendElements(value, shown, elements);
  if (shown < value.count) {
    absl::StrAppend(&elements, shown > 0 ? ", " : "", "... ", value.count, " in all");
  }
  return absl::StrCat("[", elements, "]");
}

absl::StatusOr<GgufMetadata> GgufMetadata::Create(std::vector<GgufEntry> entries) {
  GgufMetadata metadata;
  if (entries.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("too many metadata keys: ", entries.size()));
  }
  metadata.by_key_.resize(entries.size());
  std::iota(metadata.by_key_.begin(), metadata.by_key_.end(), 0u);
  const auto key_of = [&entries](uint32_t i) { return entries[i].key; };
  std::ranges::sort(metadata.by_key_, {}, key_of);
  if (!entries.empty() && key_of(metadata.by_key_.front()).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata entry ", metadata.by_key_.front(), " has an empty key"));
  }
  const auto twice = std::ranges::adjacent_find(metadata.by_key_, {}, key_of);
  if (twice != metadata.by_key_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key ", Quoted(key_of(*twice)), " occurs twice"));
  }
  metadata.entries_ = std::move(entries);
  return metadata;
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto key_of = [this](uint32_t i) { return entries_[i].key; };
  const auto it = std::ranges::lower_bound(by_key_, key, {}, key_of);
  if (it == by_key_.end() || key_of(*it) != key) return nullptr;
  return &entries_[*it].value;
}

absl::StatusOr<uint32_t> GgufMetadata::GetU32(std::string_view key) const {
  return GetSingle<uint32_t>(*this, key);
}
absl::StatusOr<int32_t> GgufMetadata::GetI32(std::string_view key) const {
  return GetSingle<int32_t>(*this, key);
}
absl::StatusOr<uint64_t> GgufMetadata::GetU64(std::string_view key) const {
  return GetSingle<uint64_t>(*this, key);
}
absl::StatusOr<int64_t> GgufMetadata::GetI64(std::string_view key) const {
  return GetSingle<int64_t>(*this, key);
}
absl::StatusOr<float> GgufMetadata::GetF32(std::string_view key) const {
  return GetSingle<float>(*this, key);
}
absl::StatusOr<bool> GgufMetadata::GetBool(std::string_view key) const {
  return GetSingle<bool>(*this, key);
}
absl::StatusOr<std::string_view> GgufMetadata::GetString(std::string_view key) const {
  return GetSingle<std::string_view>(*this, key);
}
absl::StatusOr<std::vector<uint32_t>> GgufMetadata::GetU32Array(std::string_view key) const {
  return GetArray<uint32_t>(*this, key);
}
absl::StatusOr<std::vector<int32_t>> GgufMetadata::GetI32Array(std::string_view key) const {
  return GetArray<int32_t>(*this, key);
}
absl::StatusOr<std::vector<float>> GgufMetadata::GetF32Array(std::string_view key) const {
  return GetArray<float>(*this, key);
}
absl::StatusOr<std::vector<bool>> GgufMetadata::GetBoolArray(std::string_view key) const {
  return GetArray<bool>(*this, key);
}
absl::StatusOr<std::vector<std::string_view>> GgufMetadata::GetStringArray(
    std::string_view key) const {
  return GetArray<std::string_view>(*this, key);
}

absl::StatusOr<std::optional<uint32_t>> GgufMetadata::FindU32(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetU32, key);
}
absl::StatusOr<std::optional<int32_t>> GgufMetadata::FindI32(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetI32, key);
}
absl::StatusOr<std::optional<uint64_t>> GgufMetadata::FindU64(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetU64, key);
}
absl::StatusOr<std::optional<int64_t>> GgufMetadata::FindI64(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetI64, key);
}
absl::StatusOr<std::optional<float>> GgufMetadata::FindF32(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetF32, key);
}
absl::StatusOr<std::optional<bool>> GgufMetadata::FindBool(std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetBool, key);
}
absl::StatusOr<std::optional<std::string_view>> GgufMetadata::FindString(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetString, key);
}
absl::StatusOr<std::optional<std::vector<uint32_t>>> GgufMetadata::FindU32Array(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetU32Array, key);
}
absl::StatusOr<std::optional<std::vector<int32_t>>> GgufMetadata::FindI32Array(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetI32Array, key);
}
absl::StatusOr<std::optional<std::vector<float>>> GgufMetadata::FindF32Array(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetF32Array, key);
}
absl::StatusOr<std::optional<std::vector<bool>>> GgufMetadata::FindBoolArray(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetBoolArray, key);
}
absl::StatusOr<std::optional<std::vector<std::string_view>>> GgufMetadata::FindStringArray(
    std::string_view key) const {
  return FindWith(*this, &GgufMetadata::GetStringArray, key);
}

}  // namespace tandem
