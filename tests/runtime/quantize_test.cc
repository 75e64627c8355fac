#include "runtime/quantize.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include "backends/device/quant.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf.h"
#include "runtime/gguf_writer.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// Reproducible values, about normal in their spread.
std::vector<float> Values(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    float sum = 0.0f;
    for (int i = 0; i < 4; ++i) {
      seed = seed * 1664525u + 1013904223u;
      sum += static_cast<float>(seed >> 8) / 16777216.0f - 0.5f;
    }
    value = 0.1f * sum;
  }
  return values;
}

struct TinyTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// One of each kind: rows that fill blocks of 256, of 32, and of neither.
std::vector<TinyTensor> TinyTensors() {
  return {{"token_embd.weight", {48, 256}},
          {"blk.0.attn_norm.weight", {256}},
          {"blk.0.attn_q.weight", {64, 256}},
          {"blk.0.attn_k_b.weight", {4, 32, 32}},
          {"blk.0.odd.weight", {6, 20}},
          {"blk.0.ffn_gate_inp.weight", {3, 256}},
          {"blk.0.ffn_gate_exps.weight", {3, 64, 256}},
          {"output.weight", {48, 256}}};
}

int64_t ElementsOf(const TinyTensor& tensor) {
  int64_t elements = 1;
  for (const int64_t size : tensor.shape) elements *= size;
  return elements;
}

class QuantizeTest : public testing::Test {
 protected:
  // A file with f32 tensors. `poison`: the tensor whose first element is infinite.
  std::string WriteModel(std::string_view name, std::string_view poison = "") {
    GgufHeader header;
    header.SetString("general.architecture", "llama");
    header.SetU32("general.file_type", 0);
    header.SetU32("llama.block_count", 1);
    header.SetStringArray("tokenizer.ggml.tokens", std::vector<std::string_view>{"a", "b"});
    const std::vector<TinyTensor> tensors = TinyTensors();
    for (const TinyTensor& t : tensors) header.AddTensor(t.name, DType::kF32, t.shape);
    const std::string path = temp_.Path(name);
    auto writer = GgufWriter::Create(path, header);
    EXPECT_TRUE(writer.ok()) << writer.status();
    for (uint32_t i = 0; i < tensors.size(); ++i) {
      std::vector<float> values = Values(ElementsOf(tensors[i]), i + 1);
      if (tensors[i].name == poison) values[0] = INFINITY;
      EXPECT_TRUE(writer->WriteTensor(tensors[i].name, std::as_bytes(std::span(values))).ok());
    }
    EXPECT_TRUE(writer->Finish().ok());
    return path;
  }

  // An importance matrix in the older format: all ones but for zeros in `zeros` leading values.
  std::string WriteImportance(std::string_view entry, int32_t count, int32_t zeros = 0) {
    std::string bytes;
    const auto put = [&bytes](auto value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    };
    put(int32_t{1});
    put(static_cast<int32_t>(entry.size()));
    bytes += entry;
    put(int32_t{2});
    put(count);
    for (int32_t i = 0; i < count; ++i) put(i < zeros ? 0.0f : 2.0f);
    return temp_.Write("importance.dat", bytes);
  }

  std::vector<TensorReport> Quantize(const std::string& in, const std::string& out,
                                     const QuantizeOptions& options) {
    auto reports = QuantizeGguf(in, out, options);
    EXPECT_TRUE(reports.ok()) << reports.status();
    return reports.ok() ? *std::move(reports) : std::vector<TensorReport>();
  }

  TempDir temp_;
};

struct Expectation {
  DType type;
  DType small_rows;  // of the tensor with rows of 32
  DType output;
  double relative_error;  // root of the mean squared error over that of the values
};

class QuantizeTypeTest : public QuantizeTest, public testing::WithParamInterface<Expectation> {};

