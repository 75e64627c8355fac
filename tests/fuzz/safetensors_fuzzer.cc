// Parses any bytes as a safetensors file, and as the index of a checkpoint.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/safetensors.h"

namespace tandem {
namespace {

void Check(bool holds) {
  if (!holds) __builtin_trap();
}

void CheckFile(std::span<const std::byte> bytes) {
  const auto file = SafetensorsFile::Parse(bytes);
  if (!file.ok()) return Check(!file.status().message().empty());
  volatile uint64_t sink = 0;
  size_t data_bytes = 0;
  for (const FileTensor& tensor : file->tensors()) {
    for (const std::byte b : tensor.data) sink = sink + static_cast<uint64_t>(b);
    data_bytes += tensor.data.size();
    Check(file->tensors().Find(tensor.name) == &tensor);
    Check(NumElements(tensor) >= 0);
  }
  Check(data_bytes <= bytes.size());
}

void CheckIndex(std::string_view text) {
  const auto index = ParseSafetensorsIndex(text);
  if (!index.ok()) return Check(!index.status().message().empty());
  for (const auto& [tensor, file] : *index) {
    Check(file.find('/') == std::string::npos && file.ends_with(".safetensors"));
  }
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tandem::CheckFile(std::as_bytes(std::span(data, size)));
  tandem::CheckIndex(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
