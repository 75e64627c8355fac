#include <array>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "backends/device/status.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/pretokenizer.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/unicode.h"

namespace tandem {
namespace {

// GPT-2's alphabet: each byte as a printable character. Bytes that are printable in Latin-1 stand
// for themselves, the others are U+0100 and up, in order.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
                             (byte >= 174 && byte <= 255);
      const char32_t character = printable ? static_cast<char32_t>(byte) : next++;
      AppendUtf8(character, characters_[byte]);
      bytes_[character] = static_cast<int16_t>(byte);
    }
  }

  const std::string& Character(uint8_t byte) const { return characters_[byte]; }

  // The bytes that `text` spells, or nothing where it has a character outside the alphabet.
  std::optional<std::string> Spelled(std::string_view text) const {
    std::string result;
    for (size_t i = 0; i < text.size();) {
      const Utf8Step step = ReadUtf8(text, i);
      if (step.kind != Utf8Kind::kValid || step.code_point >= bytes_.size()) return std::nullopt;
      const int16_t byte = bytes_[step.code_point];
      if (byte < 0) return std::nullopt;
      result.push_back(static_cast<char>(byte));
      i += step.length;
    }
    return result;
  }

 private:
  std::array<std::string, 256> characters_;
  std::array<int16_t, 0x100 + 68> bytes_;  // by character, -1 outside the alphabet
};

