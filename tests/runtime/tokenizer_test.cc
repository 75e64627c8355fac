#include "runtime/tokenizer.h"

#include <algorithm>
#include <random>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/tokenizer/pretokenizer_rules.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer_fields.h"
#include "runtime/tokenizer_json.h"
#include "tests/runtime/tokenizer_test_data.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> Make(TokenizerSpec spec) {
  auto tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

// Token b is the byte b, written in the alphabet of GPT-2; special tokens are added behind.
TokenizerSpec ByteSpec() {
  TokenizerSpec spec;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    std::string text;
    AppendUtf8(printable ? byte : next++, text);
    spec.tokens.push_back(text);
  }
  spec.token_types.resize(256, TokenType::kNormal);
  return spec;
}

int32_t AddToken(TokenizerSpec& spec, const std::string& text, TokenType type) {
  spec.tokens.push_back(text);
  spec.token_types.push_back(type);
  return static_cast<int32_t>(spec.tokens.size()) - 1;
}

Ids Bytes(std::string_view text) {
  Ids ids;
  for (char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

std::unique_ptr<Tokenizer> Stories() {
  const std::string folder = "tests/data/tokenizers/";
  auto spec = ParseTokenizerJson(ReadTestFile(folder + "stories_tokenizer.json").value(), "");
  EXPECT_TRUE(spec.ok()) << spec.status();
  return Make(*std::move(spec));
}

std::unique_ptr<Tokenizer> LlamaSpm() {
  const std::string file = ReadTestFile("tests/data/tokenizers/llama_spm.gguf").value();
  auto spec = TokenizerSpecFromFields(GgufFieldReader(file).Read());
  EXPECT_TRUE(spec.ok()) << spec.status();
  return Make(*std::move(spec));
}

std::string RandomBytes(std::mt19937& random) {
  std::string text(random() % 80, '\0');
  const bool ascii = random() % 2 == 0;
  for (char& c : text)
    c = static_cast<char>(ascii && random() % 8 != 0 ? random() % 128 : random());
  return text;
}

TEST(TokenizerTest, ControlTokensAreReadOnlyWhereAskedFor) {
  TokenizerSpec spec = ByteSpec();
  const int32_t control = AddToken(spec, "<x>", TokenType::kControl);
  const int32_t user = AddToken(spec, "<y>", TokenType::kUserDefined);
  const int32_t longer = AddToken(spec, "<y><", TokenType::kUserDefined);
  const auto tokenizer = Make(spec);
  EXPECT_THAT(*tokenizer->Encode("a<x><y>", {.parse_special = true}),
              ElementsAre('a', control, user));
  EXPECT_THAT(*tokenizer->Encode("<x><y>"), ElementsAre('<', 'x', '>', user));
  EXPECT_THAT(*tokenizer->Encode("<y><x>", {.parse_special = true}), ElementsAre(longer, 'x', '>'));
  EXPECT_EQ(tokenizer->Decode(Ids{'a', control, user}, true), "a<y>");
  EXPECT_EQ(tokenizer->Decode(Ids{'a', control, user}, false), "a<x><y>");
}

TEST(TokenizerTest, SpecialTokensEatTheSpaceAroundThem) {
  TokenizerSpec spec = ByteSpec();
  const int32_t left = AddToken(spec, "<l>", TokenType::kControl);
  const int32_t right = AddToken(spec, "<r>", TokenType::kUserDefined);
  spec.strips = {{left, true, false}, {right, false, true}};
  const auto tokenizer = Make(spec);
  EXPECT_THAT(*tokenizer->Encode("a \u3000\n<l> b <r> \tc", {.parse_special = true}),
              ElementsAre('a', left, ' ', 'b', ' ', right, 'c'));
  EXPECT_THAT(*tokenizer->Encode("  <l><r>  ", {.parse_special = true}), ElementsAre(left, right));
}

TEST(TokenizerTest, AddsBosAndEosWhereTheModelWantsThem) {
  TokenizerSpec spec = ByteSpec();
  spec.bos_id = AddToken(spec, "<s>", TokenType::kControl);
  spec.eos_id = AddToken(spec, "</s>", TokenType::kControl);
  spec.add_bos = spec.add_eos = true;
  const auto tokenizer = Make(spec);
  EXPECT_THAT(*tokenizer->Encode("a"), ElementsAre(256, 'a', 257));
  EXPECT_THAT(*tokenizer->Encode(""), ElementsAre(256, 257));
  EXPECT_THAT(*tokenizer->Encode("a", {.add_special = false}), ElementsAre('a'));
}

TEST(TokenizerTest, KnowsWhatEndsGeneration) {
  TokenizerSpec spec = ByteSpec();
  spec.eos_id = AddToken(spec, "<stop>", TokenType::kControl);
  const int32_t im_end = AddToken(spec, "<|im_end|>", TokenType::kControl);
  const int32_t deepseek = AddToken(spec, "<｜end▁of▁sentence｜>", TokenType::kControl);
  const int32_t end = AddToken(spec, "<|end|>", TokenType::kControl);
  const auto tokenizer = Make(spec);
  for (int32_t id : {*spec.eos_id, im_end, deepseek, end}) {
    EXPECT_TRUE(tokenizer->IsEndOfGeneration(id)) << id;
  }
  EXPECT_FALSE(tokenizer->IsEndOfGeneration('a'));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(-1));
  EXPECT_FALSE(tokenizer->IsEndOfGeneration(tokenizer->vocab_size()));
  EXPECT_EQ(tokenizer->FindToken("<|im_end|>"), im_end);
  EXPECT_EQ(tokenizer->FindToken("<|im_start|>"), std::nullopt);

  // The harmony format: <|end|> parts messages, <|return|> and <|call|> end the turn.
  const int32_t ret = AddToken(spec, "<|return|>", TokenType::kControl);
  const int32_t call = AddToken(spec, "<|call|>", TokenType::kControl);
  const auto harmony = Make(spec);
  EXPECT_FALSE(harmony->IsEndOfGeneration(end));
  EXPECT_TRUE(harmony->IsEndOfGeneration(ret));
  EXPECT_TRUE(harmony->IsEndOfGeneration(call));
}

TEST(TokenizerTest, WholePiecesAreTakenWhereMergesAreIgnored) {
  TokenizerSpec spec = ByteSpec();
  const int32_t whole = AddToken(spec, "\u0120abc", TokenType::kNormal);
  spec.rules = {{" ?[a-z]+"}};
  EXPECT_THAT(*Make(spec)->Encode(" abc"), ElementsAre(' ', 'a', 'b', 'c'));
  spec.ignore_merges = true;
  EXPECT_THAT(*Make(spec)->Encode(" abc abcd"), ElementsAre(whole, ' ', 'a', 'b', 'c', 'd'));
  EXPECT_EQ(Make(spec)->TokenText(whole), " abc");
}

TEST(TokenizerTest, MergesMayPassThroughTextsThatAreNoTokens) {
  TokenizerSpec spec = ByteSpec();
  const int32_t abc = AddToken(spec, "abc", TokenType::kNormal);
  spec.merges = {{"a", "b"}, {"ab", "c"}};
  const auto tokenizer = Make(spec);
  EXPECT_THAT(*tokenizer->Encode("abcab"), ElementsAre(abc, 'a', 'b'));
}

TEST(TokenizerTest, BytesWithoutTokenAreLeftOutOrUnknown) {
  TokenizerSpec spec = ByteSpec();
  spec.tokens['q'] = "";
  EXPECT_THAT(*Make(spec)->Encode("aqqb"), ElementsAre('a', 'b'));
  const int32_t ab = AddToken(spec, "ab", TokenType::kNormal);
  spec.merges = {{"a", "b"}};
  EXPECT_THAT(*Make(spec)->Encode("aqqb"), ElementsAre(ab));
  const int32_t unknown = AddToken(spec, "<unk>", TokenType::kUnknown);
  spec.unk_id = unknown;
  EXPECT_THAT(*Make(spec)->Encode("aqqb"), ElementsAre('a', unknown, unknown, 'b'));
  spec.fuse_unknown = true;
  EXPECT_THAT(*Make(spec)->Encode("aqqb"), ElementsAre('a', unknown, 'b'));
}

TEST(TokenizerTest, SentencePiecePutsASpaceBeforeEachFragment) {
  const auto tokenizer = LlamaSpm();
  EXPECT_THAT(*tokenizer->Encode("Hello"), ElementsAre(1, 15043));
  EXPECT_THAT(*tokenizer->Encode("Hello</s>Hello", {.add_special = false, .parse_special = true}),
              ElementsAre(15043, 2, 15043));
  const Ids literal = *tokenizer->Encode("</s>", {.add_special = false});
  EXPECT_EQ(std::count(literal.begin(), literal.end(), 2), 0);
  EXPECT_EQ(tokenizer->Decode(literal, true), "</s>");
  EXPECT_EQ(tokenizer->Decode(Ids{1, 15043}, false), "<s>Hello");
  EXPECT_EQ(tokenizer->TokenText(15043), " Hello");
  EXPECT_EQ(tokenizer->TokenText(3 + 0xE2), "\xE2");
}

TEST(TokenizerTest, AnyBytesComeBack) {
  std::mt19937 random(3);
  const std::unique_ptr<Tokenizer> tokenizers[] = {Stories(), LlamaSpm(), Make(ByteSpec())};
  for (const auto& tokenizer : tokenizers) {
    for (int i = 0; i < 5000; ++i) {
      const std::string text = RandomBytes(random);
      const auto ids = tokenizer->Encode(text, {.add_special = false});
      ASSERT_TRUE(ids.ok()) << ids.status();
      ASSERT_EQ(tokenizer->Decode(*ids, true), text);
    }
  }
}

TEST(TokenizerTest, LongTextsTakeNoQuadraticTime) {
  constexpr size_t kLength = 250'000;
  const std::unique_ptr<Tokenizer> tokenizers[] = {Stories(), LlamaSpm()};
  for (const auto& tokenizer : tokenizers) {
    for (const char* unit : {"a", "the", " ", "\n", "é", "\xFF", "Once upon a time, 12 dogs. "}) {
      std::string text;
      while (text.size() < kLength) text += unit;
      const auto ids = tokenizer->Encode(text, {.add_special = false});
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_TRUE(tokenizer->Decode(*ids, true) == text) << unit;
    }
  }
}

TEST(TokenizerTest, ThreadsShareATokenizer) {
  const auto tokenizer = Stories();
  const std::string text = "Once upon a time there was a dog. \U0001F600 12345";
  const Ids expected = *tokenizer->Encode(text);
  std::vector<int> equal(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& count : equal) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) count += *tokenizer->Encode(text) == expected;
      });
    }
  }
  EXPECT_THAT(equal, testing::Each(200));
}

