// Element types of tensors: plain numbers and block-quantised formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tandem {

// The values are the type numbers of GGUF files.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kI32 = 26,
  kBF16 = 30,
  kMXFP4 = 39,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // lower case, as users type it: "iq4_nl"
  int block_size;         // elements in a block; 1 for plain numbers
  int block_bytes;        // bytes of a block
};

// All types that this build knows, in the order of their numbers.
std::span<const DTypeInfo> AllDTypes();

// `dtype` must be one of the enumerators.
const DTypeInfo& GetDTypeInfo(DType dtype);
inline std::string_view DTypeName(DType dtype) { return GetDTypeInfo(dtype).name; }
inline bool IsQuantized(DType dtype) { return GetDTypeInfo(dtype).block_size > 1; }

// Nothing if the number, or the name, is not known. Names are compared without regard to case.
std::optional<DType> DTypeFromNumber(uint32_t number);
std::optional<DType> DTypeFromName(std::string_view name);

// Bytes of a row of `n` elements; `n` must be a multiple of the block size.
inline int64_t RowBytes(DType dtype, int64_t n) {
  const DTypeInfo& info = GetDTypeInfo(dtype);
  return n / info.block_size * info.block_bytes;
}

}  // namespace tandem
