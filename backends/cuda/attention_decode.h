// Attention for generation: few rows of each sequence over many keys, which are split.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/attention_portable.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/program.h"

namespace tandem::cuda {

// The blocks and splits of a call.
struct DecodeChoice {
  // For wide heads and at most 16 rows of q a sequence: attention_decode_tile.cuh. Else
  // attention_tile.cuh.
  bool wide = false;
  int step_warps = 0, key_warps = 0;  // of wide heads
  bool bulk = false;                  // the copy engine brings keys: attention_decode_bulk.cuh
  AttentionTileChoice tile;           // of others
  int keys = 0, slot_keys = 0, slots = 0;
  int shared_bytes = 0;
  int blocks = 0;  // all that run at once
  int splits = 0;  // of the keys of a sequence, at most

  int rows() const { return wide ? 16 : tile.rows(); }
  int threads() const;
  KernelSpec Kernel(const AttentionShape& shape) const;
  std::string ToString() const;
};

// NotFound where no tile fits. The splits depend on the shape, the GPU and the workspace's limit
// alone, so that a sequence's result does not depend on the lengths of the others.
absl::StatusOr<DecodeChoice> ChooseDecode(const AttentionShape& shape, const Target& target);

// Whether the step has so few tokens that splitting pays.
bool PrefersDecode(const AttentionShape& shape);

absl::Status SupportsDecodeAttention(const AttentionArgs& args, const Target& target);
// At most args.workspace_limit.
int64_t DecodeWorkspaceBytes(const AttentionArgs& args, const Target& target);
absl::StatusOr<std::vector<Launch>> LowerDecodeAttention(const AttentionArgs& args,
                                                         const Workspace& workspace,
                                                         const Target& target);

}  // namespace tandem::cuda
