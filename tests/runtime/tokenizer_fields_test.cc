#include "runtime/tokenizer_fields.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

GgufTokenizerFields ByteFields() {
  GgufTokenizerFields fields;
  fields.model = "gpt2";
  fields.pre = "deepseek-v3";
  fields.tokens = {"a", "b", "ab", "<|end|>"};
  fields.token_types = {1, 1, 1, 3};
  fields.merges = {"a b"};
  fields.eos_id = 3;
  return fields;
}

TEST(TokenizerFieldsTest, ReadsAByteModel) {
  const auto spec = TokenizerSpecFromFields(ByteFields());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, TokenizerModel::kByteBpe);
  EXPECT_EQ(spec->rules.size(), 3u);
  EXPECT_THAT(spec->merges, ElementsAre(std::pair<std::string, std::string>("a", "b")));
  EXPECT_EQ(spec->eos_id, 3);
  EXPECT_EQ(spec->bos_id, std::nullopt);
  EXPECT_FALSE(spec->add_bos);
  EXPECT_EQ(spec->space_prefix, SpacePrefix::kNone);
  EXPECT_TRUE(spec->warnings.empty());
}

TEST(TokenizerFieldsTest, LlamaBpeTakesWholePiecesAndBos) {
  GgufTokenizerFields fields = ByteFields();
  fields.pre = "llama-bpe";
  fields.bos_id = 0;
  const auto spec = TokenizerSpecFromFields(fields);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->ignore_merges);
  EXPECT_TRUE(spec->add_bos);
  fields.add_bos = false;
  EXPECT_FALSE(TokenizerSpecFromFields(fields)->add_bos);
}

TEST(TokenizerFieldsTest, SentencePieceHasDefaults) {
  GgufTokenizerFields fields = ByteFields();
  fields.model = "llama";
  fields.pre = "default";
  fields.eos_id = std::nullopt;
  const auto spec = TokenizerSpecFromFields(fields);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, TokenizerModel::kSentencePiece);
  EXPECT_EQ(spec->unk_id, 0);
  EXPECT_EQ(spec->bos_id, 1);
  EXPECT_EQ(spec->eos_id, 2);
  EXPECT_TRUE(spec->add_bos);
  EXPECT_FALSE(spec->add_eos);
  EXPECT_EQ(spec->space_prefix, SpacePrefix::kEachFragment);
}

TEST(TokenizerFieldsTest, WarnsOfWhatItGuesses) {
  GgufTokenizerFields fields = ByteFields();
  fields.pre = std::nullopt;
  fields.pad_id = 0xFFFFFFFF;
  const auto spec = TokenizerSpecFromFields(fields);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->warnings,
              ElementsAre(HasSubstr("padding token id 4294967295"), HasSubstr("gpt-2")));
  EXPECT_EQ(spec->pre_tokenizer, "gpt-2");
  EXPECT_EQ(spec->pad_id, std::nullopt);
}

TEST(TokenizerFieldsTest, RefusesWhatItDoesNotKnow) {
  GgufTokenizerFields fields = ByteFields();
  fields.pre = "viking";
  absl::Status status = TokenizerSpecFromFields(fields).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("viking"));

  fields = ByteFields();
  fields.model = "t5";
  status = TokenizerSpecFromFields(fields).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("t5"));

  fields = ByteFields();
  fields.token_types[1] = 7;
  EXPECT_EQ(TokenizerSpecFromFields(fields).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerFieldsTest, MergesArePartedByTheFirstSpaceAfterTheFirstByte) {
  using Sides = std::pair<std::string, std::string>;
  EXPECT_EQ(ParseMerge("a b").value(), Sides("a", "b"));
  EXPECT_EQ(ParseMerge("  b").value(), Sides(" ", "b"));
  EXPECT_EQ(ParseMerge("a b c").value(), Sides("a", "b c"));
  for (const char* merge : {"", " ", "a", "a ", " a"}) {
    EXPECT_EQ(ParseMerge(merge).status().code(), absl::StatusCode::kInvalidArgument) << merge;
  }
}

}  // namespace
}  // namespace tandem
