// Products of many tokens, on tensor cores: with weights in tiles as they are; with f32 weights; with
// others by way of tiles of f16 numbers in the workspace.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/kernels/params/tile_ring.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/lowering.h"
#include "backends/cuda/target.h"
#include "backends/device/program.h"

namespace tandem::cuda {

struct ProductSize {
  DType type;  // of weights in tiles; kF16: tiles of f16 numbers
  int64_t outputs, inputs, tokens, groups;
};

// The shape of blocks that takes the least time on the target; sm_90 only.
TileShape ChooseTileShape(const ProductSize& size, const Target& target);
std::string ToString(const TileShape& shape);  // "2x2x64 rows, 128 tokens, 6 stages"

absl::Status SupportsTiles(const LinearArgs& args);
int64_t TilesWorkspaceBytes(const LinearArgs& args);
absl::StatusOr<std::vector<Launch>> LowerTiles(const LinearArgs& args, const Workspace& workspace,
                                               const Lowering& lowering);

// Tiles of f16 numbers of weights that a product cannot take as they are.
Launch LowerF16Tiles(const TensorView& w, bool transposed, const ProductSize& size, u8* out);

// The same from the product's parts; `activations` are operand B already, rows of `groups` times
// `group_rows` (0: the same for all groups), with or without scales.
struct Operand {
  const u8* data;
  const float* scales;  // null: all 1
  int64_t rows;
  int64_t group_rows;
};
absl::StatusOr<Launch> LowerTileProduct(const ProductSize& size, const void* weights,
                                        const Operand& activations, const float* bias,
                                        const TensorView& out, LiveCount live,
                                        const Lowering& lowering);

}  // namespace tandem::cuda
