#include "runtime/tokenizer.h"

#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "backends/device/status.h"
#include "runtime/tokenizer/special_tokens.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/unicode.h"

namespace tandem {

// Tokens by their text; the keys point into the spec.
struct TokenIndex {
  absl::flat_hash_map<absl::string_view, int32_t> ids;
};

namespace {

constexpr size_t kTextLimit = size_t{1} << 30;  // positions in a text have 32 bits
constexpr size_t kMostTokens = size_t{1} << 24;

// Tokens that end a turn or a text in published models, by their text; files name only some.
constexpr std::string_view kEndTexts[] = {
    "<|eot_id|>",           "<|eom_id|>",    "<|im_end|>", "<|end|>",
    "<|endoftext|>",        "<|EOT|>",       "<EOT>",      "<|eot|>",
    "<|end_of_text|>",      "<end_of_turn>", "<|return|>", "<|call|>",
    "<｜end▁of▁sentence｜>"};

absl::Status CheckLists(const TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  if (count == 0 || count > kMostTokens) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", count, " tokens"));
  }
  if (spec.token_types.size() != count) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.token_types.size(), " token types for ", count, " tokens"));
  }
  if (!spec.scores.empty() && spec.scores.size() != count) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.scores.size(), " token scores for ", count, " tokens"));
  }
  for (const auto& [left, right] : spec.merges) {
    if (left.empty() || right.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the merge \"", left, "\" + \"", right, "\" has an empty side"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIds(const TokenizerSpec& spec) {
  const auto check = [&](std::string_view name, std::optional<int32_t> id) {
    if (!id || (*id >= 0 && static_cast<size_t>(*id) < spec.tokens.size())) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat(Text(name), " token id ", *id, " in a vocabulary of ", spec.tokens.size()));
  };
  const std::pair<std::string_view, std::optional<int32_t>> ids[] = {
      {"bos", spec.bos_id},
      {"eos", spec.eos_id},
      {"eot", spec.eot_id},
      {"eom", spec.eom_id},
      {"unknown", spec.unk_id},
      {"separator", spec.sep_id},
      {"padding", spec.pad_id},
      {"mask", spec.mask_id},
      {"fim_pre", spec.fim_prefix_id},
      {"fim_suf", spec.fim_suffix_id},
      {"fim_mid", spec.fim_middle_id}};
  for (const auto& [name, id] : ids) TANDEM_RETURN_IF_ERROR(check(name, id));
  for (const TokenStrip& strip : spec.strips) {
    TANDEM_RETURN_IF_ERROR(check("special", strip.id));
  }
  if (spec.add_bos && !spec.bos_id) {
    return absl::InvalidArgumentError("texts are to start with a bos token, but there is none");
  }
  if (spec.add_eos && !spec.eos_id) {
    return absl::InvalidArgumentError("texts are to end with an eos token, but there is none");
  }
  return absl::OkStatus();
}

std::vector<bool> FindEndTokens(const Tokenizer& tokenizer) {
  const TokenizerSpec& spec = tokenizer.spec();
  std::vector<bool> ends(spec.tokens.size(), false);
  for (std::string_view text : kEndTexts) {
    const std::optional<int32_t> id = tokenizer.FindToken(text);
    if (id && spec.token_types[*id] != TokenType::kUnused) ends[*id] = true;
  }
  // With these two, <|end|> ends a message of the model's, not its turn.
  const std::optional<int32_t> end = tokenizer.FindToken("<|end|>");
  if (end && tokenizer.FindToken("<|return|>") && tokenizer.FindToken("<|call|>")) {
    ends[*end] = false;
  }
  for (std::optional<int32_t> id : {spec.eos_id, spec.eot_id, spec.eom_id}) {
    if (id) ends[*id] = true;
  }
  return ends;
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec)
    : spec_(std::move(spec)), index_(std::make_unique<TokenIndex>()) {
  index_->ids.reserve(spec_.tokens.size());
  for (size_t id = 0; id < spec_.tokens.size(); ++id) {
    if (spec_.tokens[id].empty()) continue;
    index_->ids.try_emplace(Text(spec_.tokens[id]), static_cast<int32_t>(id));
  }
}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(TokenizerSpec spec) {
  if (spec.token_types.empty()) spec.token_types.resize(spec.tokens.size(), TokenType::kNormal);
  TANDEM_RETURN_IF_ERROR(CheckLists(spec));
  TANDEM_RETURN_IF_ERROR(CheckIds(spec));
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(spec)));
  TANDEM_ASSIGN_OR_RETURN(SpecialTokens special, SpecialTokens::Create(tokenizer->spec_));
  tokenizer->special_tokens_ = std::make_unique<SpecialTokens>(std::move(special));
  const bool bytes = tokenizer->spec_.model == TokenizerModel::kByteBpe;
  TANDEM_ASSIGN_OR_RETURN(tokenizer->model_, bytes ? MakeByteBpe(tokenizer->spec_)
                                                   : MakeSentencePiece(tokenizer->spec_));
  tokenizer->ends_generation_ = FindEndTokens(*tokenizer);
  return tokenizer;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       EncodeOptions options) const {
  if (text.size() >= kTextLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("a text of ", text.size(), " bytes; at most ", kTextLimit - 1));
  }
  std::vector<int32_t> ids;
  if (options.add_special && spec_.add_bos) ids.push_back(*spec_.bos_id);
  for (const TextFragment& fragment : special_tokens_->Split(text, options.parse_special)) {
    if (fragment.id >= 0) {
      ids.push_back(fragment.id);
      continue;
    }
    const bool with_prefix =
        spec_.space_prefix == SpacePrefix::kEachFragment ||
        (spec_.space_prefix == SpacePrefix::kTextStart && fragment.text.data() == text.data());
    TANDEM_RETURN_IF_ERROR(model_->Encode(fragment.text, with_prefix, ids));
  }
  if (options.add_special && spec_.add_eos) ids.push_back(*spec_.eos_id);
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string bytes;
  bool at_start = true;
  for (int32_t id : ids) AppendToken(id, skip_special, at_start, bytes);
  return bytes;
}

