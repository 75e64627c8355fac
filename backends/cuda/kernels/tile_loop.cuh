// The main loop of products on sm_90a with weights in tiles: warpgroups that unpack weights into
// registers, as operand A, and multiply them with tokens that the copy engine brings to shared
// memory, as operand B.
//
// A block has a producer warpgroup, of which one warp works, and two consumers. A consumer
// multiplies kRowTiles times 64 rows of weights with the kTokens tokens of the block's tile: D[64
// rows, tokens] of each. Steps of 64 k pass through a ring of stages in shared memory; the weights
// go straight from memory to registers, one step ahead. While the tensor cores work on one tile of
// weights, the warp unpacks the next.
#pragma once

#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma.cuh"
#include "tile_weights.cuh"

namespace tandem::cuda {

inline constexpr int kWarpgroup = 128;
inline constexpr int kConsumers = 2;
inline constexpr int kTileLoopThreads = (1 + kConsumers) * kWarpgroup;
inline constexpr int kStepK = 64;       // of the ring: rows of 128 bytes, swizzled
inline constexpr int kStepTiles = 2;    // of weights, along K
inline constexpr int kProducerRegisters = 40;
inline constexpr int kConsumerRegisters = 232;

// The ring of stages: full when the copies of a stage have come, empty when both consumers have
// read it.
template <int kTokens, int kStages>
struct alignas(1024) TokenRing {
  static constexpr int kStageBytes = kTokens * kStepK * 2;
  u8 stages[kStages][kStageBytes];
  u64 full[kStages];
  u64 empty[kStages];

  __device__ void Init() {
    for (int i = 0; i < kStages; ++i) {
      MbarrierInit(&full[i], 1);
      MbarrierInit(&empty[i], kConsumers);
    }
    MbarrierInitFence();
  }
};

// Where a warp reads its weights: the panels of 16 rows, one for each tile of rows.
template <int kRowTiles>
struct WeightPanels {
  const u8* panels[kRowTiles];
};

// A consumer's side. The weights of a tile's first step are loaded before the tile begins: by
// Begin, or at the end of the tile before.
template <class Weights, int kRowTiles>
class WeightReader {
 public:
  __device__ __forceinline__ WeightReader(int tiles) : tiles_(tiles), lane_(LaneIndex()) {}

  __device__ __forceinline__ void Begin(const WeightPanels<kRowTiles>& from) {
#pragma unroll
    for (int tile = 0; tile < kStepTiles; ++tile) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) Load(from.panels[m], tile, tile, m);
    }
  }

  // Tile `at` of the panel, as tile `slot` of a step. Beyond the last the last again: the tokens
  // are zero there.
  __device__ __forceinline__ void Load(const u8* panel, int at, int slot, int m) {
    at = Min(at, tiles_ - 1);
    const u8* unit = panel + static_cast<i64>(at / Weights::kUnitTiles) * Weights::kUnitBytes;
    raw_[slot][m] = Weights::Load(unit, at % Weights::kUnitTiles, lane_);
  }

  __device__ __forceinline__ void Unpack(int slot, int m, u32 (&a)[8]) const {
    Weights::Unpack(raw_[slot][m], a);
  }

  __device__ __forceinline__ int steps() const { return CeilDiv(tiles_, kStepTiles); }

 private:
  typename Weights::Raw raw_[kStepTiles][kRowTiles];
  int tiles_;
  int lane_;
};

template <int kTokens>
__device__ __forceinline__ void MultiplyTile(float (&sums)[kTokens / 2], const u32 (&a)[8],
                                             u64 tokens) {
  const u32 low[4] = {a[0], a[1], a[2], a[3]}, high[4] = {a[4], a[5], a[6], a[7]};
  WgmmaFence();
  Wgmma<kTokens>::template Registers<f16, false>(sums, low, tokens);
  Wgmma<kTokens>::template Registers<f16, false>(sums, high, WgmmaAdvance(tokens, 32));
  WgmmaCommit();
}

// sums = products of a whole tile, of which the weights of the first step are in `reader`; leaves
// those of the first step of `next` there.
template <int kTokens, int kStages, int kRingTokens, class Weights, int kRowTiles>
__device__ __forceinline__ void ConsumeTile(float (&sums)[kRowTiles][kTokens / 2],
                                            WeightReader<Weights, kRowTiles>& reader,
                                            const WeightPanels<kRowTiles>& from,
                                            const WeightPanels<kRowTiles>& next,
                                            TokenRing<kRingTokens, kStages>& ring,
                                            PipelineState<kStages>& state) {
  const int steps = reader.steps();
  const bool releases = threadIdx.x % kWarpgroup == 0;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[m][i] = 0.0f;
  }
  u32 a[2][8];
  u64* read_before = nullptr;
  for (int step = 0; step < steps; ++step) {
    const bool last = step + 1 == steps;
    const int ahead = last ? 0 : (step + 1) * kStepTiles;
    MbarrierWait(&ring.full[state.stage], state.parity);
    const u64 tokens = WgmmaDescriptor(SharedAddress(ring.stages[state.stage]), 0, 1024);
#pragma unroll
    for (int unit = 0; unit < kStepTiles * kRowTiles; ++unit) {
      const int slot = unit / kRowTiles, m = unit % kRowTiles;
      reader.Unpack(slot, m, a[unit % 2]);
      reader.Load(last ? next.panels[m] : from.panels[m], ahead + slot, slot, m);
      MultiplyTile<kTokens>(sums[m], a[unit % 2], WgmmaAdvance(tokens, slot * 64));
      WgmmaWait<1>();  // all before this one: their registers and, after unit 0, stage are free
      if (unit == 0 && releases && read_before != nullptr) MbarrierArrive(read_before);
    }
    read_before = &ring.empty[state.stage];
    state.Advance();
  }
  WgmmaWait<0>();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) WgmmaPin(sums[m]);
  if (releases) MbarrierArrive(read_before);
}

// The producer's side, called by one thread: the steps of a tile, whose tokens begin at row `row`
// of the map, in boxes of kBoxRows.
template <int kBoxRows, int kTokens, int kStages>
__device__ __forceinline__ void ProduceTile(TokenRing<kTokens, kStages>& ring,
                                            PipelineState<kStages>& state, const TensorMap* map,
                                            int row, int boxes, int steps) {
  for (int step = 0; step < steps; ++step) {
    MbarrierWait(&ring.empty[state.stage], state.parity ^ 1);
    u64* full = &ring.full[state.stage];
    MbarrierArriveExpect(full, boxes * kBoxRows * kStepK * 2);
    for (int i = 0; i < boxes; ++i) {
      TmaLoad2D(ring.stages[state.stage] + i * kBoxRows * kStepK * 2, map, full, step * kStepK,
                row + i * kBoxRows);
    }
    state.Advance();
  }
}

}  // namespace tandem::cuda
