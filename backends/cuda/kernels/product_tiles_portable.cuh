// Products of many tokens with weights in tiles, sm_80 and later: see tile_loop_portable.cuh.
#pragma once

#include "product_tile.cuh"
#include "tile_loop_portable.cuh"

namespace tandem::cuda {

template <int kTokens>
struct ProductTilesPortableShared {
  PortableRing<kTokens> ring;
  alignas(16) StagingRow<kPortablePanels> staging[kStagingTokens];
};

// A block for each tile of work.
template <WeightType kType, class Out, int kTokens>
__global__ void __launch_bounds__(kWarpgroup)
    ProductTilesPortable(const __grid_constant__ ProductTilesParams p) {
  using Tile = ProductTile<1, kPortablePanels, kTokens>;
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<ProductTilesPortableShared<kTokens>*>(dynamic_shared);
  const int live = p.live_rows == nullptr ? p.tokens : Min(*p.live_rows, p.tokens);
  if (static_cast<int>(blockIdx.x) >= Tile::Count(p, live)) return;
  const Tile tile(p, live, blockIdx.x);

  const int warp = WarpIndex(), panels = p.out_features / 16;
  const u8* mine[kPortablePanels];
#pragma unroll
  for (int m = 0; m < kPortablePanels; ++m) {
    const int panel = tile.group * panels + Min(tile.row / 16 + m * 4 + warp, panels - 1);
    mine[m] = p.weights_data + panel * p.panel_bytes;
  }
  const i64 row_bytes = RoundUp(p.tiles, kStepTiles) * (kTileElements * 2);
  const PortableTokens tokens = {p.x_data, row_bytes, tile.group * p.x_group_rows + tile.token,
                                 p.x_rows};
  float sums[kPortablePanels][kTokens / 2];
  PortableLoop<TileWeights<kType>, kTokens>(shared.ring, tokens, mine, p.tiles).Multiply(sums);
  StoreProducts<Out>(p, tile, live, 0, sums, shared.staging);
}

}  // namespace tandem::cuda
