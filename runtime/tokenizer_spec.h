// What a tokenizer is made of, whichever file format it was read from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

enum class TokenizerModel : uint8_t {
  kByteBpe,        // merges of bytes, written in the printable alphabet of GPT-2
  kSentencePiece,  // merges of characters, spaces written as U+2581
};

// Values as in the GGUF key tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // has a meaning beside its text; read from text only where that is asked for
  kUserDefined = 4,  // always taken whole out of a text
  kUnused = 5,
  kByte = 6,  // "<0xXX>", one byte that no other token has
};

// Where a space is put in front of text before it is cut into tokens.
enum class SpacePrefix : uint8_t {
  kNone,
  kTextStart,     // of the whole text only
  kEachFragment,  // and after each special token
};

// One step of the pre-tokenizer: it cuts each piece of the step before at the matches of `regex`.
// Matches are pieces, and so is text between them unless `drop_gaps` is set.
// Dialect: the part of Oniguruma's (as in tokenizer.json) that TranslateRegex() documents.
struct PreTokenizerRule {
  std::string regex;
  bool drop_gaps = false;
};

// How a special token treats the white space around it in a text.
struct TokenStrip {
  int32_t id = 0;
  bool left = false;   // takes the white space before it
  bool right = false;  // takes the white space after it
};

struct TokenizerSpec {
  TokenizerModel model = TokenizerModel::kByteBpe;

  std::vector<std::string> tokens;     // by id; "" where an id has no token
  std::vector<TokenType> token_types;  // by id, or empty: all normal
  std::vector<float> scores;           // by id, or empty; kSentencePiece without merges only
  std::vector<std::pair<std::string, std::string>> merges;  // best first

  std::string pre_tokenizer;            // name, for people; the rules below are what is used
  std::vector<PreTokenizerRule> rules;  // in order; none: a text is one piece
  bool ignore_merges = false;           // a piece that is a token is taken whole
  bool byte_fallback = true;            // kSentencePiece: unknown characters become byte tokens
  bool fuse_unknown = false;            // neighbouring unknown characters share one token
  bool normalize_nfc = false;
  SpacePrefix space_prefix = SpacePrefix::kNone;
  bool prefix_unless_space = false;   // no prefix where the text starts with a space already
  bool strip_decoded_prefix = false;  // decoding drops one space from the start of the text

  std::optional<int32_t> bos_id, eos_id, eot_id, eom_id, unk_id, sep_id, pad_id, mask_id;
  std::optional<int32_t> fim_prefix_id, fim_suffix_id, fim_middle_id;
  bool add_bos = false;
  bool add_eos = false;
  std::vector<TokenStrip> strips;

  std::string chat_template;          // Jinja text, or empty
  std::vector<std::string> warnings;  // for the caller to show: what was guessed or left out
};

}  // namespace tandem
