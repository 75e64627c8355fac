// Parses any bytes as a GGUF file and uses all that the file then offers.
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/gguf.h"

namespace tandem {
namespace {

// Fails under the address sanitizer if a byte lies outside the input; the sum keeps the reads.
uint64_t Touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum += static_cast<uint64_t>(b);
  return sum;
}

uint64_t TouchMetadata(const GgufMetadata& metadata) {
  uint64_t sum = 0;
  for (const auto& [key, value] : metadata.entries()) {
    sum += ToString(value, 16).size() + Touch(value.bytes);
    sum += metadata.GetU32(key).ok() + metadata.GetI64(key).ok() + metadata.FindF32(key).ok() +
           metadata.GetBool(key).ok() + metadata.GetString(key).ok();
    sum += metadata.GetI32Array(key).ok() + metadata.GetF32Array(key).ok() +
           metadata.GetBoolArray(key).ok() + metadata.GetStringArray(key).ok();
  }
  return sum;
}

void Check(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace
}  // namespace tandem

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  const auto file = GgufFile::Parse(std::as_bytes(std::span(data, size)));
  if (!file.ok()) {
    Check(!file.status().message().empty());
    return 0;
  }
  volatile uint64_t sink = TouchMetadata(file->metadata());
  for (const FileTensor& tensor : file->tensors()) {
    sink = sink + Touch(tensor.data);
    Check(file->tensors().Find(tensor.name) == &tensor);
    Check(NumElements(tensor) > 0 && !tensor.data.empty());
  }
  return 0;
}
