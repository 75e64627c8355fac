#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "backends/device/status.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/pretokenizer.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/unicode.h"

namespace tandem {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

// The byte that a token "<0xXX>" stands for.
std::optional<uint8_t> ByteOf(std::string_view text) {
  uint32_t byte = 0;
  if (text.size() != 6 || !text.starts_with("<0x") || !text.ends_with('>')) return std::nullopt;
  if (!absl::SimpleHexAtoi(Text(text.substr(3, 2)), &byte)) return std::nullopt;
  return static_cast<uint8_t>(byte);
}

// Where the first word of `text`, which is spaces and what follows them, ends.
size_t WordEnd(std::string_view text) {
  size_t start = 0;
  while (text.substr(start).starts_with(kSpace)) start += kSpace.size();
  const size_t space = text.find(kSpace, start);
  return space == std::string_view::npos ? text.size() : space;
}

class SentencePiece : public TokenModel {
 public:
  SentencePiece(const TokenizerSpec& spec, PreTokenizer pretokenizer)
      : spec_(spec), pretokenizer_(std::move(pretokenizer)) {
    byte_tokens_.fill(-1);
    for (size_t i = 0; i < spec_.tokens.size(); ++i) AddToken(static_cast<int32_t>(i));
    if (spec_.merges.empty()) {
      RankByScore();
    } else {
      RankByMerges();
    }
  }

  absl::Status Encode(std::string_view text, bool with_prefix,
                      std::vector<int32_t>& ids) const override {
    std::string escaped = absl::StrReplaceAll(Text(text), {{" ", Text(kSpace)}});
    if (with_prefix && !(spec_.prefix_unless_space && escaped.starts_with(kSpace))) {
      escaped.insert(0, kSpace);
    }
    Work work;
    text = escaped;
    while (!text.empty()) {
      const size_t valid = ValidUtf8Prefix(text);
      TANDEM_RETURN_IF_ERROR(EncodeValid(text.substr(0, valid), work, ids));
      text.remove_prefix(valid);
      if (text.empty()) break;
      EmitBytes(text.substr(0, 1), ids);
      text.remove_prefix(1);
    }
    return absl::OkStatus();
  }

  std::string TokenBytes(int32_t id) const override {
    const std::string& text = spec_.tokens[id];
    switch (spec_.token_types[id]) {
      case TokenType::kByte:
        if (const std::optional<uint8_t> byte = ByteOf(text)) {
          return std::string(1, static_cast<char>(*byte));
        }
        return text;
      case TokenType::kControl:
      case TokenType::kUnknown:
      case TokenType::kUserDefined:
        return text;
      default:
        return absl::StrReplaceAll(text, {{Text(kSpace), " "}});
    }
  }

 private:
  struct Work {
    MergeScratch scratch;
    std::vector<std::string_view> pieces;
  };

  // Control tokens and the like cannot come out of merging, whatever a text spells.
  void AddToken(int32_t id) {
    const std::string& text = spec_.tokens[id];
    switch (spec_.token_types[id]) {
      case TokenType::kByte:
        if (const std::optional<uint8_t> byte = ByteOf(text)) byte_tokens_[*byte] = id;
        return;
      case TokenType::kControl:
      case TokenType::kUnknown:
        return;
      default:
        if (text.empty()) return;
        longest_ = std::max(longest_, text.size());
        if (WordEnd(text) < text.size()) tokens_cross_words_ = true;
        tokens_[Text(text)] = {0, id};
    }
  }

  // Equal scores share a rank, so that the leftmost of them goes first.
  void RankByScore() {
    std::vector<float> scores = spec_.scores;
    std::sort(scores.begin(), scores.end(), std::greater<>());
    scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
    for (auto& [text, token] : tokens_) {
      const float score = spec_.scores.empty() ? 0.0f : spec_.scores[token.id];
      const auto place = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>());
      token.rank = static_cast<uint32_t>(place - scores.begin());
    }
  }

  void RankByMerges() {
    merges_.reserve(spec_.merges.size());
    for (size_t rank = 0; rank < spec_.merges.size(); ++rank) {
      const auto& [left, right] = spec_.merges[rank];
      const int32_t left_id = FindToken(left);
      const int32_t right_id = FindToken(right);
      const int32_t merged = FindToken(left + right);
      if (left_id < 0 || right_id < 0 || merged < 0) continue;
      merges_.try_emplace({left_id, right_id}, MergeResult{static_cast<uint32_t>(rank), merged});
    }
  }

