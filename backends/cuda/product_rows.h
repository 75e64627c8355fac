// Products of one to eight tokens with weights in tiles, bound by the memory that the weights come
// from; and other products of a few tokens that need no tensor cores.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/fuse.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/target.h"
#include "backends/device/program.h"

namespace tandem::cuda {

// A matrix in tiles that is multiplied with `tokens` rows of each group.
struct RowsProblem {
  DType type;
  int64_t outputs, inputs, tokens, groups;
};

// Blocks that share a product.
struct RowsShape {
  int parts_log2 = 0;  // of the warps that share a panel of 16 outputs
  int stages = 0;      // of the ring of a warp; 0: does not fit
  int blocks = 0;      // of each group
  int tokens = 0;      // of a launch: fewer than the problem has where not all fit
  int shared_bytes = 0;
  bool operator==(const RowsShape&) const = default;
};
std::string ToString(const RowsShape& shape);  // "132 blocks, 4 parts, 2 stages, 8 tokens"

RowsShape ChooseRowsShape(const RowsProblem& problem, const Target& target);

// The two kernels of experts.
struct ExpertsRowsProblem {
  DType up, down;  // gate has the type of up
  int64_t tokens, chosen, width, inner;
};
struct ExpertsRowsShape {
  RowsShape inner, outer;
};
ExpertsRowsShape ChooseRowsShape(const ExpertsRowsProblem& problem, const Target& target);

// Weights in tiles, also transposed.
absl::Status SupportsRows(const LinearArgs& args, const Target& target);
absl::Status SupportsRows(const ExpertsArgs& args, const Target& target);
int64_t RowsWorkspaceBytes(const ExpertsArgs& args);

// `fused`: what the call takes over, all of which a product that is not transposed can do, experts
// only the addition.
std::vector<Launch> LowerRows(const LinearArgs& args, const FusedCall& fused, const Target& target);
std::vector<Launch> LowerRows(const ExpertsArgs& args, const FusedCall& fused,
                              const Workspace& workspace, const Target& target);

// Weights of f32, f16 or bf16 in rows, not transposed: any number of tokens, though each eight read
// the weights again. Takes over an addition.
bool SupportsFloatRows(const LinearArgs& args);
Launch LowerFloatRows(const LinearArgs& args, const FusedCall& fused);

}  // namespace tandem::cuda
