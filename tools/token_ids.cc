#include "tools/token_ids.h"

#include <algorithm>
#include <charconv>

#include "backends/device/status.h"
#include "runtime/quoted.h"

namespace tandem {

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text, int64_t vocab) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  std::vector<int32_t> ids;
  for (size_t at = text.find_first_not_of(kSpace); at != text.npos;
       at = text.find_first_not_of(kSpace, at)) {
    const size_t end = std::min(text.find_first_of(kSpace, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    int32_t id = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || rest != word.data() + word.size() || id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(word), " is no token id; there are 0 to ", vocab - 1));
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

}  // namespace tandem
