// Data for the tests of tokenizers: files, and the tokenizer keys of a GGUF file.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer_fields.h"

namespace tandem {

// The file below the project's root, or nothing where there is none.
inline std::optional<std::string> ReadTestFile(const std::string& path) {
  std::ifstream file(std::string(TANDEM_SOURCE_DIR) + "/" + path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The texts of a vector file, parted by lines of their own.
inline std::vector<std::string> SplitVectorTexts(const std::string& file) {
  constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  size_t start = 0;
  for (size_t end; (end = file.find(kSeparator, start)) != std::string::npos;) {
    texts.push_back(file.substr(start, end - start));
    start = end + kSeparator.size();
  }
  return texts;
}

// The ids of a vector file, a line for each text.
inline std::vector<std::vector<int32_t>> ParseVectorIds(const std::string& file) {
  std::vector<std::vector<int32_t>> result;
  std::istringstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    result.emplace_back(std::istream_iterator<int32_t>(numbers), std::istream_iterator<int32_t>());
  }
  return result;
}

// Reads the metadata of a well-formed little-endian GGUF file; no more than these tests need.
class GgufFieldReader {
 public:
  explicit GgufFieldReader(const std::string& file) : file_(file) {}

  GgufTokenizerFields Read() {
    position_ = 16;  // magic, version, number of tensors
    const auto count = Number<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      const std::string key = String();
      ReadValue(key, Number<int32_t>());
    }
    return std::move(fields_);
  }

 private:
  static constexpr int32_t kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8,
                           kArray = 9;

  template <typename T>
  T Number() {
    T value{};
    file_.copy(reinterpret_cast<char*>(&value), sizeof(T), position_);
    position_ += sizeof(T);
    return value;
  }

  std::string String() {
    const auto length = Number<uint64_t>();
    position_ += length;
    return file_.substr(position_ - length, length);
  }

  void ReadValue(const std::string& key, int32_t type) {
    if (type == kArray) return ReadArray(key);
    if (type == kString) {
      const std::string value = String();
      if (key == "tokenizer.ggml.model") fields_.model = value;
      if (key == "tokenizer.ggml.pre") fields_.pre = value;
    } else if (type == kBool) {
      const bool value = Number<uint8_t>() != 0;
      if (key == "tokenizer.ggml.add_bos_token") fields_.add_bos = value;
      if (key == "tokenizer.ggml.add_eos_token") fields_.add_eos = value;
    } else {
      const auto value = Number<uint32_t>();  // these files hold no other width
      if (key == "tokenizer.ggml.bos_token_id") fields_.bos_id = value;
      if (key == "tokenizer.ggml.eos_token_id") fields_.eos_id = value;
      if (key == "tokenizer.ggml.unknown_token_id") fields_.unk_id = value;
    }
  }

  void ReadArray(const std::string& key) {
    const auto type = Number<int32_t>();
    const auto count = Number<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      if (type == kString) {
        std::string text = String();
        if (key == "tokenizer.ggml.tokens")
          fields_.tokens.push_back(std::move(text));
        else if (key == "tokenizer.ggml.merges")
          fields_.merges.push_back(std::move(text));
      } else if (type == kFloat32) {
        fields_.scores.push_back(Number<float>());
      } else {
        fields_.token_types.push_back(Number<int32_t>());
      }
    }
  }

  const std::string& file_;
  size_t position_ = 0;
  GgufTokenizerFields fields_;
};

}  // namespace tandem
