// Products of the experts' matrices with the tokens that chose them, sm_90a: see tile_loop.cuh.
#pragma once

#include "expert_tile.cuh"
#include "tile_loop.cuh"

namespace tandem::cuda {

template <class Weights>
inline constexpr TileShape kExpertShape = ExpertShape(Weights::kUnitTiles, Weights::kUnitBytes);
inline constexpr int kExpertConsumers = ExpertShape(1, 16).consumers;
inline constexpr int kExpertTokens = ExpertShape(1, 16).tokens;  // of the widest tile
static_assert(ExpertShape(1, 16).row_tiles == kExpertRowTiles);

template <class Weights>
struct ExpertProductsShared {
  static constexpr int kStages = kExpertShape<Weights>.stages;
  TileRing<Weights, kExpertConsumers, kExpertRowTiles, kExpertTokens, kStages> ring;
  ExpertStaging<kExpertTokens> staging[kExpertConsumers];
};

// Panels beyond the last of a matrix are the next matrix's; their sums are not stored.
template <bool kBoth>
__device__ __forceinline__ WeightBoxes BoxesOf(const ExpertProductsParams& p,
                                               const ExpertTile<kBoth, kExpertConsumers>& tile) {
  const int panel = (tile.expert * p.features + tile.row) / 16;
  if (kBoth) return {{&p.weights, &p.up}, kExpertConsumers * 2, panel, 4};
  return {{&p.weights, &p.weights}, 1, panel, 0};
}

template <bool kBoth, int kTokens, class Consumer>
__device__ __forceinline__ void ConsumeExpertTile(const ExpertProductsParams& p,
                                                  const ExpertTile<kBoth, kExpertConsumers>& tile, int index,
                                                  Consumer& consumer,
                                                  ExpertStaging<kExpertTokens>& staging) {
  const PlaceOfThread place(p, tile);
  float sums[kExpertRowTiles][kTokens / 2];
  consumer.template Multiply<kTokens>(CeilDiv(p.k_tiles, kStepTiles), sums);
  StoreExpertTile<kTokens>(p, tile, index, place, sums, staging);
}

template <WeightType kType, bool kBoth>
__global__ void __launch_bounds__((kExpertConsumers + 1) * kWarpgroup, 1)
    ExpertProducts(const __grid_constant__ ExpertProductsParams p) {
  using Weights = TileWeights<kType>;
  using Tile = ExpertTile<kBoth, kExpertConsumers>;
  static_assert(sizeof(ExpertProductsShared<Weights>) <=
                ExpertProductsSharedBytes(kExpertShape<Weights>, Weights::kUnitTiles,
                                          Weights::kUnitBytes));
  extern __shared__ __align__(1024) u8 dynamic_shared[];
  auto& shared = *reinterpret_cast<ExpertProductsShared<Weights>*>(dynamic_shared);
  if (threadIdx.x == 0) shared.ring.Init();
  __syncthreads();

  const int count = Tile::Count(p), role = WarpIndex() / 4;
  if (role == kExpertConsumers) {
    RegistersShrink<kProducerRegisters>();
    if (threadIdx.x != kExpertConsumers * kWarpgroup) return;
    StateOf<decltype(shared.ring)> state;
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, i, Tile::Load(p, i));
      ProduceTile<kExpertBox, Weights>(shared.ring, state, &p.x, tile.place, tile.boxes(),
                                       BoxesOf(p, tile), CeilDiv(p.k_tiles, kStepTiles));
    }
  } else {
    RegistersGrow<kConsumerRegisters<kExpertConsumers>>();
    Consumer<Weights, kExpertRowTiles, decltype(shared.ring)> consumer(shared.ring, role);
    ExpertTiles ahead = Tile::Load(p, blockIdx.x);
    for (int i = blockIdx.x; i < count; i += gridDim.x) {
      const Tile tile(p, i, ahead);
      ahead = Tile::Load(p, i + gridDim.x);
      switch (tile.boxes()) {
        case 1:
          ConsumeExpertTile<kBoth, 32>(p, tile, role, consumer, shared.staging[role]);
          break;
        case 2:
          ConsumeExpertTile<kBoth, 64>(p, tile, role, consumer, shared.staging[role]);
          break;
        case 3:
          ConsumeExpertTile<kBoth, 96>(p, tile, role, consumer, shared.staging[role]);
          break;
        default:
          ConsumeExpertTile<kBoth, 128>(p, tile, role, consumer, shared.staging[role]);
      }
    }
  }
}

}  // namespace tandem::cuda
