// general.file_type of GGUF files: what most of a file's matrices are. For people; nothing depends
// on it.
#pragma once

#include <cstdint>

#include "backends/device/dtype.h"

namespace tandem {

constexpr uint32_t GgufFileType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ5_0:
      return 8;
    case DType::kQ5_1:
      return 9;
    case DType::kQ2_K:
      return 10;
    case DType::kQ3_K:
      return 11;  // 11, 14 and 16 are the variants without larger types mixed in
    case DType::kQ4_K:
      return 14;
    case DType::kQ5_K:
      return 16;
    case DType::kQ6_K:
      return 18;
    case DType::kIQ4_NL:
      return 25;
    case DType::kIQ4_XS:
      return 30;
    case DType::kBF16:
      return 32;
    case DType::kMXFP4:
      return 38;
  }
  return 0;
}

// The version of the quantised formats, for general.quantization_version.
inline constexpr uint32_t kGgufQuantizationVersion = 2;

}  // namespace tandem
