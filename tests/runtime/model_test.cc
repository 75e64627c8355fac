// Models that the readers of files accept but that are damaged, hostile or old: opening one gives a
// Status, never a crash, and takes no more memory than the model.
#include "runtime/model.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/gguf_writer.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using testing::HasSubstr;

struct TestTensor {
  std::vector<int64_t> shape;
  DType dtype = DType::kF32;
};

// A model as a list of keys and tensors, to be changed before it is written. The values of a tensor
// follow from its name, so that two models agree where their names do.
struct TestModel {
  std::string arch = "llama";
  std::string tokenizer;  // kind of tokenizer; empty: the file does not say
  std::map<std::string, uint32_t> numbers;
  std::map<std::string, TestTensor> tensors;
};

constexpr int64_t kWidth = 32, kVocab = 48, kFf = 64, kExperts = 4;

TestModel Llama() {
  TestModel m;
  m.numbers = {{"block_count", 1},
               {"context_length", 128},
               {"embedding_length", kWidth},
               {"feed_forward_length", kFf},
               {"attention.head_count", 2}};
  m.tensors = {
      {"token_embd.weight", {{kVocab, kWidth}}},   {"output_norm.weight", {{kWidth}}},
      {"output.weight", {{kVocab, kWidth}}},       {"blk.0.attn_norm.weight", {{kWidth}}},
      {"blk.0.attn_q.weight", {{kWidth, kWidth}}}, {"blk.0.attn_k.weight", {{kWidth, kWidth}}},
      {"blk.0.attn_v.weight", {{kWidth, kWidth}}}, {"blk.0.attn_output.weight", {{kWidth, kWidth}}},
      {"blk.0.ffn_norm.weight", {{kWidth}}},       {"blk.0.ffn_gate.weight", {{kFf, kWidth}}},
      {"blk.0.ffn_up.weight", {{kFf, kWidth}}},    {"blk.0.ffn_down.weight", {{kWidth, kFf}}}};
  return m;
}

// The dense layer replaced by experts, each a tensor of its own as old files keep them.
TestModel OldMixtral() {
  TestModel m = Llama();
  m.numbers["expert_count"] = kExperts;
  m.numbers["expert_used_count"] = 2;
  m.tensors["blk.0.ffn_gate_inp.weight"] = {{kExperts, kWidth}};
  for (const char* part : {"gate", "up", "down"}) {
    const std::string name = std::string("blk.0.ffn_") + part;
    const TestTensor dense = m.tensors[name + ".weight"];
    m.tensors.erase(name + ".weight");
    for (int e = 0; e < kExperts; ++e) {
      m.tensors[name + "." + std::to_string(e) + ".weight"] = dense;
    }
  }
  return m;
}

TestModel DeepSeek() {
  TestModel m;
  m.arch = "deepseek2";
  m.numbers = {
      {"block_count", 1},           {"context_length", 128},        {"embedding_length", kWidth},
      {"feed_forward_length", kFf}, {"attention.head_count", 2},    {"attention.kv_lora_rank", 32},
      {"attention.key_length", 24}, {"attention.value_length", 16}, {"rope.dimension_count", 8}};
  m.tensors = Llama().tensors;
  m.tensors.erase("blk.0.attn_k.weight");
  m.tensors.erase("blk.0.attn_v.weight");
  m.tensors["blk.0.attn_q.weight"] = {{2 * 24, kWidth}};
  m.tensors["blk.0.attn_kv_a_mqa.weight"] = {{32 + 8, kWidth}};
  m.tensors["blk.0.attn_kv_a_norm.weight"] = {{32}};
  m.tensors["blk.0.attn_kv_b.weight"] = {{2 * (16 + 16), 32}};
  return m;
}

float ValueAt(const std::string& name, size_t i) {
  const size_t seed = std::hash<std::string>()(name) % 1000;
  return std::sin(static_cast<float>(seed + 7 * i + i * i % 13)) * 0.5f;
}

