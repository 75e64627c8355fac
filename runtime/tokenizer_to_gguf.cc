#include "runtime/tokenizer_to_gguf.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "backends/device/status.h"
#include "runtime/tokenizer/pretokenizer.h"
#include "runtime/tokenizer/pretokenizer_rules.h"

namespace tandem {
namespace {

// Where pre-tokenizers differ: contractions in either case, digits in runs, white space before,
// between and after lines, punctuation that touches words and paths, scripts with and without case
// or spaces, combining marks, emoji with joiners.
constexpr std::string_view kProbes[] = {
    "Once upon a time, it's 3 o'clock; they'll say: \"DON'T!\" I'VE we'Re.",
    "0 12 345 6789 01234567890 3.14 1,000,000 0x1F 5kg \xC2\xBD \xD9\xA3\xD9\xA4",
    "  two  spaces   three\t\ttabs \n\n new  \r\n  line \n\n\n end  \n",
    "for (int i=0;i<n;++i) { a[i]+=b->c; } // x\n\n/usr/bin/env --flag=\"v\" #1 @you $5 100% "
    "~!?...\n",
    "camelCaseWord HTTPServer snake_case kebab-case E=mc^2 a+b==c <tag> `code` |x| \xE2\x82\xAC"
    "20",
    "\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C"
    "123\xE3\x81\x93\xE3\x82\x93 "
    "\xE3\x82\xAB\xE3\x82\xBF \xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4 \xE4\xB8\xAD"
    "a\xE6\x96\x87",
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xD0\x9C\xD0\xB8\xD1\x80 "
    "\xCE\x93\xCE\xB5\xCE\xB9\xCE\xB1 \xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8\xA7 "
    "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87 caf\xC3\xA9 "
    "\xC3\x89T\xC3\x89 e\xCC\x81",
    "\xF0\x9F\x98\x80\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9 \xE2\x80\x9Cquote\xE2\x80\x9D "
    "\xE2\x80\x94 dash\xE2\x80\xA6 \xEF\xBC\x81\xEF\xBC\x9F \xE3\x80\x82\xE3\x80\x81 a\xC2\xA0"
    "b",
};

// Names to try.
constexpr std::string_view kNames[] = {"gpt-2",        "llama-bpe",      "smaug-bpe",   "qwen2",
                                       "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o",
                                       "tekken",       "kimi-k2",        "qwen35"};

std::optional<uint32_t> Id(std::optional<int32_t> id) {
  if (!id.has_value()) return std::nullopt;
  return static_cast<uint32_t>(*id);
}

void SetIds(const TokenizerSpec& spec, GgufTokenizerFields& f) {
  f.bos_id = Id(spec.bos_id);
  f.eos_id = Id(spec.eos_id);
  f.eot_id = Id(spec.eot_id);
  f.eom_id = Id(spec.eom_id);
  f.unk_id = Id(spec.unk_id);
  f.sep_id = Id(spec.sep_id);
  f.pad_id = Id(spec.pad_id);
  f.mask_id = Id(spec.mask_id);
  f.fim_prefix_id = Id(spec.fim_prefix_id);
  f.fim_suffix_id = Id(spec.fim_suffix_id);
  f.fim_middle_id = Id(spec.fim_middle_id);
}

// SentencePiece joins the neighbours whose joined text scores best: the rank of the first merge
// that makes a token, negated, gives the order of the merges. Tokens that no merge makes score
// below all others.
std::vector<float> ScoresOfMerges(const TokenizerSpec& spec) {
  if (!spec.scores.empty()) return spec.scores;
  std::unordered_map<std::string, size_t> ranks;
  for (const auto& [left, right] : spec.merges) ranks.try_emplace(left + right, ranks.size());
  std::vector<float> scores;
  for (const std::string& token : spec.tokens) {
    const auto rank = ranks.find(token);
    scores.push_back(-static_cast<float>(rank == ranks.end() ? ranks.size() : rank->second));
  }
  return scores;
}

// Everything but the name of the pre-tokenizer.
GgufTokenizerFields PlainFields(const TokenizerSpec& spec) {
  GgufTokenizerFields f;
  f.tokens = spec.tokens;
  for (const TokenType type : spec.token_types) f.token_types.push_back(static_cast<int32_t>(type));
  if (f.token_types.empty()) {
    f.token_types.assign(spec.tokens.size(), static_cast<int32_t>(TokenType::kNormal));
  }
  SetIds(spec, f);
  f.add_bos = spec.add_bos;
  f.add_eos = spec.add_eos;
  f.chat_template = spec.chat_template;
  if (spec.model == TokenizerModel::kByteBpe) {
    f.model = "gpt2";
    for (const auto& [left, right] : spec.merges) f.merges.push_back(left + " " + right);
  } else {
    f.model = "llama";
    f.scores = ScoresOfMerges(spec);
    f.add_space_prefix = spec.space_prefix != SpacePrefix::kNone;
  }
  return f;
}

// True if a reader of `fields` cuts every probe as `tokenizer` does.
absl::StatusOr<bool> Agrees(const Tokenizer& tokenizer, const GgufTokenizerFields& fields) {
  TANDEM_ASSIGN_OR_RETURN(TokenizerSpec spec, TokenizerSpecFromFields(fields));
  TANDEM_ASSIGN_OR_RETURN(const auto other, Tokenizer::Create(std::move(spec)));
  for (const std::string_view probe : kProbes) {
    TANDEM_ASSIGN_OR_RETURN(const auto wanted, tokenizer.Encode(probe));
    TANDEM_ASSIGN_OR_RETURN(const auto got, other->Encode(probe));
    if (wanted != got) return false;
  }
  return true;
}

// The pieces that `rules` cut the probes into.
absl::StatusOr<std::vector<std::string_view>> PiecesOfProbes(
    const std::vector<PreTokenizerRule>& rules) {
  TANDEM_ASSIGN_OR_RETURN(const PreTokenizer pre_tokenizer, PreTokenizer::Create(rules));
  std::vector<std::string_view> all, pieces;
  for (const std::string_view probe : kProbes) {
    TANDEM_RETURN_IF_ERROR(pre_tokenizer.Split(probe, pieces));
    all.insert(all.end(), pieces.begin(), pieces.end());
  }
  return all;
}

// The name that cuts text into the same pieces; or, failing that, into the same tokens: different
// pieces can come to the same where a vocabulary never merges across their borders.
absl::StatusOr<std::string> FindName(const Tokenizer& tokenizer, GgufTokenizerFields fields) {
  const TokenizerSpec& spec = tokenizer.spec();
  TANDEM_ASSIGN_OR_RETURN(const auto wanted, PiecesOfProbes(spec.rules));
  for (const std::string_view name : kNames) {
    TANDEM_ASSIGN_OR_RETURN(const NamedPreTokenizer named, FindPreTokenizer(name));
    TANDEM_ASSIGN_OR_RETURN(const auto pieces, PiecesOfProbes(named.rules));
    if (pieces == wanted && named.ignore_merges == spec.ignore_merges) return std::string(name);
  }
  for (const std::string_view name : kNames) {
    fields.pre = std::string(name);
    TANDEM_ASSIGN_OR_RETURN(const bool agrees, Agrees(tokenizer, fields));
    if (agrees) return *fields.pre;
  }
  return absl::UnimplementedError(
      "no pre-tokenizer that GGUF has a name for cuts text as this tokenizer does");
}

// Gives a name of its own to every id that has no token.
void Pad(size_t vocab, GgufTokenizerFields& f) {
  const size_t size = std::max(vocab, f.tokens.size());
  f.tokens.resize(size);
  f.token_types.resize(size, static_cast<int32_t>(TokenType::kUnused));
  if (!f.scores.empty()) f.scores.resize(size, f.scores.back());
  for (size_t id = 0; id < size; ++id) {
    if (f.tokens[id].empty()) f.tokens[id] = absl::StrCat("[PAD", id, "]");
  }
}

}  // namespace

absl::StatusOr<GgufTokenizerFields> GgufFieldsOf(const Tokenizer& tokenizer, int64_t vocab,
                                                 std::string_view pre) {
  GgufTokenizerFields fields = PlainFields(tokenizer.spec());
  if (!pre.empty()) {
    fields.pre = std::string(pre);
  } else if (fields.model == "gpt2") {
    TANDEM_ASSIGN_OR_RETURN(fields.pre, FindName(tokenizer, fields));
  } else {
    fields.pre = "default";
    TANDEM_ASSIGN_OR_RETURN(const bool agrees, Agrees(tokenizer, fields));
    if (!agrees) {
      return absl::UnimplementedError(
          "the tokenizer's merges cannot be written as the scores of a GGUF file");
    }
  }
  Pad(static_cast<size_t>(std::max<int64_t>(vocab, 0)), fields);
  return fields;
}

void SetTokenizerKeys(const GgufTokenizerFields& f, GgufHeader& header) {
  const std::string prefix = "tokenizer.ggml.";
  const auto views = [](const std::vector<std::string>& texts) {
    return std::vector<std::string_view>(texts.begin(), texts.end());
  };
  header.SetString(prefix + "model", f.model);
  if (f.pre.has_value()) header.SetString(prefix + "pre", *f.pre);
  header.SetStringArray(prefix + "tokens", views(f.tokens));
  if (!f.scores.empty()) header.SetF32Array(prefix + "scores", f.scores);
  header.SetI32Array(prefix + "token_type", f.token_types);
  if (f.model == "gpt2") header.SetStringArray(prefix + "merges", views(f.merges));
  const std::pair<const char*, std::optional<uint32_t>> ids[] = {{"bos", f.bos_id},
                                                                 {"eos", f.eos_id},
                                                                 {"eot", f.eot_id},
                                                                 {"eom", f.eom_id},
                                                                 {"unknown", f.unk_id},
                                                                 {"seperator", f.sep_id},
                                                                 {"padding", f.pad_id},
                                                                 {"mask", f.mask_id},
                                                                 {"fim_pre", f.fim_prefix_id},
                                                                 {"fim_suf", f.fim_suffix_id},
                                                                 {"fim_mid", f.fim_middle_id}};
  for (const auto& [name, id] : ids) {
    if (id.has_value()) header.SetU32(prefix + name + "_token_id", *id);
  }
  if (f.add_bos.has_value()) header.SetBool(prefix + "add_bos_token", *f.add_bos);
  if (f.add_eos.has_value()) header.SetBool(prefix + "add_eos_token", *f.add_eos);
  if (f.add_space_prefix.has_value()) {
    header.SetBool(prefix + "add_space_prefix", *f.add_space_prefix);
  }
  if (!f.chat_template.empty()) header.SetString("tokenizer.chat_template", f.chat_template);
}

}  // namespace tandem
