#include "absl/strings/str_cat.h"
#include "backends/cpu/attention_expanded.h"
#include "backends/cpu/attention_paged.h"
#include "backends/cpu/kernel_set.h"

namespace tandem::cpu {
namespace {

template <typename Layout>
absl::Status CheckRoom(const AttentionArgs& args, const Layout& layout) {
  if (layout.least_bytes <= args.workspace_limit) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("attention: workspace_limit = ", args.workspace_limit, " bytes, cpu needs ",
                   layout.least_bytes));
}

}  // namespace

absl::Status CheckLimits(const AttentionArgs& args) {
  if (args.expansion.present()) return CheckRoom(args, ExpandedLayout(args));
  return CheckRoom(args, PagedLayout(args));
}

int64_t WorkspaceBytesOf(const AttentionArgs& args) {
  return args.expansion.present() ? ExpandedLayout(args).bytes : PagedLayout(args).bytes;
}

void Plan(const AttentionArgs& args, const PlanContext& context, std::vector<Phase>& phases) {
  if (args.expansion.present()) return PlanExpanded(args, context, phases);
  PlanPaged(args, context, phases);
}

}  // namespace tandem::cpu