std::vector<std::byte> BytesOf(const GgufHeader::Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  if (tensor.dtype == DType::kF32) {
    auto* values = reinterpret_cast<float*>(bytes.data());
    for (size_t i = 0; i < tensor.bytes / 4; ++i) values[i] = ValueAt(tensor.name, i);
  }
  if (tensor.dtype == DType::kF16) {
    auto* values = reinterpret_cast<uint16_t*>(bytes.data());
    for (size_t i = 0; i < tensor.bytes / 2; ++i) values[i] = 0x3c00;  // 1
  }
  return bytes;
}

class ModelTest : public testing::Test {
 protected:
  std::string Write(const TestModel& m) {
    GgufHeader header;
    header.SetString("general.architecture", m.arch);
    if (!m.tokenizer.empty()) header.SetString("tokenizer.ggml.model", m.tokenizer);
    for (const auto& [key, value] : m.numbers) header.SetU32(m.arch + "." + key, value);
    for (const auto& [name, tensor] : m.tensors) {
      header.AddTensor(name, tensor.dtype, tensor.shape);
    }
    const std::string path = dir_.Path("model.gguf");
    auto writer = GgufWriter::Create(path, header);
    EXPECT_TRUE(writer.ok()) << writer.status();
    const auto layout = header.Layout();
    for (const GgufHeader::Tensor& tensor : *layout) {
      const absl::Status written = writer->WriteTensor(tensor.name, BytesOf(tensor));
      EXPECT_TRUE(written.ok()) << written;
    }
    const absl::Status finished = writer->Finish();
    EXPECT_TRUE(finished.ok()) << finished;
    return path;
  }

  absl::StatusOr<std::shared_ptr<Engine>> Open(const TestModel& m, EngineOptions options = {}) {
    options.devices = {"reference"};
    options.micro_batch = std::min<int64_t>(options.micro_batch, 16);
    return Engine::Open(Write(m), options);
  }