  int32_t FindToken(std::string_view text) const {
    const auto token = tokens_.find(Text(text));
    return token == tokens_.end() ? -1 : token->second.id;
  }

  absl::Status EncodeValid(std::string_view text, Work& work, std::vector<int32_t>& ids) const {
    std::string normalized;
    if (spec_.normalize_nfc) {
      normalized = NormalizeNfc(text);
      text = normalized;
    }
    TANDEM_RETURN_IF_ERROR(pretokenizer_.Split(text, work.pieces));
    for (std::string_view piece : work.pieces) {
      while (!piece.empty()) {
        const size_t length = tokens_cross_words_ ? piece.size() : WordEnd(piece);
        EncodePiece(piece.substr(0, length), work.scratch, ids);
        piece.remove_prefix(length);
      }
    }
    return absl::OkStatus();
  }

  void EncodePiece(std::string_view piece, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    scratch.symbols.clear();
    for (size_t i = 0; i < piece.size();) {
      const size_t length = ReadUtf8(piece, i).length;
      scratch.Append(static_cast<uint32_t>(i), static_cast<uint32_t>(length),
                     FindToken(piece.substr(i, length)));
      i += length;
    }
    if (merges_.empty()) {
      MergeSymbols(scratch, [this, piece](const Symbol& left, const Symbol& right) {
        return FindByText(piece.substr(left.begin, left.length + right.length));
      });
    } else {
      MergeSymbols(scratch, [this](const Symbol& left, const Symbol& right) {
        const auto merge = merges_.find({left.id, right.id});
        return merge == merges_.end() ? std::nullopt : std::optional(merge->second);
      });
    }
    for (const Symbol& symbol : scratch.symbols) {
      if (symbol.length == 0) continue;
      if (symbol.id >= 0) {
        ids.push_back(symbol.id);
      } else {
        EmitBytes(piece.substr(symbol.begin, symbol.length), ids);
      }
    }
  }

  // Neighbours are next to each other in the text, so what they make together is known by it.
  std::optional<MergeResult> FindByText(std::string_view text) const {
    if (text.size() > longest_) return std::nullopt;
    const auto token = tokens_.find(Text(text));
    return token == tokens_.end() ? std::nullopt : std::optional(token->second);
  }

  // An unknown character: its bytes if all have tokens, else "unknown", else nothing.
  void EmitBytes(std::string_view bytes, std::vector<int32_t>& ids) const {
    const auto token = [this](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
    const bool all_known =
        std::all_of(bytes.begin(), bytes.end(), [&token](char byte) { return token(byte) >= 0; });
    if (spec_.byte_fallback && all_known) {
      for (char byte : bytes) ids.push_back(token(byte));
    } else if (spec_.unk_id &&
               !(spec_.fuse_unknown && !ids.empty() && ids.back() == *spec_.unk_id)) {
      ids.push_back(*spec_.unk_id);
    }
  }

  const TokenizerSpec& spec_;
  PreTokenizer pretokenizer_;
  size_t longest_ = 0;  // bytes of the longest token
  // Where no token has a space after something else, words are merged each for itself, which gives
  // the same tokens in less time.
  bool tokens_cross_words_ = false;
  absl::flat_hash_map<absl::string_view, MergeResult> tokens_;  // keys point into spec_
  absl::flat_hash_map<std::pair<int32_t, int32_t>, MergeResult> merges_;
  std::array<int32_t, 256> byte_tokens_{};
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> MakeSentencePiece(const TokenizerSpec& spec) {
  for (size_t id = 0; id < spec.scores.size(); ++id) {
    if (std::isnan(spec.scores[id])) {
      return absl::InvalidArgumentError(absl::StrCat("the score of token ", id, " is NaN"));
    }
  }
  TANDEM_ASSIGN_OR_RETURN(PreTokenizer pretokenizer, PreTokenizer::Create(spec.rules));
  return std::make_unique<SentencePiece>(spec, std::move(pretokenizer));
}

}  // namespace tandem
