#include "runtime/tokenizer_json.h"

#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/tokenizer.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

Json SmallFile() {
  return Json::parse(R"json({
    "added_tokens": [{"id": 4, "content": "<s>", "special": true},
                     {"id": 5, "content": "<tool>", "special": false, "lstrip": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 4},
              "merges": ["a b"]}})json");
}

absl::StatusOr<TokenizerSpec> ParsePatched(const char* patch, std::string_view config = "") {
  Json file = SmallFile();
  file.merge_patch(Json::parse(patch));
  return ParseTokenizerJson(file.dump(), config);
}

TEST(TokenizerJsonTest, ReadsVocabularyAndAddedTokens) {
  const auto spec = ParsePatched("{}");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->tokens, (std::vector<std::string>{"a", "b", "ab", "", "<s>", "<tool>"}));
  EXPECT_EQ(spec->token_types[3], TokenType::kUnused);
  EXPECT_EQ(spec->token_types[4], TokenType::kControl);
  EXPECT_EQ(spec->token_types[5], TokenType::kUserDefined);
  ASSERT_EQ(spec->strips.size(), 1u);
  EXPECT_TRUE(spec->strips[0].left);
  EXPECT_FALSE(spec->add_bos);
  const auto pairs = ParsePatched(R"({"model": {"merges": [["a", "b"]]}})");
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  EXPECT_EQ(pairs->merges, spec->merges);
}

TEST(TokenizerJsonTest, TheConfigNamesBosAndTemplate) {
  const auto spec = ParsePatched("{}", R"({"bos_token": {"content": "<s>"}, "eos_token": "<tool>",
      "add_bos_token": true, "chat_template": "{{x}}"})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->bos_id, 4);
  EXPECT_EQ(spec->eos_id, 5);
  EXPECT_TRUE(spec->add_bos);
  EXPECT_FALSE(spec->add_eos);
  EXPECT_EQ(spec->chat_template, "{{x}}");
  const auto named = ParsePatched("{}", R"({"chat_template": [{"name": "tool", "template": "t"},
                                  {"name": "default", "template": "d"}]})");
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->chat_template, "d");
}

TEST(TokenizerJsonTest, ThePostProcessorAddsBosWhereTheConfigIsSilent) {
  constexpr const char* kPatch = R"({"post_processor": {"type": "Sequence", "processors": [
      {"type": "ByteLevel"},
      {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                {"Sequence": {"id": "A", "type_id": 0}}]}]}})";
  const auto spec = ParsePatched(kPatch);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->bos_id, 4);
  EXPECT_TRUE(spec->add_bos);
  const auto silenced = ParsePatched(kPatch, R"({"add_bos_token": false})");
  ASSERT_TRUE(silenced.ok()) << silenced.status();
  EXPECT_FALSE(silenced->add_bos);
}

struct BadFile {
  const char* patch;
  absl::StatusCode code;
  const char* message;
};

TEST(TokenizerJsonTest, NamesWhatItDoesNotUnderstand) {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const BadFile files[] = {
      {R"({"model": {"type": "Unigram"}})", kUnimplemented, "Unigram"},
      {R"({"model": {"dropout": 0.1}})", kUnimplemented, "dropout"},
      {R"({"model": {"end_of_word_suffix": "</w>"}})", kUnimplemented, "</w>"},
      {R"({"model": {"vocab": []}})", kInvalid, "vocab"},
      {R"({"model": {"vocab": {"x": -1}}})", kInvalid, "\"x\""},
      {R"({"model": {"vocab": {"x": 1.5}}})", kInvalid, "\"x\""},
      {R"({"model": {"vocab": {"x": 2000000000}}})", kInvalid, "2000000000"},
      {R"({"model": {"vocab": {"x": 2}}})", kInvalid, "one to one"},
      {R"({"model": {"merges": ["a c"]}})", kInvalid, "\"c\""},
      {R"({"model": {"merges": [["a", "b", "c"]]}})", kInvalid, "merge"},
      {R"({"model": {"merges": [1]}})", kInvalid, "merge"},
      {R"({"model": {"merges": null}})", kInvalid, "merges"},
      {R"({"model": {"ignore_merges": 1}})", kInvalid, "ignore_merges"},
      {R"({"added_tokens": {}})", kInvalid, "added_tokens"},
      {R"({"added_tokens": [{"id": 0, "content": "q"}]})", kInvalid, "one to one"},
      {R"({"added_tokens": [{"id": 9, "content": "q", "single_word": true}]})", kUnimplemented,
       "single_word"},
      {R"({"added_tokens": [7]})", kInvalid, "content"},
      {R"({"normalizer": {"type": "NFKC"}})", kUnimplemented, "NFKC"},
      {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence"}]}})",
       kUnimplemented, "Sequence"},
      {R"({"normalizer": {"type": "Prepend", "prepend": "x"}})", kUnimplemented, "Prepend"},
      {R"({"pre_tokenizer": {"type": "Whitespace"}})", kUnimplemented, "Whitespace"},
      {R"({"pre_tokenizer": null})", kUnimplemented, "without ByteLevel"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a"},
           "behavior": "MergedWithNext"}})",
       kUnimplemented, "MergedWithNext"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": 3, "behavior": "Isolated"}})", kInvalid,
       "String"},
      {R"({"pre_tokenizer": {"type": 3}})", kInvalid, "type"},
      {R"({"post_processor": {"type": "BertProcessing"}})", kUnimplemented, "BertProcessing"},
      {R"({"decoder": {"type": "WordPiece"}})", kUnimplemented, "WordPiece"},
  };
  for (const BadFile& file : files) {
    const absl::Status status = ParsePatched(file.patch).status();
    EXPECT_EQ(status.code(), file.code) << file.patch << " " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(file.message)) << file.patch;
  }
}

TEST(TokenizerJsonTest, RefusesBadConfigs) {
  for (const char* config : {"[]", "{", R"({"bos_token": 3})", R"({"bos_token": "<none>"})",
                             R"({"add_bos_token": "yes"})", R"({"chat_template": 3})"}) {
    EXPECT_EQ(ParsePatched("{}", config).status().code(), absl::StatusCode::kInvalidArgument)
        << config;
  }
}

TEST(TokenizerJsonTest, RefusesDeepNesting) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  for (const std::string& file :
       {deep, R"({"model": {"vocab": )" + deep + "}}", R"({"model": {"type": )" + deep + "}}",
        R"({"model": {"vocab": {}, "merges": [)" + deep + "]}}"}) {
    EXPECT_THAT(std::string(ParseTokenizerJson(file, "").status().message()),
                HasSubstr("nested deeper than 64 levels"));
  }
}

TEST(TokenizerJsonTest, AnInconsistentSpecMakesNoTokenizer) {
  auto spec = ParsePatched("{}", R"({"add_bos_token": true})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(Tokenizer::Create(*spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec->add_bos = false;
  EXPECT_TRUE(Tokenizer::Create(*spec).ok());
  TokenizerSpec bad = *spec;
  bad.eot_id = 6;
  EXPECT_EQ(Tokenizer::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = *spec;
  bad.token_types.pop_back();
  EXPECT_EQ(Tokenizer::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  bad = *spec;
  bad.merges.emplace_back("", "a");
  EXPECT_EQ(Tokenizer::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Tokenizer::Create(TokenizerSpec()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tandem