  std::vector<float> Logits(const TestModel& m) {
    EngineOptions options;
    options.all_logits = true;
    options.kv_type = DType::kF32;
    auto engine = Open(m, options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    if (!engine.ok()) return {};
    auto session = (*engine)->NewSession();
    auto logits = (*session)->Evaluate(std::vector<int32_t>{1, 5, 40, 2, 2, 17});
    EXPECT_TRUE(logits.ok()) << logits.status();
    return logits.ok() ? *logits : std::vector<float>();
  }

  TempDir dir_;
};

TEST_F(ModelTest, SoundModelsOpen) {
  for (const TestModel& m : {Llama(), OldMixtral(), DeepSeek()}) {
    const auto engine = Open(m);
    EXPECT_TRUE(engine.ok()) << engine.status();
  }
}

// Experts kept apart are computed as those of the dense layer would be, if all are that layer.
TEST_F(ModelTest, ExpertsOfOldFilesAreStacked) {
  const TestModel m = OldMixtral();
  const auto model = Model::Open(Write(m));
  ASSERT_TRUE(model.ok()) << model.status();
  const Weight* up = (*model)->weights().Find("blk.0.ffn_up_exps.weight");
  ASSERT_NE(up, nullptr);
  EXPECT_EQ(up->shape, (Shape{kExperts, kFf, kWidth}));
  ASSERT_EQ(up->parts.size(), static_cast<size_t>(kExperts));
  for (int e = 0; e < kExperts; ++e) {
    const auto* values = reinterpret_cast<const float*>(up->parts[e].data());
    EXPECT_EQ(values[3], ValueAt("blk.0.ffn_up." + std::to_string(e) + ".weight", 3));
  }
  EXPECT_FALSE((*model)->weights().Contains("blk.0.ffn_up.0.weight"));
  const std::vector<float> logits = Logits(m);
  ASSERT_EQ(logits.size(), static_cast<size_t>(6 * kVocab));
  for (const float logit : logits) EXPECT_TRUE(std::isfinite(logit));
}

TEST_F(ModelTest, AMissingExpertIsNamed) {
  TestModel m = OldMixtral();
  m.tensors.erase("blk.0.ffn_up.2.weight");
  EXPECT_THAT(Open(m).status().ToString(), HasSubstr("expert 2 is missing"));
  m = OldMixtral();
  m.tensors["blk.0.ffn_up.2.weight"].shape = {kFf, 2 * kWidth};
  EXPECT_THAT(Open(m).status().ToString(), HasSubstr("differ in type or shape"));
}

// A norm as f16, or as a matrix of one row, is the norm.
TEST_F(ModelTest, NormsOfOtherTypesAndRanksAreTaken) {
  TestModel vector = Llama(), matrix = Llama();
  vector.tensors["blk.0.attn_norm.weight"].dtype = DType::kF16;
  matrix.tensors["blk.0.attn_norm.weight"] = {{1, kWidth}, DType::kF16};
  const std::vector<float> logits = Logits(vector);
  EXPECT_EQ(logits.size(), static_cast<size_t>(6 * kVocab));
  EXPECT_EQ(logits, Logits(matrix));
}

TEST_F(ModelTest, WithoutAHeadTheEmbeddingIsUsed) {
  TestModel m = Llama();
  m.tensors.erase("output.weight");
  EXPECT_EQ(Logits(m).size(), static_cast<size_t>(6 * kVocab));
}

TEST_F(ModelTest, AVocabularyOfOneToken) {
  TestModel m = Llama();
  m.tensors["token_embd.weight"] = {{1, kWidth}, DType::kF16};
  m.tensors["output.weight"].shape = {1, kWidth};
  const auto engine = Open(m);
  ASSERT_TRUE(engine.ok()) << engine.status();
  auto session = (*engine)->NewSession();
  const auto result = (*session)->Generate(std::vector<int32_t>{0}, {.max_tokens = 3}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->tokens, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_FALSE((*session)->Generate(std::vector<int32_t>{1}, {}, nullptr).ok());
}

TEST_F(ModelTest, AModelMaySayThatItHasNoTokenizer) {
  TestModel m = Llama();
  m.tokenizer = "none";
  const auto model = Model::Open(Write(m));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->tokenizer(), nullptr);
  m.tokenizer = "rwkv";
  EXPECT_FALSE(Model::Open(Write(m)).ok());
}

struct Damage {
  const char* reason;
  std::function<void(TestModel&)> apply;
};

TEST_F(ModelTest, DamagedLlamasAreRefused) {
  const std::vector<Damage> cases = {
      {"token_embd", [](TestModel& m) { m.tensors.erase("token_embd.weight"); }},
      {"token_embd",
       [](TestModel& m) { m.tensors["token_embd.weight"].shape = {kVocab * kWidth}; }},
      {"token_embd",
       [](TestModel& m) {
         m.tensors["token_embd.weight"].shape = {kWidth, kVocab};
       }},
      {"output_norm", [](TestModel& m) { m.tensors.erase("output_norm.weight"); }},
      {"output_norm", [](TestModel& m) { m.tensors["output_norm.weight"].shape = {kWidth + 1}; }},
      {"output.weight",
       [](TestModel& m) {
         m.tensors["output.weight"].shape = {kVocab - 1, kWidth};
       }},
      {"blk.1.", [](TestModel& m) { m.numbers["block_count"] = 512; }},
      {"513", [](TestModel& m) { m.numbers["block_count"] = 513; }},
      {"attn_q", [](TestModel& m) { m.numbers["attention.key_length"] = 8; }},
      {"attn_q", [](TestModel& m) { m.numbers["attention.key_length"] = 1 << 20; }},
      {"head size is 0", [](TestModel& m) { m.numbers["attention.key_length"] = 0; }},
      {"attn_v", [](TestModel& m) { m.numbers["attention.value_length"] = 8; }},
      {"attn_k", [](TestModel& m) { m.numbers["attention.head_count_kv"] = 1; }},
      {"ffn_down",
       [](TestModel& m) {
         m.tensors["blk.0.ffn_down.weight"].shape = {kFf, kWidth};
       }},
      {"ffn_gate", [](TestModel& m) { m.numbers["feed_forward_length"] = 1 << 24; }},
      {"rotated", [](TestModel& m) { m.numbers["rope.dimension_count"] = 18; }},
      {"divisors", [](TestModel& m) { m.tensors["rope_freqs.weight"].shape = {3}; }},
      {"divisor", [](TestModel& m) { m.tensors["rope_freqs.weight"].shape = {8}; }},
      {"rope_freqs",
       [](TestModel& m) {
         m.tensors["rope_freqs.weight"].shape = {2, 4};
       }},
      // A router without experts, and the other way round.
      {"ffn_gate_inp",
       [](TestModel& m) {
         m.tensors["blk.0.ffn_gate_inp.weight"].shape = {4, kWidth};
       }},
  };
  for (const Damage& damage : cases) {
    TestModel m = Llama();
    damage.apply(m);
    EXPECT_THAT(Open(m).status().ToString(), HasSubstr(damage.reason));
  }
}

TEST_F(ModelTest, DamagedExpertsAndLatentsAreRefused) {
  const std::vector<Damage> experts = {
      {"ffn_gate_inp", [](TestModel& m) { m.numbers["expert_count"] = 5; }},
      {"experts used", [](TestModel& m) { m.numbers["expert_used_count"] = 5; }},
      {"ffn_down_exps", [](TestModel& m) { m.numbers["feed_forward_length"] = kFf / 2; }},
      {"ffn_gate.weight", [](TestModel& m) { m.tensors.erase("blk.0.ffn_gate_inp.weight"); }},
  };
  for (const Damage& damage : experts) {
    TestModel m = OldMixtral();
    damage.apply(m);
    EXPECT_THAT(Open(m).status().ToString(), HasSubstr(damage.reason));
  }
  const std::vector<Damage> latents = {
      {"kv_lora_rank", [](TestModel& m) { m.numbers.erase("attention.kv_lora_rank"); }},
      {"attn_kv_a_mqa", [](TestModel& m) { m.numbers["attention.kv_lora_rank"] = 64; }},
      {"attn_k_b", [](TestModel& m) { m.tensors.erase("blk.0.attn_kv_b.weight"); }},
      {"attn_kv_b",
       [](TestModel& m) {
         m.tensors["blk.0.attn_kv_b.weight"].shape = {32, 64};
       }},
      {"rotated", [](TestModel& m) { m.numbers["rope.dimension_count"] = 26; }},
      {"qk_nope_head_dim", [](TestModel& m) { m.numbers["rope.dimension_count"] = 24; }},
      {"key_length", [](TestModel& m) { m.numbers.erase("attention.key_length"); }},
      {"attn_q_a",
       [](TestModel& m) {
         m.tensors["blk.0.attn_q_a.weight"].shape = {8, kWidth};
       }},
  };
  for (const Damage& damage : latents) {
    TestModel m = DeepSeek();
    damage.apply(m);
    EXPECT_THAT(Open(m).status().ToString(), HasSubstr(damage.reason));
  }
}

// A tensor whose type cannot be computed with is not a missing one: the embedding must not stand in
// for the head.
TEST_F(ModelTest, TypesThatCannotBeComputedWithAreNamed) {
  std::string bytes = ReadFileBytes(Write(Llama()));
  // Behind a name come the rank, the sizes and the type.
  const size_t type = bytes.find("output.weight") + std::string("output.weight").size() + 4 + 16;
  ASSERT_LT(type, bytes.size());
  bytes[type] = 24;  // i8
  const auto engine = Engine::Open(dir_.Write("i8.gguf", bytes), {.devices = {"reference"}});
  EXPECT_THAT(engine.status().ToString(), HasSubstr("output.weight has the type i8"));
}

// The longest context that a file may claim costs nothing until it is asked for, and then is
// refused before anything is allocated.
TEST_F(ModelTest, HugeContexts) {
  TestModel m = Llama();
  m.numbers["context_length"] = 1 << 30;
  EXPECT_TRUE(Open(m).ok());
  EngineOptions options;
  options.context = 1 << 30;
  options.max_sessions = 2;
  EXPECT_THAT(Open(m, options).status().ToString(), HasSubstr("too many"));
  m.numbers["context_length"] = UINT32_MAX;
  EXPECT_THAT(Open(m).status().ToString(), HasSubstr("context"));
}

TEST_F(ModelTest, CachesOfBlocksNeedWholeBlocks) {
  EngineOptions options;
  options.kv_type = DType::kQ8_0;
  EXPECT_THAT(Open(Llama(), options).status().ToString(), HasSubstr("whole blocks of q8_0"));
}

}  // namespace
}  // namespace tandem
