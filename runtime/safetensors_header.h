// The JSON header of a safetensors file, checked for form but not against the file's data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device/status.h"
#include "runtime/tensor_file.h"

namespace tandem {

struct SafetensorsEntry {
  std::string name;
  std::string type;  // as in the file: "BF16"
  FileShape shape;
  uint64_t begin = 0;  // of its bytes, from the start of the data
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the file
  std::map<std::string, std::string> metadata;
};

// Refuses anything but {name: {"dtype": text, "shape": [sizes], "data_offsets": [begin, end]}, ...}
// and a "__metadata__" of texts. Reads event by event and stops at the first thing out of place,
// so memory grows with valid entries alone, whatever the nesting or length of a bad header.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json);

}  // namespace tandem
