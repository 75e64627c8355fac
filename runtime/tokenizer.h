// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

class TokenModel;
class SpecialTokens;
struct TokenIndex;

struct EncodeOptions {
  bool add_special = true;     // the tokens that the model wants at the start and end of a text
  bool parse_special = false;  // read control tokens where the text spells them
};

// Thread-safe once made.
//
//   TANDEM_ASSIGN_OR_RETURN(TokenizerSpec spec, ParseTokenizerJson(json, config));
//   TANDEM_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::Create(std::move(spec)));
//   TANDEM_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer->Encode("Hello"));
class Tokenizer {
 public:
  // InvalidArgument where the spec contradicts itself (an id outside the vocabulary, lists of
  // different lengths, a regex that does not compile), Unimplemented for a pre-tokenizer regex of
  // a kind that TranslateRegex() refuses.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerSpec spec);
  ~Tokenizer();

  // The ids of `text`. Bytes that are not UTF-8 are encoded one by one, so that Decode() gives them
  // back where the vocabulary has a token for each byte; bytes it has none for are left out or
  // become the unknown token. Errors: InvalidArgument for a text of 1 GiB or more,
  // ResourceExhausted where a pre-tokenizer regex needs too many steps (those known by name do
  // not on any text that was tried).
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              EncodeOptions options = EncodeOptions()) const;

  // The bytes that the tokens stand for; not valid UTF-8 where they are not. Ids outside the
  // vocabulary are left out, and with `skip_special` control and unknown tokens too.
  std::string Decode(std::span<const int32_t> ids, bool skip_special) const;

  // The bytes of one token, a leading space included; "" for an id outside the vocabulary.
  std::string TokenText(int32_t id) const;

  // True for control and unknown tokens.
  bool IsSpecial(int32_t id) const;

  // True for tokens after which a model has said all it wants to say.
  bool IsEndOfGeneration(int32_t id) const;

  // The token that the vocabulary writes as `text` ("<|im_end|>").
  std::optional<int32_t> FindToken(std::string_view text) const;

  int32_t vocab_size() const { return static_cast<int32_t>(spec_.tokens.size()); }
  std::optional<int32_t> bos_id() const { return spec_.bos_id; }
  std::optional<int32_t> eos_id() const { return spec_.eos_id; }
  const std::string& chat_template() const { return spec_.chat_template; }

  // All facts of the tokenizer, as it was made.
  const TokenizerSpec& spec() const { return spec_; }

 private:
  friend class StreamDecoder;

  explicit Tokenizer(TokenizerSpec spec);

  // Appends the bytes of `id`. `at_start`: no text came before; it is updated.
  void AppendToken(int32_t id, bool skip_special, bool& at_start, std::string& bytes) const;

  const TokenizerSpec spec_;
  std::unique_ptr<TokenIndex> index_;
  std::unique_ptr<TokenModel> model_;
  std::unique_ptr<SpecialTokens> special_tokens_;
  std::vector<bool> ends_generation_;  // by id
};

struct StreamDecoderOptions {
  bool skip_special = true;
  bool at_text_start = false;  // the first token starts a text (else it follows a prompt)
};

// Decodes tokens as they come and gives out whole characters only. Bytes that cannot become UTF-8
// are replaced by U+FFFD, once for each maximal subpart. For one thread; the tokenizer must outlive
// it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer,
                         StreamDecoderOptions options = StreamDecoderOptions());

  // The text that is complete with this token, perhaps "".
  std::string Put(int32_t id);

  // What was held back: "", or U+FFFD for a character that never became complete. The decoder then
  // starts anew.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  StreamDecoderOptions options_;
  bool at_start_;
  std::string held_back_;
};

}  // namespace tandem
