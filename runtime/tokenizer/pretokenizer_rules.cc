#include "runtime/tokenizer/pretokenizer_rules.h"

#include <array>
#include <initializer_list>
#include <string>
#include <utility>

#include "backends/device/status.h"

namespace tandem {

const std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// What most later pre-tokenizers share: English contractions, and how punctuation and white space
// are cut.
constexpr std::string_view kContractions =
    R"('[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
constexpr std::string_view kPunctuation = R"( ?[^\s\p{L}\p{N}]+[\r\n]*)";
constexpr std::string_view kPunctuationOrPath = R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)";
constexpr std::string_view kSpaces = R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWord = R"([^\r\n\p{L}\p{N}]?\p{L}+)";

// CJK ideographs, Hangul, and everything from U+0800: the classes of the first DeepSeek models.
constexpr std::string_view kEastAsian = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

// Letters with case, as DeepSeek-LLM lists them.
constexpr std::string_view kCasedLetters =
    R"(\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA})"
    R"(\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377})"
    R"(\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5})"
    R"(\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B})"
    R"(\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D})"
    R"(\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4})"
    R"(\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC})"
    R"(\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115})"
    R"(\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139})"
    R"(\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B})"
    R"(\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B})"
    R"(\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A})"
    R"(\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2})"
    R"(\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})";

using Regexes = std::vector<std::string>;

std::string AnyOf(std::initializer_list<std::string_view> alternatives) {
  std::string result;
  for (std::string_view alternative : alternatives) {
    if (!result.empty()) result += '|';
    result += alternative;
  }
  return result;
}

Regexes Gpt2() { return {std::string(kGpt2Regex)}; }

Regexes Llama3() { return {AnyOf({kContractions, kWord, R"(\p{N}{1,3})", kPunctuation, kSpaces})}; }

Regexes Qwen2() { return {AnyOf({kContractions, kWord, R"(\p{N})", kPunctuation, kSpaces})}; }

// As Qwen2, with combining marks counted among the letters.
Regexes Qwen35() {
  return {AnyOf({kContractions, R"([^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+)", R"(\p{N})",
                 R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)", kSpaces})};
}

Regexes DeepSeekLlm() {
  return {R"([\r\n])",
          absl::StrCat(R"(\s?[)", Text(kCasedLetters), "]+"),
          R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
          R"(\s+$)",
          std::string(kEastAsian),
          R"(\p{N}+)"};
}

Regexes DeepSeekCoder() {
  return {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", std::string(kEastAsian), R"(\p{N})"};
}

Regexes DeepSeekV3() {
  return {R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
          AnyOf({R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)",
                 R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)", R"( ?[\p{P}\p{S}]+[\r\n]*)", kSpaces})};
}

// Words that are cut where upper case follows lower case. `upper` and `lower` are classes that
// share the letters without case; `suffix` follows both kinds of word.
std::string CasedWords(std::string_view upper, std::string_view lower, std::string_view suffix) {
  const std::string prefix = R"([^\r\n\p{L}\p{N}]?)";
  return absl::StrCat(prefix, Text(upper), "*", Text(lower), "+", Text(suffix), "|") +
         absl::StrCat(prefix, Text(upper), "+", Text(lower), "*", Text(suffix));
}

constexpr std::string_view kUpper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])";
constexpr std::string_view kLower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";
constexpr std::string_view kContractionSuffix = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)";

Regexes Gpt4o() {
  return {AnyOf({CasedWords(kUpper, kLower, kContractionSuffix), R"(\p{N}{1,3})",
                 kPunctuationOrPath, kSpaces})};
}

Regexes Tekken() {
  return {AnyOf({CasedWords(kUpper, kLower, ""), R"(\p{N})", kPunctuationOrPath, kSpaces})};
}

// As GPT-4o, with runs of Han apart. "kUpper without Han" is written as the complement of a class,
// since PCRE2 has no difference of classes.
Regexes KimiK2() {
  constexpr std::string_view kUpperNotHan = R"([^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{Han}])";
  constexpr std::string_view kLowerNotHan = R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{Han}])";
  return {AnyOf({R"([\p{Han}]+)", CasedWords(kUpperNotHan, kLowerNotHan, kContractionSuffix),
                 R"(\p{N}{1,3})", kPunctuation, kSpaces})};
}

// What files are called that were converted before their pre-tokenizer had a name.
Regexes Generic() {
  return {R"([\p{P}\$\+<=>\^~\|]+)", std::string(kGpt2Regex), R"(\p{N}+)", "[0-9][0-9][0-9]"};
}

struct Entry {
  std::string_view name;
  Regexes (*regexes)();
  bool ignore_merges = false;
  bool add_bos = false;
};

constexpr std::array kEntries = {
    Entry{"default", Generic},
    Entry{"gpt-2", Gpt2},
    Entry{"gpt2", Gpt2},
    Entry{"phi-2", Gpt2},
    Entry{"gigachat", Gpt2},
    Entry{"llama-bpe", Llama3, true, true},
    Entry{"llama3", Llama3, true, true},
    Entry{"llama-v3", Llama3, true, true},
    Entry{"falcon3", Llama3, true, true},
    Entry{"smaug-bpe", Llama3},
    Entry{"dbrx", Llama3},
    Entry{"glm4", Llama3},
    Entry{"chatglm-bpe", Llama3},
    Entry{"qwen2", Qwen2},
    Entry{"deepseek-r1-qwen", Qwen2},
    Entry{"qwen35", Qwen35},
    Entry{"deepseek-llm", DeepSeekLlm},
    Entry{"deepseek-coder", DeepSeekCoder},
    Entry{"deepseek-v3", DeepSeekV3},
    Entry{"gpt-4o", Gpt4o},
    Entry{"llama4", Gpt4o},
    Entry{"tekken", Tekken, true, true},
    Entry{"kimi-k2", KimiK2},
};

}  // namespace

absl::StatusOr<NamedPreTokenizer> FindPreTokenizer(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name != name) continue;
    NamedPreTokenizer result{{}, entry.ignore_merges, entry.add_bos};
    for (std::string& regex : entry.regexes()) result.rules.push_back({std::move(regex)});
    return result;
  }
  return absl::NotFoundError(absl::StrCat("pre-tokenizer \"", Text(name), "\" is not known"));
}

}  // namespace tandem