// What a reader of the whole text would see: each maximal invalid subpart becomes U+FFFD.
std::string Replaced(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    const Utf8Step step = ReadUtf8(bytes, i);
    AppendUtf8(step.kind == Utf8Kind::kValid ? step.code_point : 0xFFFD, text);
    i += step.length;
  }
  return text;
}

TEST(StreamDecoderTest, HoldsBackHalfACharacter) {
  const auto tokenizer = Make(ByteSpec());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.Put(0xF0), "");
  EXPECT_EQ(decoder.Put(0x9F), "");
  EXPECT_EQ(decoder.Put(0x98), "");
  EXPECT_EQ(decoder.Put(0x80), "😀");
  EXPECT_EQ(decoder.Put('a'), "a");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoderTest, ReplacesOnlyWhatCannotBecomeValid) {
  const auto tokenizer = Make(ByteSpec());
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.Put(0xFF), "\uFFFD");
  EXPECT_EQ(decoder.Put(0xE2), "");
  EXPECT_EQ(decoder.Put('x'), "\uFFFDx");
  EXPECT_EQ(decoder.Put(0xF0), "");
  EXPECT_EQ(decoder.Put(0x9F), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Put('y'), "y");
  EXPECT_EQ(decoder.Put(-1), "");
  EXPECT_EQ(decoder.Put(256), "");
}

TEST(StreamDecoderTest, RandomBytesReadAsTheWholeTextWould) {
  std::mt19937 random(5);
  const auto tokenizer = Make(ByteSpec());
  for (int i = 0; i < 5000; ++i) {
    const std::string bytes = RandomBytes(random);
    StreamDecoder decoder(*tokenizer);
    std::string text;
    for (int32_t id : Bytes(bytes)) {
      text += decoder.Put(id);
      ASSERT_EQ(ValidUtf8Prefix(text), text.size());
    }
    ASSERT_EQ(text + decoder.Finish(), Replaced(bytes));
  }
}

TEST(StreamDecoderTest, KeepsTheSpaceThatFollowsAPrompt) {
  const auto tokenizer = LlamaSpm();
  StreamDecoder after_prompt(*tokenizer);
  EXPECT_EQ(after_prompt.Put(15043), " Hello");
  StreamDecoder from_start(*tokenizer, {.skip_special = false, .at_text_start = true});
  EXPECT_EQ(from_start.Put(1), "<s>");
  EXPECT_EQ(from_start.Put(15043), "Hello");
  EXPECT_EQ(from_start.Put(15043), " Hello");
}

}  // namespace
}  // namespace tandem