std::string Tokenizer::TokenText(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return "";
  return model_->TokenBytes(id);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  if (id < 0 || id >= vocab_size()) return false;
  return spec_.token_types[id] == TokenType::kControl ||
         spec_.token_types[id] == TokenType::kUnknown;
}

bool Tokenizer::IsEndOfGeneration(int32_t id) const {
  return id >= 0 && id < vocab_size() && ends_generation_[id];
}

std::optional<int32_t> Tokenizer::FindToken(std::string_view text) const {
  const auto entry = index_->ids.find(Text(text));
  return entry == index_->ids.end() ? std::nullopt : std::optional(entry->second);
}

void Tokenizer::AppendToken(int32_t id, bool skip_special, bool& at_start,
                            std::string& bytes) const {
  if (IsSpecial(id)) {
    if (!skip_special) bytes += spec_.tokens[id];
    return;
  }
  const std::string text = TokenText(id);
  const bool strip = at_start && spec_.strip_decoded_prefix && text.starts_with(' ');
  bytes.append(text, strip ? 1 : 0);
  if (!text.empty()) at_start = false;
}

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, StreamDecoderOptions options)
    : tokenizer_(tokenizer), options_(options), at_start_(options.at_text_start) {}

std::string StreamDecoder::Put(int32_t id) {
  tokenizer_.AppendToken(id, options_.skip_special, at_start_, held_back_);
  std::string text;
  size_t i = 0;
  while (i < held_back_.size()) {
    const Utf8Step step = ReadUtf8(held_back_, i);
    if (step.kind == Utf8Kind::kIncomplete) break;
    if (step.kind == Utf8Kind::kValid) {
      text.append(held_back_, i, step.length);
    } else {
      AppendUtf8(0xFFFD, text);
    }
    i += step.length;
  }
  held_back_.erase(0, i);
  return text;
}

std::string StreamDecoder::Finish() {
  std::string text;
  if (!held_back_.empty()) AppendUtf8(0xFFFD, text);
  held_back_.clear();
  at_start_ = options_.at_text_start;
  return text;
}

}  // namespace tandem
