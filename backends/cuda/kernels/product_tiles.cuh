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
  static_assert(sizeof(Shared) <=
                ProductTilesSharedBytes(kShape, Weights::kUnitTiles, Weights::kUnitBytes));
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<Shared*>(dynamic_shared);
  if (threadIdx.x == 0) shared.ring.Init();
  __syncthreads();

  const int live = p.live_rows == nullptr ? p.tokens : Min(*p.live_rows, p.tokens);
  const int count = Tile::Count(p, live), role = WarpIndex() / 4;
  if (role == kConsumers) {
    RegistersShrink<kProducerRegisters>();
    if (threadIdx.x != kConsumers * kWarpgroup) return;
    StateOf<decltype(shared.ring)> state;
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, live, i);
      const WeightBoxes boxes = {
          {&p.weights, &p.weights}, 1, (tile.group * p.out_features + tile.row) / 16, 0};
      ProduceTile<kTokens, Weights>(shared.ring, state, &p.x,
                                    tile.group * p.x_group_rows + tile.token, 1, boxes,
                                    tile.FirstStep(p), tile.Steps(p));
    }
  } else {
    RegistersGrow<kConsumerRegisters<kConsumers>>();
    Consumer<Weights, kRowTiles, decltype(shared.ring)> consumer(shared.ring, role);
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, live, i);
      float sums[kRowTiles][kTokens / 2];
      consumer.template Multiply<kTokens>(tile.Steps(p), sums);
      StoreProducts<Out>(p, tile, live, role, sums, shared.staging[role]);
    }
  }
}

// Block t sums the parts of token t.
inline constexpr int kSumSplitsThreads = 256;
__global__ void __launch_bounds__(kSumSplitsThreads)
    SumSplits(const __grid_constant__ SumSplitsParams p) {
  const int token = blockIdx.x;
  if (p.live_rows != nullptr && token >= *p.live_rows) return;
  const i64 row = static_cast<i64>(p.groups) * p.features, part = p.tokens * row;
  for (int i = threadIdx.x * 4; i < row; i += kSumSplitsThreads * 4) {
    const float* from = p.parts + token * row + i;
    const int group = i / p.features, f = i % p.features;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int s = 0; s < p.splits; ++s) {
      const float4 v = *reinterpret_cast<const float4*>(from + s * part);
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    if (p.bias != nullptr) {
      const float* bias = p.bias + f;
      sum = {sum.x + bias[0], sum.y + bias[1], sum.z + bias[2], sum.w + bias[3]};
    }
    u8* to = p.out + token * p.out_row_bytes + group * p.out_group_bytes;
    float* out = reinterpret_cast<float*>(to) + f;
    out[0] = sum.x, out[1] = sum.y, out[2] = sum.z, out[3] = sum.w;
  }
}

}  // namespace tandem::cuda
