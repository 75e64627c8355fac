// Attention over K and V as they lie in the cache.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernel_set.h"
#include "backends/device/kernels.h"

namespace tandem::cpu {

// What the phases keep in their workspace. Made from shapes and limit alone.
struct PagedLayout {
  int64_t block_rows = 0;  // most query rows in a block; 0: the limit is too small
  int64_t lanes = 0;       // chunks of work at a time, each with scratch of its own
  int64_t slots = 0;       // partial results that are kept until they are merged
  int64_t bytes = 0;
  int64_t least_bytes = 0;  // the smallest workspace that would do

  explicit PagedLayout(const AttentionArgs& args);
};

void PlanPaged(const AttentionArgs& args, const PlanContext& context, std::vector<Phase>& phases);

}  // namespace tandem::cpu
