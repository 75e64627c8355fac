// Products of the experts' matrices with the tokens that chose them, sm_80 and later: see
// tile_loop_portable.cuh.
#pragma once

#include "expert_tile.cuh"
#include "tile_loop_portable.cuh"

namespace tandem::cuda {

inline constexpr int kExpertPortableTokens = 64;  // of the widest tile

struct ExpertPortableShared {
  PortableRing<kExpertPortableTokens> ring;
  ExpertStaging<kExpertPortableTokens> staging;
};

template <class Weights, int kTokens, bool kBoth>
__device__ __forceinline__ void MultiplyExpertTile(const ExpertProductsParams& p,
                                                   const ExpertTile<kBoth, 1>& tile,
                                                   const u8* const (&panels)[kPortablePanels],
                                                   ExpertPortableShared& shared) {
  const i64 row_bytes = RoundUp(p.k_tiles, kStepTiles) * (kTileElements * 2);
  const PortableTokens tokens = {p.x_data, row_bytes, tile.place, p.x_rows};
  auto& ring = reinterpret_cast<PortableRing<kTokens>&>(shared.ring);
  const PlaceOfThread place(p, tile);
  float sums[kPortablePanels][kTokens / 2];
  PortableLoop<Weights, kTokens>(ring, tokens, panels, p.k_tiles).Multiply(sums);
  StoreExpertTile<kTokens>(p, tile, 0, place, sums, shared.staging);
}

// A block for each tile of work.
template <WeightType kType, bool kBoth>
__global__ void __launch_bounds__(kWarpgroup)
    ExpertProductsPortable(const __grid_constant__ ExpertProductsParams p) {
  using Tile = ExpertTile<kBoth, 1>;
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<ExpertPortableShared*>(dynamic_shared);
  if (static_cast<int>(blockIdx.x) >= Tile::Count(p)) return;
  const Tile tile(p, blockIdx.x, Tile::Load(p, blockIdx.x));

  const int warp = WarpIndex(), matrix_panels = p.features / 16;
  const u8* panels[kPortablePanels];
#pragma unroll
  for (int m = 0; m < kPortablePanels; ++m) {
    const int panel = Min(tile.FirstRow(0, m) / 16 + warp, matrix_panels - 1);
    const u8* weights = kBoth && m == 1 ? p.up_data : p.weights_data;
    panels[m] = weights + static_cast<i64>(tile.expert * matrix_panels + panel) * p.panel_bytes;
  }
  if (tile.boxes() == 1) {
    MultiplyExpertTile<TileWeights<kType>, 32>(p, tile, panels, shared);
  } else {
    MultiplyExpertTile<TileWeights<kType>, 64>(p, tile, panels, shared);
  }
}

}  // namespace tandem::cuda
