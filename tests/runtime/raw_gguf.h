// Builds GGUF files field by field, right or wrong, without the library's own writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string RawText(std::string_view text) {
  return Raw<uint64_t>(text.size()) + std::string(text);
}

// A metadata entry: key, type number, and the bytes of the value.
inline std::string RawEntry(std::string_view key, uint32_t type, std::string_view value) {
  return RawText(key) + Raw<uint32_t>(type) + std::string(value);
}

inline std::string RawArray(std::string_view key, uint32_t type, uint64_t count,
                            std::string_view elements) {
  return RawEntry(key, 9, Raw<uint32_t>(type) + Raw<uint64_t>(count) + std::string(elements));
}

struct RawTensor {
  std::string name;
  std::vector<int64_t> sizes;  // innermost first, as in the file
  uint32_t type = 0;
  uint64_t offset = 0;
  std::optional<uint32_t> rank;  // if it is to differ from sizes.size()
};

// Two tensors and a metadata key of each kind; sound unless changed.
struct RawGguf {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count;
  std::optional<uint64_t> entry_count;
  std::vector<std::string> entries = {
      RawEntry("general.architecture", 8, RawText("llama")),
      RawEntry("llama.block_count", 4, Raw<uint32_t>(2)),
      RawEntry("llama.rope.freq_base", 6, Raw<float>(10000.0f)),
      RawEntry("tokenizer.ggml.add_bos_token", 7, Raw<uint8_t>(1)),
      RawArray("tokenizer.ggml.tokens", 8, 3, RawText("a") + RawText("") + RawText("bc")),
      RawArray("tokenizer.ggml.scores", 6, 3, Raw(-1.0f) + Raw(-2.0f) + Raw(0.5f)),
  };
  std::vector<RawTensor> tensors = {
      {"token_embd.weight", {8, 3}, /*f32*/ 0, 0, {}},
      {"blk.0.ffn_up.weight", {64, 2}, /*q8_0*/ 8, 96, {}},
  };
  size_t alignment = 32;
  size_t data_bytes = 96 + 160;  // 96 for the first tensor; 136 for the second, padded

  std::string Bytes() const {
    std::string bytes = magic + Raw(version) +
                        Raw<uint64_t>(tensor_count.value_or(tensors.size())) +
                        Raw<uint64_t>(entry_count.value_or(entries.size()));
    for (const std::string& entry : entries) bytes += entry;
    for (const RawTensor& tensor : tensors) {
      bytes += RawText(tensor.name) + Raw<uint32_t>(tensor.rank.value_or(tensor.sizes.size()));
      for (const int64_t size : tensor.sizes) bytes += Raw(size);
      bytes += Raw(tensor.type) + Raw(tensor.offset);
    }
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
    for (size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i * 37 + 11);
    return bytes;
  }
};

inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace tandem
