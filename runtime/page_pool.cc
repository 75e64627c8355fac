#include "runtime/page_pool.h"

namespace tandem {

PagePool::PagePool(int64_t pages) {
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t i = pages; i-- > 0;) free_.push_back(static_cast<int32_t>(i));
}

bool PagePool::Grow(std::vector<int32_t>& pages, int64_t count) {
  const int64_t missing = count - static_cast<int64_t>(pages.size());
  if (missing > free_pages()) return false;
  for (int64_t i = 0; i < missing; ++i) {
    pages.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void PagePool::Release(std::vector<int32_t>& pages) {
  while (!pages.empty()) {
    free_.push_back(pages.back());
    pages.pop_back();
  }
}

}  // namespace tandem
