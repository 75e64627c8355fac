// Pages of the KV cache: which are free.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/device/kernels.h"

namespace tandem {

// Pages needed for `tokens` tokens.
inline int64_t PagesFor(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// Pure bookkeeping; knows no device. Not thread-safe.
class PagePool {
 public:
  explicit PagePool(int64_t pages);

  // Appends free pages until `pages` holds `count`; false, changing nothing, if there are too few.
  bool Grow(std::vector<int32_t>& pages, int64_t count);
  // Gives all of them back and empties the list.
  void Release(std::vector<int32_t>& pages);
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }

 private:
  std::vector<int32_t> free_;  // the last one is given next
};

}  // namespace tandem
