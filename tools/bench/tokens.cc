#include "tools/bench/tokens.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

namespace tandem {

TokenSource::TokenSource(int64_t vocab, uint64_t seed)
    : random_(seed), tokens_(static_cast<size_t>(std::max<int64_t>(vocab, 1))) {
  std::iota(tokens_.begin(), tokens_.end(), 0);
}

std::vector<int32_t> TokenSource::Draw(int64_t count) {
  std::vector<int32_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) {
    // The first steps of the shuffle by Fisher and Yates.
    const size_t some = std::min(static_cast<size_t>(count) - drawn.size(), tokens_.size());
    for (size_t i = 0; i < some; ++i) {
      std::swap(tokens_[i], tokens_[i + random_() % (tokens_.size() - i)]);
    }
    drawn.insert(drawn.end(), tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(some));
  }
  return drawn;
}

}  // namespace tandem
