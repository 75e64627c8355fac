#include "backends/cpu/kernel_set.h"
#include "backends/cpu/route_token.h"
#include "backends/cpu/split.h"

namespace tandem::cpu {

int64_t WorkspaceBytesOf(const RouteArgs& a) {
  return a.logits.dim(0) * RouteFloats(a) * static_cast<int64_t>(sizeof(float));
}

void Plan(const RouteArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  auto* scratch = static_cast<float*>(context.workspace.data);
  const int64_t floats = RouteFloats(a);
  // Each of the K choices looks at all experts, and a score takes an exponential.
  const int64_t work = a.logits.dim(1) * (8 + a.ids.dim(1));
  phases.push_back(RowPhase(a.logits.dim(0), work, a.live_rows, [a, scratch, floats](int64_t t) {
    RouteToken(a, scratch + t * floats, t);
  }));
}

}  // namespace tandem::cpu
