// The key-value part of a GGUF file, read in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device/status.h"

namespace tandem {

// The values are the type numbers of GGUF files.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// "u32", "string"; "unknown" for a number that is no enumerator.
std::string_view GgufTypeName(GgufType type);

// Bytes of one element: 0 for strings and arrays, whose size varies. Nothing if `type` is unknown.
std::optional<uint64_t> GgufTypeBytes(GgufType type);

// One value, as its bytes in the file; checked when the file was parsed.
struct GgufValue {
  GgufType type;  // of the value, or of the elements of an array; never kArray
  bool is_array;
  uint64_t count;                    // elements; 1 if it is no array
  std::span<const std::byte> bytes;  // the elements, packed; each string after its u64 length
};

// The value for a reader: strings in quotes, arrays with at most `max_elements` elements shown.
std::string ToString(const GgufValue& value, size_t max_elements = 8);

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

// Example:
//   TANDEM_ASSIGN_OR_RETURN(const uint32_t layers, metadata.GetU32("llama.block_count"));
//   TANDEM_ASSIGN_OR_RETURN(const auto base, metadata.FindF32("llama.rope.freq_base"));
//   UseBase(base.value_or(10000.0f));
class GgufMetadata {
 public:
  GgufMetadata() = default;

  // Refuses an empty key, and a key that occurs twice.
  static absl::StatusOr<GgufMetadata> Create(std::vector<GgufEntry> entries);

  // All entries in the order of the file.
  std::span<const GgufEntry> entries() const { return entries_; }

  // The value of `key` whatever its type; nullptr if the key is missing.
  const GgufValue* Find(std::string_view key) const;

  // Get: the value of a key that must be there. Any integer type is accepted for an integer if the
  // value is in range, f32 and f64 for F32; bool and string only for themselves. A key that is
  // missing, of another type, or out of range gives an error that names it. Text points into the
  // file, numbers are copied.
  absl::StatusOr<uint32_t> GetU32(std::string_view key) const;
  absl::StatusOr<int32_t> GetI32(std::string_view key) const;
  absl::StatusOr<uint64_t> GetU64(std::string_view key) const;
  absl::StatusOr<int64_t> GetI64(std::string_view key) const;
  absl::StatusOr<float> GetF32(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<std::vector<uint32_t>> GetU32Array(std::string_view key) const;
  absl::StatusOr<std::vector<int32_t>> GetI32Array(std::string_view key) const;
  absl::StatusOr<std::vector<float>> GetF32Array(std::string_view key) const;
  absl::StatusOr<std::vector<bool>> GetBoolArray(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStringArray(std::string_view key) const;

  // Find: the same for a key that may be missing, which gives nothing.
  absl::StatusOr<std::optional<uint32_t>> FindU32(std::string_view key) const;
  absl::StatusOr<std::optional<int32_t>> FindI32(std::string_view key) const;
  absl::StatusOr<std::optional<uint64_t>> FindU64(std::string_view key) const;
  absl::StatusOr<std::optional<int64_t>> FindI64(std::string_view key) const;
  absl::StatusOr<std::optional<float>> FindF32(std::string_view key) const;
  absl::StatusOr<std::optional<bool>> FindBool(std::string_view key) const;
  absl::StatusOr<std::optional<std::string_view>> FindString(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<uint32_t>>> FindU32Array(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<int32_t>>> FindI32Array(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<float>>> FindF32Array(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<bool>>> FindBoolArray(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<std::string_view>>> FindStringArray(
      std::string_view key) const;

 private:
  std::vector<GgufEntry> entries_;
  std::vector<uint32_t> by_key_;  // indices into entries_, sorted by key
};

}  // namespace tandem
