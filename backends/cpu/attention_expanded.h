// Attention over latents that are expanded to the keys and values of each head.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/kernel_set.h"
#include "backends/device/kernels.h"

namespace tandem::cpu {

// What the phases keep in their workspace. Made from shapes and limit alone.
struct ExpandedLayout {
  int64_t heads = 0;   // expanded at a time; 0: the limit is too small
  int64_t chunks = 0;  // of keys, expanded at a time
  int64_t lanes = 0;   // chunks of work at a time, each with scratch of its own
  int64_t bytes = 0;
  int64_t least_bytes = 0;  // the smallest workspace that would do

  ExpandedLayout() = default;
  explicit ExpandedLayout(const AttentionArgs& args);
};

void PlanExpanded(const AttentionArgs& args, const PlanContext& context,
                  std::vector<Phase>& phases);

}  // namespace tandem::cpu
