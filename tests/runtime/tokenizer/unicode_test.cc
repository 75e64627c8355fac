#include "runtime/tokenizer/unicode.h"

#include <string>

#include "gtest/gtest.h"

namespace tandem {
namespace {

struct Utf8Case {
  std::string text;
  Utf8Kind kind;
  size_t length;
};

TEST(UnicodeTest, ReadsTheFirstCharacter) {
  const Utf8Case cases[] = {
      {"a", Utf8Kind::kValid, 1},
      {"\xC3\xA9", Utf8Kind::kValid, 2},
      {"\xEF\xBF\xBD", Utf8Kind::kValid, 3},
      {"\xF0\x9F\x98\x80", Utf8Kind::kValid, 4},
      {"\xF4\x8F\xBF\xBF", Utf8Kind::kValid, 4},
      {"\x80", Utf8Kind::kInvalid, 1},
      {"\xC0\x80", Utf8Kind::kInvalid, 1},          // overlong
      {"\xE0\x9F\xBF", Utf8Kind::kInvalid, 1},      // overlong
      {"\xED\xA0\x80", Utf8Kind::kInvalid, 1},      // surrogate
      {"\xF4\x90\x80\x80", Utf8Kind::kInvalid, 1},  // above U+10FFFF
      {"\xF5", Utf8Kind::kInvalid, 1},
      {"\xF0\x9F\x98", Utf8Kind::kIncomplete, 3},
      {"\xF0\x9F\x98x", Utf8Kind::kInvalid, 3},  // a maximal subpart
      {"\xE2\x96", Utf8Kind::kIncomplete, 2},
      {"\xE2", Utf8Kind::kIncomplete, 1},
  };
  for (const Utf8Case& c : cases) {
    const Utf8Step step = ReadUtf8(c.text, 0);
    EXPECT_EQ(step.kind, c.kind) << testing::PrintToString(c.text);
    EXPECT_EQ(step.length, c.length) << testing::PrintToString(c.text);
  }
}

TEST(UnicodeTest, EveryScalarValueReadsBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, text);
    const Utf8Step step = ReadUtf8(text, 0);
    ASSERT_EQ(step.kind, Utf8Kind::kValid) << static_cast<uint32_t>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, text.size());
  }
}

TEST(UnicodeTest, NormalizesToNfc) {
  EXPECT_EQ(NormalizeNfc("plain"), "plain");
  EXPECT_EQ(NormalizeNfc("e\u0301"), "é");
  EXPECT_EQ(NormalizeNfc("\u212B"), "\u00C5");               // a singleton
  EXPECT_EQ(NormalizeNfc("\u1100\u1161\u11A8"), "\uAC01");   // Hangul
  EXPECT_EQ(NormalizeNfc("a\u0307\u0323"), "\u1EA1\u0307");  // marks change places
  EXPECT_EQ(NormalizeNfc("\u1E9B\u0323"), "\u1E9B\u0323");   // from UAX 15
  EXPECT_EQ(NormalizeNfc("\u0344"), "\u0308\u0301");         // excluded from composition
}

TEST(UnicodeTest, NormalizesEndlessMarksInTime) {
  std::string text = "q";
  for (int i = 0; i < 400'000; ++i) text += i % 2 == 0 ? "\u0307" : "\u0323";
  const std::string normalized = NormalizeNfc(text);
  // There is no q with a dot; dots below go before dots above.
  EXPECT_TRUE(normalized.starts_with("q\u0323\u0323"));
  EXPECT_TRUE(normalized.ends_with("\u0307\u0307"));
  EXPECT_EQ(normalized.size(), text.size());
}

TEST(UnicodeTest, KnowsWhiteSpace) {
  int count = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) count += IsWhiteSpace(c);
  EXPECT_EQ(count, 25);  // PropList.txt
  EXPECT_FALSE(IsWhiteSpace(0x180E));
  EXPECT_FALSE(IsWhiteSpace(0x200B));
}

}  // namespace
}  // namespace tandem
