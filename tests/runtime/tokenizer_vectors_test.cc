// Real vocabularies against the ids that other implementations gave.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_fields.h"
#include "runtime/tokenizer_json.h"
#include "tests/runtime/tokenizer_test_data.h"

namespace tandem {
namespace {

using ::testing::ElementsAreArray;

struct VectorFile {
  std::string name;
  std::string gguf;
  std::string texts;  // path without .inp or .out
};

void PrintTo(const VectorFile& file, std::ostream* stream) { *stream << file.name; }

class GgufVectorsTest : public ::testing::TestWithParam<VectorFile> {
 protected:
  void SetUp() override {
    const std::optional<std::string> file = ReadTestFile(GetParam().gguf);
    if (!file) GTEST_SKIP() << GetParam().gguf << " is not there";
    absl::StatusOr<TokenizerSpec> spec = TokenizerSpecFromFields(GgufFieldReader(*file).Read());
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_TRUE(spec->warnings.empty()) << spec->warnings[0];
    auto tokenizer = Tokenizer::Create(*std::move(spec));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    texts_ = SplitVectorTexts(ReadTestFile(GetParam().texts + ".inp").value_or(""));
    ids_ = ParseVectorIds(ReadTestFile(GetParam().texts + ".out").value_or(""));
    ASSERT_EQ(texts_.size(), 46u);
    ASSERT_EQ(ids_.size(), texts_.size());
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::string> texts_;
  std::vector<std::vector<int32_t>> ids_;
};

TEST_P(GgufVectorsTest, EncodesAsExpected) {
  for (size_t i = 0; i < texts_.size(); ++i) {
    const auto ids = tokenizer_->Encode(texts_[i], {.add_special = false});
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_THAT(*ids, ElementsAreArray(ids_[i])) << "text " << i << ": \"" << texts_[i] << "\"";
  }
}

TEST_P(GgufVectorsTest, DecodesToTheText) {
  for (size_t i = 0; i < texts_.size(); ++i) {
    EXPECT_EQ(tokenizer_->Decode(ids_[i], /*skip_special=*/true), texts_[i]) << "text " << i;
  }
}

TEST_P(GgufVectorsTest, StreamsToTheText) {
  for (size_t i = 0; i < texts_.size(); ++i) {
    StreamDecoder decoder(*tokenizer_, {.at_text_start = true});
    std::string text;
    for (int32_t id : ids_[i]) text += decoder.Put(id);
    EXPECT_EQ(text, texts_[i]) << "text " << i;
    EXPECT_EQ(decoder.Finish(), "");
  }
}

VectorFile Shared(const std::string& name) {
  const std::string path = "../shared/tokenizers/ggml-vocab-" + name + ".gguf";
  return {name, path, path};
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, GgufVectorsTest,
                         ::testing::Values(VectorFile{"llama-spm",
                                                      "tests/data/tokenizers/llama_spm.gguf",
                                                      "tests/data/tokenizers/llama_spm"},
                                           Shared("gpt-2"), Shared("deepseek-llm"),
                                           Shared("deepseek-coder")),
                         [](const auto& test) {
                           std::string name = test.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(HuggingFaceVectorsTest, EncodesAsTheTokenizersLibraryDoes) {
  const std::string folder = "tests/data/tokenizers/";
  const auto vectors = nlohmann::json::parse(ReadTestFile(folder + "hf_vectors.json").value());
  const auto texts = vectors["texts"].get<std::vector<std::string>>();
  ASSERT_EQ(vectors["variants"].size(), 14u);
  for (const nlohmann::json& variant : vectors["variants"]) {
    const std::string name = variant["name"];
    SCOPED_TRACE(name);
    const std::string file = folder + variant["file"].get<std::string>();
    auto json = nlohmann::json::parse(ReadTestFile(file).value());
    json.merge_patch(variant["patch"]);
    absl::StatusOr<TokenizerSpec> spec = ParseTokenizerJson(json.dump(), "");
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto tokenizer = Tokenizer::Create(*std::move(spec));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto ids = (*tokenizer)->Encode(texts[i], {.parse_special = true});
      ASSERT_TRUE(ids.ok()) << ids.status();
      const auto expected = variant["ids"][i].get<std::vector<int32_t>>();
      EXPECT_THAT(*ids, ElementsAreArray(expected)) << "text " << i << ": \"" << texts[i] << "\"";
    }
  }
}

}  // namespace
}  // namespace tandem
