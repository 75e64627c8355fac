// The main loop of products on sm_90a with weights in tiles: warpgroups that unpack weights into
// registers, as operand A, and multiply them with tokens that the copy engine brings to shared
// memory, as operand B.
//
// A block has consumer warpgroups and a producer warpgroup, of which one thread works. A consumer
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
inline constexpr int kStepK = 64;       // of the ring: rows of 128 bytes, swizzled
inline constexpr int kStepTiles = 2;    // of weights, along K

// Registers are dealt to warpgroups: the producer needs few.
inline constexpr int kProducerRegisters = 24;
template <int kConsumers>
inline constexpr int kConsumerRegisters = kConsumers == 2 ? 240 : kConsumers == 3 ? 160 : 112;

// The ring of stages: full when the copies of a stage have come, empty when both consumers have
// read it.
template <int kConsumers, int kTokens, int kStages>
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

// The ring by 32-bit addresses, for the consumers' loops.
template <int kTokens, int kStages>
class RingAddresses {
 public:
  template <int kConsumers>
  __device__ __forceinline__ explicit RingAddresses(
      const TokenRing<kConsumers, kTokens, kStages>& ring) {
    base_ = SharedAddress(&ring);
  }
  __device__ __forceinline__ u32 Stage(int i) const { return base_ + i * (kTokens * kStepK * 2); }
  __device__ __forceinline__ u32 Full(int i) const { return Stage(kStages) + i * 8; }
  __device__ __forceinline__ u32 Empty(int i) const { return Full(kStages) + i * 8; }

 private:
  u32 base_;
};

// Where a warp reads its weights: the panels of 16 rows, one for each tile of rows.
template <int kRowTiles>
struct WeightPanels {
  const u8* panels[kRowTiles];
};

// A consumer's side: the weights of a step in registers, from where they are unpacked, those of the
// next step on their way to others, and the place of the step after.
template <class Weights, int kRowTiles>
class WeightReader {
 public:
  __device__ __forceinline__ WeightReader(int tiles, const WeightPanels<kRowTiles>& from)
      : tiles_(tiles), lane_(LaneIndex()) {
    Begin(from);
    Load<0>();
  }

  __device__ __forceinline__ int steps() const { return CeilDiv(tiles_, kStepTiles); }

  // What Load reads: the first step of these panels; the step after.
  __device__ __forceinline__ void Begin(const WeightPanels<kRowTiles>& from) {
    tile_ = 0;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) units_[m] = from.panels[m];
  }
  __device__ __forceinline__ void Advance() {
    tile_ += kStepTiles;
    constexpr int kUnits = Max(1, kStepTiles / Weights::kUnitTiles);
    if (tile_ % Weights::kUnitTiles != 0) return;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) units_[m] += kUnits * Weights::kUnitBytes;
  }

  // To registers of set 0 or 1. Where K ends in the middle of a step, what was there stays: its
  // tokens are zero.
  template <int kSet>
  __device__ __forceinline__ void Load() {
#pragma unroll
    for (int slot = 0; slot < kStepTiles; ++slot) {
      if (slot > 0 && tile_ + slot >= tiles_) break;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        const u8* unit = units_[m] + slot / Weights::kUnitTiles * Weights::kUnitBytes;
        raw_[kSet][slot][m] = Weights::Load(unit, (tile_ + slot) % Weights::kUnitTiles, lane_);
      }
    }
  }

  template <int kSet>
  __device__ __forceinline__ void Unpack(int slot, int m, u32 (&a)[8]) const {
    weights_.Unpack(raw_[kSet][slot][m], a);
  }

  // Set 1 becomes set 0.
  __device__ __forceinline__ void MoveSet() {
#pragma unroll
    for (int slot = 0; slot < kStepTiles; ++slot) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) raw_[0][slot][m] = raw_[1][slot][m];
    }
  }

 private:
  Weights weights_;
  typename Weights::Raw raw_[2][kStepTiles][kRowTiles] = {};
  const u8* units_[kRowTiles];
  int tile_;
  int tiles_;
  int lane_;
};

// Products that may be under way while weights are unpacked for the next; each has a group. With
// more, the compiler would run one after the other, as they would cross a turn of the loop.
template <int kRowTiles>
inline constexpr int kInFlight = kRowTiles == 1 ? 2 : 3;

template <int kPending, int kTokens>
__device__ __forceinline__ void Multiply16(float (&sums)[kTokens / 2], const u32* a, u64 tokens) {
  const u32 fragment[4] = {a[0], a[1], a[2], a[3]};
  WgmmaFence();
  Wgmma<kTokens>::template Registers<f16, false>(sums, fragment, tokens);
  WgmmaCommit();
  WgmmaWait<kPending>();
}

// A step: 64 k, with the weights in set kSet of the reader's registers. When the products of the
// step before are done, its stage is free: `free_before`, 0 if there is none.
template <int kSet, int kTokens, class Weights, int kRowTiles>
__device__ __forceinline__ void ConsumeStep(float (&sums)[kRowTiles][kTokens / 2],
                                            WeightReader<Weights, kRowTiles>& reader, u32 stage,
                                            u32 free_before) {
  constexpr int kPending = kInFlight<kRowTiles>;
  const u64 tokens = WgmmaDescriptor(stage, 0, 1024);
#pragma unroll
  for (int slot = 0; slot < kStepTiles; ++slot) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      u32 a[8];
      reader.template Unpack<kSet>(slot, m, a);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Multiply16<kPending, kTokens>(sums[m], a + 4 * half, WgmmaAdvance(tokens, slot * 64 + half * 32));
        const bool first_all_of_this_step = (slot * kRowTiles + m) * 2 + half == kPending - 1;
        if (first_all_of_this_step && free_before != 0) MbarrierArrive(free_before);
      }
    }
  }
}

// sums = products of a whole tile, of which the weights of the first step are in set 0 of `reader`;
// leaves those of the first step of `next` there.
template <int kTokens, class Weights, int kRowTiles, class Ring, int kStages>
__device__ __forceinline__ void ConsumeTile(float (&sums)[kRowTiles][kTokens / 2],
                                            WeightReader<Weights, kRowTiles>& reader,
                                            const WeightPanels<kRowTiles>& next, Ring ring,
                                            PipelineState<kStages>& state) {
  const int steps = reader.steps();
  const bool releases = threadIdx.x % kWarpgroup == 0;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[m][i] = 0.0f;
  }
  u32 free_before = 0;
  const auto consume = [&]<int kSet>(int step) {
    if (step + 1 < steps) {
      reader.Advance();
    } else {
      reader.Begin(next);
    }
    reader.template Load<1 - kSet>();
    MbarrierWait(ring.Full(state.stage), state.parity);
    ConsumeStep<kSet, kTokens>(sums, reader, ring.Stage(state.stage), free_before);
    free_before = releases ? ring.Empty(state.stage) : 0;
    state.Advance();
  };
  for (int step = 0; step < steps; step += 2) {
    consume.template operator()<0>(step);
    if (step + 1 < steps) consume.template operator()<1>(step + 1);
  }
  if (steps % 2 != 0) reader.MoveSet();
  WgmmaWait<0>();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) WgmmaPin(sums[m]);
  if (releases) MbarrierArrive(free_before);
}

// The producer's side, called by one thread: the steps of a tile, whose tokens begin at row `row`
// of the map, in boxes of kBoxRows.
template <int kBoxRows, class Ring, int kStages>
__device__ __forceinline__ void ProduceTile(Ring& ring, PipelineState<kStages>& state, const TensorMap* map,
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
