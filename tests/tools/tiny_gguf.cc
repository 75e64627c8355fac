#include "tests/tools/tiny_gguf.h"

#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/gguf_writer.h"

namespace tandem {
namespace {

constexpr int64_t kWidth = 32;
constexpr int64_t kFeedForward = 32;
constexpr uint32_t kHeads = 2;

// <unk>, <s>, </s>, a token for each byte, and a few letters so that pieces merge.
std::vector<std::string> TinyVocabulary() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  char name[8];
  for (int byte = 0; byte < 256; ++byte) {
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    tokens.emplace_back(name);
  }
  for (const char* text : {"\u2581", "t", "h", "e", "th", "the", "\u2581the"}) {
    tokens.emplace_back(text);
  }
  return tokens;
}

void SetConfig(GgufHeader& header) {
  header.SetString("general.architecture", "llama");
  header.SetString("general.name", "tiny");
  header.SetU32("llama.block_count", 1);
  header.SetU32("llama.context_length", kTinyContext);
  header.SetU32("llama.embedding_length", kWidth);
  header.SetU32("llama.feed_forward_length", kFeedForward);
  header.SetU32("llama.attention.head_count", kHeads);
  header.SetF32("llama.attention.layer_norm_rms_epsilon", 1e-6f);
}

void SetTokenizer(GgufHeader& header, const std::vector<std::string>& vocabulary) {
  std::vector<std::string_view> tokens(vocabulary.begin(), vocabulary.end());
  std::vector<float> scores(tokens.size(), 0.0f);
  std::vector<int32_t> types(tokens.size(), 1);
  types[0] = 2;
  types[1] = types[2] = 3;
  for (size_t i = 0; i < 256; ++i) types[3 + i] = 6;
  for (size_t i = 259; i < tokens.size(); ++i) scores[i] = static_cast<float>(i);
  header.SetString("tokenizer.ggml.model", "llama");
  header.SetStringArray("tokenizer.ggml.tokens", tokens);
  header.SetF32Array("tokenizer.ggml.scores", scores);
  header.SetI32Array("tokenizer.ggml.token_type", types);
  header.SetU32("tokenizer.ggml.bos_token_id", 1);
  header.SetU32("tokenizer.ggml.eos_token_id", 2);
  header.SetString("tokenizer.chat_template",
                   "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
                   "{% endfor %}[assistant]");
}

void AddTensors(GgufHeader& header, int64_t vocab) {
  const auto add = [&header](std::string_view name, std::vector<int64_t> shape) {
    header.AddTensor(name, DType::kF32, shape);
  };
  add("token_embd.weight", {vocab, kWidth});
  add("output_norm.weight", {kWidth});
  add("output.weight", {vocab, kWidth});
  add("blk.0.attn_norm.weight", {kWidth});
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
    add("blk.0." + std::string(name) + ".weight", {kWidth, kWidth});
  }
  add("blk.0.ffn_norm.weight", {kWidth});
  add("blk.0.ffn_gate.weight", {kFeedForward, kWidth});
  add("blk.0.ffn_up.weight", {kFeedForward, kWidth});
  add("blk.0.ffn_down.weight", {kWidth, kFeedForward});
}

}  // namespace

void WriteTinyGguf(const std::string& path) {
  const std::vector<std::string> vocabulary = TinyVocabulary();
  GgufHeader header;
  SetConfig(header);
  SetTokenizer(header, vocabulary);
  AddTensors(header, static_cast<int64_t>(vocabulary.size()));
  const auto layout = header.Layout();
  ASSERT_TRUE(layout.ok()) << layout.status();
  auto writer = GgufWriter::Create(path, header);
  ASSERT_TRUE(writer.ok()) << writer.status();
  std::mt19937 random(7);
  for (const GgufHeader::Tensor& tensor : *layout) {
    std::vector<float> values(tensor.bytes / sizeof(float));
    for (float& value : values) value = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
    const absl::Status status = writer->WriteTensor(tensor.name, std::as_bytes(std::span(values)));
    ASSERT_TRUE(status.ok()) << status;
  }
  const absl::Status status = writer->Finish();
  ASSERT_TRUE(status.ok()) << status;
}

}  // namespace tandem
