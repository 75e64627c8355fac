// Every tensor type that GGUF files of ggml and its forks may name, with what it takes on disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "backends/device/dtype.h"

namespace tandem {

struct GgufTensorType {
  uint32_t number;
  std::string_view name;  // lower case
  int block_size;         // elements
  int block_bytes;
  int row_bytes = 0;           // besides the blocks, once for each row
  std::optional<DType> dtype;  // nothing: known for its size alone
};

// Nothing if the number is unknown, or was withdrawn from the format.
std::optional<GgufTensorType> FindGgufTensorType(uint32_t number);

}  // namespace tandem
