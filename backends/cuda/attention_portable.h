// Attention on any GPU: with mma.sync, or in f32 for what has no 16-bit operands.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cuda/attention_params.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/kernels.h"

namespace tandem::cuda {

// The sizes of a block of attention_tile.cuh.
struct AttentionTileChoice {
  int row_warps = 0, column_warps = 0;
  int keys = 0, slots = 0;  // of a tile, each in a slot
  bool query_in_registers = false;
  int shared_bytes = 0;

  int threads() const { return 32 * row_warps * column_warps; }
  int rows() const { return 16 * row_warps; }
  // As the template arguments that follow those of the shape.
  std::string Args() const;
  std::string ToString() const;
  bool operator==(const AttentionTileChoice&) const = default;
};

// For the kernel with mma.sync; NotFound where none fits, so that the plain kernel is left.
// `least_slots`: 1, or 2 where copies must run ahead.
absl::StatusOr<AttentionTileChoice> ChooseAttentionTile(const AttentionShape& shape,
                                                        const Target& target, int most_row_warps,
                                                        int least_slots);

// All calls without expansion. No workspace is needed.
absl::Status SupportsPortableAttention(const AttentionArgs& args, const Target& target);
absl::StatusOr<std::vector<Launch>> LowerPortableAttention(const AttentionArgs& args,
                                                           const Target& target);

}  // namespace tandem::cuda
