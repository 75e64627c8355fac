// Latent attention in its expanded form: keys and values of heads are made of latents in a workspace,
// and attention goes over them. On Hopper GPUs a part of the keys at a time; elsewhere all at once, as
// pages of a cache.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/lowering.h"
#include "backends/device/program.h"

namespace tandem::cuda {

// Unimplemented if workspace_limit leaves no room for the smallest part.
absl::Status SupportsExpandedAttention(const AttentionArgs& args, const Target& target);
// At most args.workspace_limit.
int64_t ExpandedWorkspaceBytes(const AttentionArgs& args, const Target& target);
absl::StatusOr<std::vector<Launch>> LowerExpandedAttention(const AttentionArgs& args,
                                                           const Workspace& workspace,
                                                           const Lowering& lowering);

}  // namespace tandem::cuda