bool IsMeaningOnly(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

class ByteBpe : public TokenModel {
 public:
  ByteBpe(const TokenizerSpec& spec, PreTokenizer pretokenizer)
      : spec_(spec), pretokenizer_(std::move(pretokenizer)) {
    SymbolTable table = InternTokens();
    InternMerges(table);
    for (int byte = 0; byte < 256; ++byte) {
      const auto symbol = table.find(alphabet_.Character(static_cast<uint8_t>(byte)));
      byte_symbols_[byte] = symbol == table.end() ? -1 : symbol->second;
      lacks_bytes_ = lacks_bytes_ || byte_symbols_[byte] < 0;
    }
    if (spec_.ignore_merges) FillWholePieces();
  }

  absl::Status Encode(std::string_view text, bool with_prefix,
                      std::vector<int32_t>& ids) const override {
    std::string prefixed;
    if (with_prefix && !(spec_.prefix_unless_space && text.starts_with(' '))) {
      prefixed = absl::StrCat(" ", Text(text));
      text = prefixed;
    }
    Work work;
    while (!text.empty()) {
      const size_t valid = ValidUtf8Prefix(text);
      TANDEM_RETURN_IF_ERROR(EncodeValid(text.substr(0, valid), work, ids));
      text.remove_prefix(valid);
      if (text.empty()) break;
      EncodePiece(text.substr(0, 1), work, ids);
      text.remove_prefix(1);
    }
    return absl::OkStatus();
  }

  std::string TokenBytes(int32_t id) const override {
    const std::string& text = spec_.tokens[id];
    if (IsMeaningOnly(spec_.token_types[id])) return text;
    // Tokens that were added to a trained vocabulary are written as they are.
    if (spec_.token_types[id] == TokenType::kUserDefined) return text;
    return alphabet_.Spelled(text).value_or(text);
  }

 private:
  // Symbols are the texts that tokens and merges are made of. Files may merge to a text that is no
  // token, so symbols have numbers of their own.
  using SymbolTable = absl::flat_hash_map<std::string, int32_t>;

  struct Work {
    MergeScratch scratch;
    std::vector<std::string_view> pieces;
    std::string known_bytes;
  };

  int32_t Intern(const std::string& text, SymbolTable& table) {
    const auto [entry, added] = table.try_emplace(text, static_cast<int32_t>(token_of_.size()));
    if (added) token_of_.push_back(-1);
    return entry->second;
  }

  SymbolTable InternTokens() {
    SymbolTable table;
    table.reserve(spec_.tokens.size());
    for (size_t id = 0; id < spec_.tokens.size(); ++id) {
      if (spec_.tokens[id].empty() || IsMeaningOnly(spec_.token_types[id])) continue;
      token_of_[Intern(spec_.tokens[id], table)] = static_cast<int32_t>(id);
    }
    return table;
  }

  void InternMerges(SymbolTable& table) {
    merges_.reserve(spec_.merges.size());
    for (size_t rank = 0; rank < spec_.merges.size(); ++rank) {
      const auto& [left, right] = spec_.merges[rank];
      const uint64_t key = PairKey(Intern(left, table), Intern(right, table));
      const MergeResult result{static_cast<uint32_t>(rank), Intern(left + right, table)};
      merges_.try_emplace(key, result);
    }
  }

  void FillWholePieces() {
    for (size_t id = 0; id < spec_.tokens.size(); ++id) {
      if (spec_.tokens[id].empty() || IsMeaningOnly(spec_.token_types[id])) continue;
      std::optional<std::string> bytes = alphabet_.Spelled(spec_.tokens[id]);
      if (bytes) whole_pieces_.try_emplace(*std::move(bytes), static_cast<int32_t>(id));
    }
  }

  static uint64_t PairKey(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  absl::Status EncodeValid(std::string_view text, Work& work, std::vector<int32_t>& ids) const {
    std::string normalized;
    if (spec_.normalize_nfc) {
      normalized = NormalizeNfc(text);
      text = normalized;
    }
    TANDEM_RETURN_IF_ERROR(pretokenizer_.Split(text, work.pieces));
    for (std::string_view piece : work.pieces) EncodePiece(piece, work, ids);
    return absl::OkStatus();
  }

  void EncodePiece(std::string_view piece, Work& work, std::vector<int32_t>& ids) const {
    if (spec_.ignore_merges) {
      const auto whole = whole_pieces_.find(Text(piece));
      if (whole != whole_pieces_.end()) return ids.push_back(whole->second);
    }
    if (lacks_bytes_ && !spec_.unk_id) piece = KnownBytes(piece, work.known_bytes);
    MergeScratch& scratch = work.scratch;
    scratch.symbols.clear();
    for (size_t i = 0; i < piece.size(); ++i) {
      scratch.Append(static_cast<uint32_t>(i), 1, byte_symbols_[static_cast<uint8_t>(piece[i])]);
    }
    MergeSymbols(scratch, [this](const Symbol& left, const Symbol& right) {
      const auto merge = merges_.find(PairKey(left.id, right.id));
      return merge == merges_.end() ? std::nullopt : std::optional(merge->second);
    });
    for (const Symbol& symbol : scratch.symbols) {
      if (symbol.length > 0) Emit(piece.substr(symbol.begin, symbol.length), symbol.id, ids);
    }
  }

  // `piece` without the bytes that the vocabulary does not know at all. What was around them may
  // merge, as in the tokenizers library.
  std::string_view KnownBytes(std::string_view piece, std::string& storage) const {
    storage.clear();
    for (char byte : piece) {
      if (byte_symbols_[static_cast<uint8_t>(byte)] >= 0) storage.push_back(byte);
    }
    return storage;
  }

  int32_t TokenOf(int32_t symbol) const { return symbol < 0 ? -1 : token_of_[symbol]; }

  // A symbol that is no token falls apart into its bytes; bytes without a token are unknown, or
  // left out where there is no token for that either.
  void Emit(std::string_view bytes, int32_t symbol, std::vector<int32_t>& ids) const {
    if (TokenOf(symbol) >= 0) return ids.push_back(token_of_[symbol]);
    for (char byte : bytes) {
      const int32_t token = TokenOf(byte_symbols_[static_cast<uint8_t>(byte)]);
      if (token >= 0) {
        ids.push_back(token);
      } else if (spec_.unk_id &&
                 !(spec_.fuse_unknown && !ids.empty() && ids.back() == *spec_.unk_id)) {
        ids.push_back(*spec_.unk_id);
      }
    }
  }

  const TokenizerSpec& spec_;
  const ByteAlphabet alphabet_;
  PreTokenizer pretokenizer_;
  std::vector<int32_t> token_of_;            // symbol -> token, or -1
  std::array<int32_t, 256> byte_symbols_{};  // -1 where neither tokens nor merges have the byte
  bool lacks_bytes_ = false;
  absl::flat_hash_map<uint64_t, MergeResult> merges_;
  absl::flat_hash_map<std::string, int32_t> whole_pieces_;  // raw bytes -> token
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenModel>> MakeByteBpe(const TokenizerSpec& spec) {
  TANDEM_ASSIGN_OR_RETURN(PreTokenizer pretokenizer, PreTokenizer::Create(spec.rules));
  return std::make_unique<ByteBpe>(spec, std::move(pretokenizer));
}

}  // namespace tandem
