// Writer of safetensors files.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device/dtype.h"
#include "backends/device/status.h"

namespace tandem {

// A tensor to write; the views must live until the call returns.
struct SafetensorsTensor {
  std::string_view name;
  DType dtype;                      // f32, f16, bf16 or i32
  std::vector<int64_t> shape;       // row-major; empty for a scalar
  std::span<const std::byte> data;  // dense rows
};

// The f32 or i32 tensor `name` of `values`.
SafetensorsTensor MakeSafetensorsTensor(std::string_view name, std::vector<int64_t> shape,
                                        std::span<const float> values);
SafetensorsTensor MakeSafetensorsTensor(std::string_view name, std::vector<int64_t> shape,
                                        std::span<const int32_t> values);

// Writes `tensors`, wide elements first so that each is aligned, by name among equals. `path` is
// replaced once the file is complete and durable; on an error it is as it was. Refuses types that
// the format does not have, names and metadata that are not UTF-8, names that occur twice, and
// data that has not as many bytes as its shape needs.
absl::Status WriteSafetensors(std::string_view path, std::span<const SafetensorsTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace tandem
