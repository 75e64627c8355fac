#include "runtime/tokenizer/pretokenizer.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/tokenizer/pretokenizer_rules.h"
#include "runtime/tokenizer/regex_dialect.h"

namespace tandem {
namespace {

using ::testing::ElementsAreArray;

std::vector<std::string> Pieces(const std::vector<PreTokenizerRule>& rules, std::string_view text) {
  const auto pretokenizer = PreTokenizer::Create(rules);
  EXPECT_TRUE(pretokenizer.ok()) << pretokenizer.status();
  std::vector<std::string_view> pieces;
  if (pretokenizer.ok()) {
    EXPECT_TRUE(pretokenizer->Split(text, pieces).ok());
  }
  return {pieces.begin(), pieces.end()};
}

struct NamedCase {
  const char* name;
  std::string text;
  std::vector<std::string> pieces;
};

TEST(PreTokenizerTest, NamedOnesCutAsTheirModelsDo) {
  const NamedCase cases[] = {
      {"gpt-2",
       "I'VE we've 1234 ab!?  x\n\n y",
       {"I", "'", "VE", " we", "'ve", " 1234", " ab", "!?", " ", " x", "\n\n", " y"}},
      {"llama-bpe",
       "I'VE we've 1234 ab!?\n  x\n\n y",
       {"I", "'VE", " we", "'ve", " ", "123", "4", " ab", "!?\n", " ", " x", "\n\n", " y"}},
      {"qwen2", "12 (a)b", {"1", "2", " (", "a", ")b"}},
      {"qwen35", "नमस्ते", {"नमस्ते"}},
      {"qwen2", "नमस्ते", {"नमस", "्त", "े"}},
      {"deepseek-llm", "Ab1234 ж\nका  ", {"Ab", "1234", " ж", "\n", "का", "  "}},
      {"deepseek-coder", "Ab12 !?中文\r\n", {"Ab", "1", "2", " !?", "中文", "\r", "\n"}},
      {"deepseek-v3", "1234中文カナab_cd ,x", {"123", "4", "中文カナ", "ab", "_cd", " ,", "x"}},
      {"deepseek-v3", "e\u0301a  \n!", {"e\u0301a", "  \n", "!"}},
      {"gpt-4o",
       "HelloWORLDÀÉx can'T 1234 /\n/",
       {"Hello", "WORLDÀÉx", " can'T", " ", "123", "4", " /\n/"}},
      {"gpt-4o", "ÀÉîöÜ", {"ÀÉîö", "Ü"}},
      {"tekken", "HelloWorld's 12", {"Hello", "World", "'s", " ", "1", "2"}},
      {"kimi-k2",
       "Hello中文World's 々x 1234",
       {"Hello", "中文", "World's", " ", "々", "x", " ", "123", "4"}},
      {"default", "Hi, 12345", {"Hi", ",", " ", "123", "45"}},
  };
  for (const NamedCase& c : cases) {
    const auto named = FindPreTokenizer(c.name);
    ASSERT_TRUE(named.ok()) << named.status();
    EXPECT_THAT(Pieces(named->rules, c.text), ElementsAreArray(c.pieces)) << c.name;
  }
  EXPECT_EQ(FindPreTokenizer("gpt-5").status().code(), absl::StatusCode::kNotFound);
}

// Words of 250 kB, which a regex must not take quadratic time or much stack for.
TEST(PreTokenizerTest, LongRunsAreCutInTime) {
  constexpr size_t kLength = 250'000;
  std::vector<std::string> texts;
  for (const char* unit : {" ", "a", "A", "1", "\n", "!", "中", "\u0301", " \n", "aA", "\t", "'"}) {
    std::string text;
    while (text.size() < kLength) text += unit;
    texts.push_back(text);
    texts.push_back("x" + text + "x");
  }
  for (const char* name :
       {"gpt-2", "llama-bpe", "qwen2", "qwen35", "deepseek-llm", "deepseek-coder", "deepseek-v3",
        "gpt-4o", "tekken", "kimi-k2", "default"}) {
    const auto named = FindPreTokenizer(name);
    ASSERT_TRUE(named.ok());
    const auto pretokenizer = PreTokenizer::Create(named->rules);
    ASSERT_TRUE(pretokenizer.ok()) << pretokenizer.status();
    for (const std::string& text : texts) {
      std::vector<std::string_view> pieces;
      const absl::Status status = pretokenizer->Split(text, pieces);
      ASSERT_TRUE(status.ok()) << name << " \"" << text.substr(0, 8) << "\" " << status;
      size_t total = 0;
      for (std::string_view piece : pieces) total += piece.size();
      EXPECT_EQ(total, text.size()) << name;
    }
  }
}

TEST(PreTokenizerTest, GapsArePiecesOrDropped) {
  EXPECT_THAT(Pieces({{"[0-9]"}}, "ab1c2"), ElementsAreArray({"ab", "1", "c", "2"}));
  EXPECT_THAT(Pieces({{"[0-9]", true}}, "ab1c2"), ElementsAreArray({"1", "2"}));
  EXPECT_THAT(Pieces({{"[0-9]"}, {"b"}}, "ab1"), ElementsAreArray({"a", "b", "1"}));
  EXPECT_THAT(Pieces({}, "ab"), ElementsAreArray({"ab"}));
}

TEST(PreTokenizerTest, WhiteSpaceIsThePropertyOfUnicode) {
  EXPECT_THAT(Pieces({{R"(\s+)"}}, "a\u0085\u2003 \u180Eb"),
              ElementsAreArray({"a", "\u0085\u2003 ", "\u180Eb"}));
  EXPECT_THAT(Pieces({{R"(\S+)"}}, "a\u180Eb c"), ElementsAreArray({"a\u180Eb", " ", "c"}));
}

TEST(PreTokenizerTest, AnchorsAreThoseOfLines) {
  EXPECT_THAT(Pieces({{"^b"}}, "bb\nb"), ElementsAreArray({"b", "b\n", "b"}));
  EXPECT_THAT(Pieces({{R"(\s+$)"}}, "a  \n  b  "), ElementsAreArray({"a", "  ", "\n  b", "  "}));
}

TEST(PreTokenizerTest, EndlessMatchingIsAnError) {
  const auto pretokenizer = PreTokenizer::Create({{"(?:a+)+b|c"}});
  ASSERT_TRUE(pretokenizer.ok()) << pretokenizer.status();
  std::vector<std::string_view> pieces;
  const std::string text(64, 'a');
  EXPECT_EQ(pretokenizer->Split(text, pieces).code(), absl::StatusCode::kResourceExhausted);
}

TEST(RegexDialectTest, RefusesWhatTheDialectsReadDifferently) {
  for (const char* regex : {R"(\w+)", R"(\bx)", R"([a[b]])", R"([a&&b])", R"(a{1,3}+)", "(?R)",
                            "(*ACCEPT)", R"(\Kx)", R"((a)\1)", "(?x)a b", R"([\S])", R"(\h)", "[a",
                            "a\\", R"(\u12)", R"(\pL)", "[]a]", R"(\Qa\E)", R"(\X)"}) {
    EXPECT_EQ(TranslateRegex(regex).status().code(), absl::StatusCode::kUnimplemented) << regex;
  }
  EXPECT_EQ(TranslateRegex(std::string(20'000, 'a')).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(TranslateRegex(R"(\u4e00[\x{41}-\x5A]\p{L}{1,3})").value(),
            R"(\x{4e00}[\x{41}-\x{5A}]\p{L}{1,3})");
}

TEST(PreTokenizerTest, RefusesRegexesThatDoNotCompileOrMatchNothing) {
  EXPECT_EQ(PreTokenizer::Create({{"a)"}}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(PreTokenizer::Create({{"a*"}}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(PreTokenizer::Create({{"(?=a)"}}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(PreTokenizer::Create(std::vector<PreTokenizerRule>(33, {"a"})).status().code(),
            absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace tandem
