// Token ids as text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tandem {

// The ids in `text`, separated by white space. InvalidArgument, quoting it, for a word that is no
// id of a vocabulary of `vocab` tokens.
absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text, int64_t vocab);

}  // namespace tandem
