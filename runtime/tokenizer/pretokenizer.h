// Cuts a text into the pieces inside which tokens are merged.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer_spec.h"

namespace tandem {

class PieceRegex;  // a compiled rule

// Thread-safe once made.
class PreTokenizer {
 public:
  // Compiles the rules. Unimplemented for a regex of another dialect, or one that can match the
  // empty string; InvalidArgument for one that does not compile.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<PreTokenizerRule>& rules);

  PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Replaces `pieces` by those of `text`, in order, none empty; they point into `text`, which must
  // be valid UTF-8. ResourceExhausted where a regex needs too many steps.
  absl::Status Split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  std::vector<std::unique_ptr<PieceRegex>> rules_;
};

}  // namespace tandem
