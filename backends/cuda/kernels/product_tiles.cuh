// Products of many tokens with weights in tiles, sm_90a: see tile_loop.cuh.
#pragma once

#include "product_tile.cuh"
#include "tile_loop.cuh"

namespace tandem::cuda {

template <class Weights, int kConsumers, int kRowTiles, int kTokens, int kStages>
struct ProductTilesShared {
  TileRing<Weights, kConsumers, kRowTiles, kTokens, kStages> ring;
  alignas(16) StagingRow<kRowTiles> staging[kConsumers][kStagingTokens];
};

template <WeightType kType, class Out, int kConsumers, int kRowTiles, int kTokens, int kStages>
__global__ void __launch_bounds__((kConsumers + 1) * kWarpgroup, 1)
    ProductTiles(const __grid_constant__ ProductTilesParams p) {
  using Weights = TileWeights<kType>;
  using Tile = ProductTile<kConsumers, kRowTiles, kTokens>;
  using Shared = ProductTilesShared<Weights, kConsumers, kRowTiles, kTokens, kStages>;
  constexpr TileShape kShape = {kConsumers, kRowTiles, kTokens, kStages};
  static_assert(sizeof(Shared) <= ProductTilesSharedBytes(kShape, Weights::kUnitTiles,
                                                          Weights::kUnitBytes));
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<Shared*>(dynamic_shared);
  if (threadIdx.x == 0) shared.ring.Init();
  __syncthreads();

  const int live = p.live_rows == nullptr ? p.tokens : Min(*p.live_rows, p.tokens);
  const int count = Tile::Count(p, live), role = WarpIndex() / 4;
  const int steps = CeilDiv(p.tiles, kStepTiles);
  if (role == kConsumers) {
    RegistersShrink<kProducerRegisters>();
    if (threadIdx.x != kConsumers * kWarpgroup) return;
    StateOf<decltype(shared.ring)> state;
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, live, i);
      const WeightBoxes boxes = {{&p.weights, &p.weights}, 1,
                                 (tile.group * p.out_features + tile.row) / 16, 0};
      ProduceTile<kTokens, Weights>(shared.ring, state, &p.x,
                                    tile.group * p.x_group_rows + tile.token, 1, boxes, steps);
    }
  } else {
    RegistersGrow<kConsumerRegisters<kConsumers>>();
    Consumer<Weights, kRowTiles, decltype(shared.ring)> consumer(shared.ring, role);
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      float sums[kRowTiles][kTokens / 2];
      consumer.template Multiply<kTokens>(steps, sums);
      StoreProducts<Out>(p, Tile(p, live, i), live, role, sums, shared.staging[role]);
    }
  }
}

}  // namespace tandem::cuda