TEST_P(QuantizeTypeTest, EveryTensorHasItsTypeAndItsValues) {
  const Expectation& want = GetParam();
  const std::string in = WriteModel("in.gguf"), out = temp_.Path("out.gguf");
  const auto reports = Quantize(in, out, {.types = {.type = want.type}});
  const auto file = GgufFile::Open(out);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto type_of = [&](std::string_view name) { return file->tensors().Find(name)->dtype; };
  EXPECT_EQ(type_of("token_embd.weight"), want.type);
  EXPECT_EQ(type_of("blk.0.attn_q.weight"), want.type);
  EXPECT_EQ(type_of("blk.0.ffn_gate_exps.weight"), want.type);
  EXPECT_EQ(type_of("blk.0.attn_k_b.weight"), want.small_rows);
  EXPECT_EQ(type_of("output.weight"), want.output);
  EXPECT_EQ(type_of("blk.0.attn_norm.weight"), DType::kF32);
  EXPECT_EQ(type_of("blk.0.ffn_gate_inp.weight"), DType::kF32);
  EXPECT_EQ(type_of("blk.0.odd.weight"), IsQuantized(want.type) ? DType::kF32 : want.type);
  EXPECT_EQ(*file->metadata().GetU32("llama.block_count"), 1u);
  EXPECT_EQ(file->metadata().GetStringArray("tokenizer.ggml.tokens")->size(), 2u);

  const std::vector<TinyTensor> tensors = TinyTensors();
  ASSERT_EQ(reports.size(), tensors.size());
  for (uint32_t i = 0; i < tensors.size(); ++i) {
    const FileTensor& tensor = file->tensors()[i];
    const std::vector<float> original = Values(ElementsOf(tensors[i]), i + 1);
    std::vector<float> decoded(original.size());
    DequantizeRow(*tensor.dtype, tensor.data.data(), decoded.data(), ElementsOf(tensors[i]));
    double error = 0.0, norm = 0.0;
    for (size_t k = 0; k < original.size(); ++k) {
      error += std::pow(static_cast<double>(decoded[k]) - original[k], 2);
      norm += std::pow(static_cast<double>(original[k]), 2);
    }
    EXPECT_NEAR(reports[i].squared_error, error, 1e-9 * norm) << tensor.name;
    EXPECT_LE(std::sqrt(error / norm), want.relative_error) << tensor.name;
    EXPECT_EQ(reports[i].bytes, static_cast<int64_t>(tensor.data.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Types, QuantizeTypeTest,
    testing::Values(Expectation{DType::kF16, DType::kF16, DType::kF16, 5e-4},
                    Expectation{DType::kBF16, DType::kBF16, DType::kBF16, 3e-3},
                    Expectation{DType::kQ8_0, DType::kQ8_0, DType::kQ8_0, 8e-3},
                    Expectation{DType::kQ6_K, DType::kQ8_0, DType::kQ6_K, 3e-2},
                    Expectation{DType::kQ5_K, DType::kQ5_1, DType::kQ6_K, 6e-2},
                    Expectation{DType::kQ4_K, DType::kQ5_0, DType::kQ6_K, 1e-1},
                    Expectation{DType::kQ4_0, DType::kQ4_0, DType::kQ6_K, 1.2e-1},
                    Expectation{DType::kIQ4_NL, DType::kIQ4_NL, DType::kQ6_K, 1e-1},
                    Expectation{DType::kIQ4_XS, DType::kIQ4_NL, DType::kQ6_K, 1e-1},
                    Expectation{DType::kQ3_K, DType::kIQ4_NL, DType::kQ6_K, 2.2e-1}),
    [](const auto& info) { return std::string(DTypeName(info.param.type)); });

TEST_F(QuantizeTest, TheNumberOfThreadsDoesNotMatter) {
  const std::string in = WriteModel("in.gguf");
  const QuantizeTypes types = {.type = DType::kQ4_K};
  const auto one = Quantize(in, temp_.Path("1.gguf"), {.types = types, .threads = 1});
  const auto three = Quantize(in, temp_.Path("3.gguf"), {.types = types, .threads = 3});
  const std::string bytes = ReadFileBytes(temp_.Path("1.gguf"));
  EXPECT_FALSE(bytes.empty());
  EXPECT_TRUE(bytes == ReadFileBytes(temp_.Path("3.gguf")));
  ASSERT_EQ(one.size(), three.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].squared_error, three[i].squared_error) << one[i].name;
  }
}

TEST_F(QuantizeTest, AFileMayReplaceItself) {
  const std::string in = WriteModel("in.gguf");
  Quantize(in, temp_.Path("out.gguf"), {.types = {.type = DType::kQ8_0}});
  Quantize(in, in, {.types = {.type = DType::kQ8_0}});
  EXPECT_TRUE(ReadFileBytes(in) == ReadFileBytes(temp_.Path("out.gguf")));
}

TEST_F(QuantizeTest, TheFirstRuleThatMatchesCounts) {
  const std::string out = temp_.Path("out.gguf");
  Quantize(WriteModel("in.gguf"), out,
           {.types = {.type = DType::kIQ4_NL,
                      .rules = {{"output.weight", DType::kQ5_K},
                                {"token_embd.weight", DType::kQ3_K},
                                {"*.ffn_gate_inp.weight", DType::kBF16},
                                {"blk.*.attn_*.weight", DType::kQ8_0},
                                {"*attn_q*", DType::kF16}}}});
  const auto file = GgufFile::Open(out);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto type_of = [&](std::string_view name) { return file->tensors().Find(name)->dtype; };
  EXPECT_EQ(type_of("output.weight"), DType::kQ5_K);
  EXPECT_EQ(type_of("token_embd.weight"), DType::kQ3_K);
  EXPECT_EQ(type_of("blk.0.ffn_gate_inp.weight"), DType::kBF16);
  EXPECT_EQ(type_of("blk.0.attn_q.weight"), DType::kQ8_0);    // the first rule that matches
  EXPECT_EQ(type_of("blk.0.attn_norm.weight"), DType::kF32);  // no rule touches norms
  EXPECT_EQ(type_of("blk.0.ffn_gate_exps.weight"), DType::kIQ4_NL);
  EXPECT_EQ(*file->metadata().GetU32("general.file_type"), 25u);
}

TEST(MatchesPatternTest, StarsStandForAnyText) {
  EXPECT_TRUE(MatchesPattern("a*c", "ac"));
  EXPECT_TRUE(MatchesPattern("a*b*c", "a1b2b3c"));
  EXPECT_TRUE(MatchesPattern("*", ""));
  EXPECT_TRUE(MatchesPattern("abc", "abc"));
  EXPECT_FALSE(MatchesPattern("abc", "abcd"));
  EXPECT_FALSE(MatchesPattern("a*c", "acd"));
  EXPECT_FALSE(MatchesPattern("", "a"));
  EXPECT_FALSE(MatchesPattern("*b", "a"));
}

TEST_F(QuantizeTest, UnusedExpertsAreEncodedAsIfAllColumnsCountedTheSame) {
  const std::string in = WriteModel("in.gguf");
  const QuantizeTypes types = {.type = DType::kIQ4_NL};
  const std::string name = "blk.0.ffn_gate_exps.weight";
  Quantize(in, temp_.Path("plain.gguf"), {.types = types});
  // The first expert was never used, the others have constant columns: the same as no importance.
  const std::string importance = WriteImportance(name, 3 * 256, 256);
  Quantize(in, temp_.Path("with.gguf"), {.types = types, .importance_path = importance});
  EXPECT_TRUE(ReadFileBytes(temp_.Path("plain.gguf")) == ReadFileBytes(temp_.Path("with.gguf")));
}

TEST_F(QuantizeTest, ImportanceLowersTheErrorOfTheColumnsThatCount) {
  const std::string in = WriteModel("in.gguf");
  const QuantizeTypes types = {.type = DType::kIQ4_NL};
  const std::string name = "blk.0.attn_q.weight";
  Quantize(in, temp_.Path("plain.gguf"), {.types = types});
  const std::string importance = WriteImportance(name, 256, 240);  // the last 16 columns alone
  Quantize(in, temp_.Path("with.gguf"), {.types = types, .importance_path = importance});
  const auto error = [&](const std::string& path) {
    const auto file = GgufFile::Open(path);
    const FileTensor* tensor = file->tensors().Find(name);
    std::vector<float> decoded(64 * 256);
    DequantizeRow(*tensor->dtype, tensor->data.data(), decoded.data(), 64 * 256);
    const std::vector<float> original = Values(64 * 256, 3);
    double sum = 0.0;
    for (size_t i = 0; i < original.size(); ++i) {
      if (i % 256 >= 240) sum += std::pow(static_cast<double>(decoded[i]) - original[i], 2);
    }
    return sum;
  };
  EXPECT_LT(error(temp_.Path("with.gguf")), 0.9 * error(temp_.Path("plain.gguf")));
}

TEST_F(QuantizeTest, RefusesBadInputsAndNamesThem) {
  const std::string in = WriteModel("in.gguf"), out = temp_.Path("out.gguf");
  const auto message = [&](const std::string& from, const QuantizeOptions& options) {
    return std::string(QuantizeGguf(from, out, options).status().message());
  };
  EXPECT_THAT(message(temp_.Path("nothing.gguf"), {}), HasSubstr("nothing.gguf"));
  EXPECT_THAT(message(temp_.Write("text", "no model"), {}), HasSubstr("text"));
  EXPECT_THAT(message(in, {.types = {.type = DType::kI32}}), HasSubstr("i32"));
  EXPECT_THAT(message(WriteModel("bad.gguf", "blk.0.attn_q.weight"), {}),
              HasSubstr("blk.0.attn_q.weight"));
  EXPECT_THAT(message(in, {.types = {.rules = {{"*gate_inp*", DType::kQ8_0}}}}),
              HasSubstr("blk.0.ffn_gate_inp.weight"));
  // One slice where the tensor has three experts.
  const std::string importance = WriteImportance("blk.0.ffn_gate_exps.weight", 256);
  EXPECT_THAT(message(in, {.importance_path = importance}),
              HasSubstr("256 values for blk.0.ffn_gate_exps.weight"));
  EXPECT_THAT(message(in, {.importance_path = temp_.Path("none.dat")}), HasSubstr("none.dat"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace tandem
