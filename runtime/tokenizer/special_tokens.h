// Finds the special tokens of a tokenizer in a text.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

// A stretch of a text: a special token, or what is between two of them.
struct TextFragment {
  std::string_view text;
  int32_t id = -1;  // of a special token, else -1
};

// A trie of the texts of control, unknown and user-defined tokens. Thread-safe once made.
class SpecialTokens {
 public:
  // InvalidArgument for a token too long to be looked for at every place of a text.
  static absl::StatusOr<SpecialTokens> Create(const TokenizerSpec& spec);

  // The fragments of `text`, in order; text fragments are never empty. At each place the longest
  // token that starts there is taken. User-defined tokens are always found, the others only with
  // `parse_special`. A token's strip flags take white space off its neighbours.
  std::vector<TextFragment> Split(std::string_view text, bool parse_special) const;

 private:
  struct Node {
    int32_t user_defined = -1;  // the token that ends here
    int32_t other = -1;
  };
  struct Found {
    int32_t id = -1;
    size_t length = 0;
  };

  void Add(std::string_view text, int32_t id, bool user_defined);
  Found LongestAt(std::string_view text, size_t position, bool parse_special) const;

  std::vector<Node> nodes_ = {Node()};
  std::array<int32_t, 256> first_{};              // node after the first byte; 0: none
  absl::flat_hash_map<uint64_t, int32_t> edges_;  // node << 8 | byte -> node
  absl::flat_hash_map<int32_t, TokenStrip> strips_;
};

}  // namespace tandem
