// The main loop of products on sm_90a with weights in tiles: warpgroups that unpack weights into
// registers, as operand A, and multiply them with tokens in shared memory, as operand B.
//
// A block has consumer warpgroups and a producer warpgroup, of which one warp works: it has the
// copy engine bring tokens and weights to a ring of stages. A consumer multiplies kRowTiles times
// 64 rows of weights with the tokens of the block's tile: D[64 rows, tokens] of each, 64 k to a
// step. While the tensor cores work on some weights, a warp unpacks the next.
#pragma once

#include "params/tile_ring.h"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"
#include "ptx/wgmma_shapes.cuh"
#include "tile_steps.cuh"
#include "tile_weights.cuh"

namespace tandem::cuda {

// Registers are dealt to warpgroups: the producer needs few.
inline constexpr int kProducerRegisters = 24;
template <int kConsumers>
inline constexpr int kConsumerRegisters = kConsumers == 2   ? 240
                                          : kConsumers == 3 ? 160
                                                            : 112;

// Steps for which weights come at once: a unit of eight tiles is not taken apart.
template <class Weights>
inline constexpr int kWeightSteps = Max(1, Weights::kUnitTiles / kStepTiles);

// A box of weights is the pieces of a stage of some panels.
template <class Weights>
inline constexpr int kStageUnits = WeightStageUnits(Weights::kUnitTiles);
template <class Weights>
inline constexpr int kStagePieces = kStageUnits<Weights>* WeightPieces(Weights::kUnitBytes);

// Full when the copies of a stage have come, empty when all consumers have read it.
template <int kStages>
struct RingBarriers {
  u64 full[kStages];
  u64 empty[kStages];

  __device__ void Init(int consumers) {
    for (int i = 0; i < kStages; ++i) {
      MbarrierInit(&full[i], 1);
      MbarrierInit(&empty[i], consumers);
    }
  }
};

// Both rings. Where weights come step by step, they share the barriers of the tokens.
template <class Weights, int kConsumers, int kRowTiles, int kTokens, int kStages>
struct alignas(1024) TileRing {
  static constexpr int kPanels = kConsumers * kRowTiles * 4;  // of 16 rows
  static constexpr bool kTogether = kWeightSteps<Weights> == 1;
  static constexpr int kWeightStages = kTogether ? kStages : 2;
  static constexpr int kPanelBytes = kStageUnits<Weights> * Weights::kUnitBytes;  // of a stage

  u8 tokens[kStages][kTokens * kStepK * 2];
  alignas(128) u8 weights[kWeightStages][kPanels][kPanelBytes];
  RingBarriers<kStages> token_barriers;
  RingBarriers<kTogether ? 1 : kWeightStages> weight_barriers;  // unused if together

  __device__ void Init() {
    token_barriers.Init(kConsumers);
    weight_barriers.Init(kConsumers * 4);  // by warps: weights are in registers earlier
    MbarrierInitFence();
  }
};

template <int kStages, int kWeightStages>
struct TileRingState {
  PipelineState<kStages> tokens;
  PipelineState<kWeightStages> weights;
};
template <class Ring>
using StateOf = TileRingState<sizeof(Ring::tokens) / sizeof(Ring::tokens[0]), Ring::kWeightStages>;

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

// The weights of a step as they are in memory, in registers.
template <class Weights, int kRowTiles>
struct StepWeights {
  typename Weights::Raw raw[kStepTiles][kRowTiles];

  // `panels`: kRowTiles of them, `stride` bytes apart; `tile`: the step's first in the units there.
  __device__ __forceinline__ void Load(const u8* panels, int stride, int tile) {
    const int lane = LaneIndex();
#pragma unroll
    for (int slot = 0; slot < kStepTiles; ++slot) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        const u8* panel = panels + m * stride;
        raw[slot][m] = Weights::kUnitTiles == 1
                           ? Weights::Load(panel + slot * Weights::kUnitBytes, 0, lane)
                           : Weights::Load(panel, tile + slot, lane);
      }
    }
  }
};

// A consumer and its place in the rings.
template <class Weights, int kRowTiles, class Ring>
class Consumer {
 public:
  __device__ __forceinline__ Consumer(Ring& ring, int index)
      : ring_(ring),
        panel_(index * kRowTiles * 4 + threadIdx.x / kWarp % 4),
        releases_(threadIdx.x % kWarpgroup == 0) {}

  // sums = products of a whole tile of `steps` steps.
  template <int kTokens>
  __device__ __forceinline__ void Multiply(int steps, float (&sums)[kRowTiles][kTokens / 2]) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) sums[m][i] = 0.0f;
    }
    u64* read_before = nullptr;
    for (int step = 0; step < steps; ++step) {
      Begin(step);
      Step<kTokens>(read_before, sums);
    }
    WgmmaWait<0>();
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) WgmmaPin(sums[m]);
    if (releases_) MbarrierArrive(read_before);
  }

 private:
  static constexpr int kSteps = kWeightSteps<Weights>;

  // Waits for the tokens and weights of a step; loads the weights.
  __device__ __forceinline__ void Begin(int step) {
    MbarrierWait(&ring_.token_barriers.full[state_.tokens.stage], state_.tokens.parity);
    int stage = state_.tokens.stage;
    if constexpr (!Ring::kTogether) {
      stage = state_.weights.stage;
      if (step % kSteps == 0) {
        MbarrierWait(&ring_.weight_barriers.full[stage], state_.weights.parity);
      }
    }
    step_.Load(ring_.weights[stage][panel_], 4 * Ring::kPanelBytes, step % kSteps * kStepTiles);
    if constexpr (!Ring::kTogether) {
      if (step % kSteps != kSteps - 1) return;
      __syncwarp();
      if (LaneIndex() == 0) MbarrierArrive(&ring_.weight_barriers.empty[stage]);
      state_.weights.Advance();
    }
  }

  // When the products of the step before are done, its stage is free.
  template <int kTokens>
  __device__ __forceinline__ void Step(u64*& read_before, float (&sums)[kRowTiles][kTokens / 2]) {
    constexpr int kPending = kInFlight<kRowTiles>;
    const u64 tokens = WgmmaDescriptor(SharedAddress(ring_.tokens[state_.tokens.stage]), 0, 1024);
    u64* empty = &ring_.token_barriers.empty[state_.tokens.stage];
    state_.tokens.Advance();
#pragma unroll
    for (int slot = 0; slot < kStepTiles; ++slot) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        u32 a[8];
        weights_.Unpack(step_.raw[slot][m], a);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Multiply16<kPending, kTokens>(sums[m], a + 4 * half,
                                        WgmmaAdvance(tokens, slot * 64 + half * 32));
          const bool before_done = (slot * kRowTiles + m) * 2 + half == kPending - 1;
          if (before_done && releases_ && read_before != nullptr) MbarrierArrive(read_before);
        }
      }
    }
    read_before = empty;
  }

  Ring& ring_;
  StateOf<Ring> state_;
  Weights weights_;
  StepWeights<Weights, kRowTiles> step_;
  int panel_;
  bool releases_;
};

// The weights of a tile for the producer: `boxes` boxes of as many panels as the maps say, the i-th
// of map i % 2 (the second map is of the other matrix, if there are two).
struct WeightBoxes {
  const TensorMap* maps[2];
  int boxes;
  int panel;   // of box 0
  int stride;  // panels from a box to the next of the same map
};

// The producer's side, by one thread: `steps` steps of a tile, from `first_step`, a multiple of
// kWeightSteps; its tokens begin at row `row` of the map, in `boxes` boxes of kBoxRows.
template <int kBoxRows, class Weights, class Ring>
__device__ __forceinline__ void ProduceTile(Ring& ring, StateOf<Ring>& state, const TensorMap* map,
                                            int row, int boxes, const WeightBoxes& weights,
                                            int first_step, int steps) {
  constexpr int kSteps = kWeightSteps<Weights>, kBoxBytes = kBoxRows * kStepK * 2;
  constexpr int kWeightBytes = Ring::kPanels * Ring::kPanelBytes;
  const int box_panels = Ring::kPanels / weights.boxes;
  for (int step = 0; step < steps; ++step) {
    const int stage = state.tokens.stage;
    u64* full = &ring.token_barriers.full[stage];
    MbarrierWait(&ring.token_barriers.empty[stage], state.tokens.parity ^ 1);
    MbarrierArriveExpect(full, boxes * kBoxBytes + (Ring::kTogether ? kWeightBytes : 0));
    for (int i = 0; i < boxes; ++i) {
      TmaLoad2D(ring.tokens[stage] + i * kBoxBytes, map, full, (first_step + step) * kStepK,
                row + i * kBoxRows);
    }
    state.tokens.Advance();
    if (step % kSteps != 0) continue;
    int weight_stage = stage;
    if constexpr (!Ring::kTogether) {
      weight_stage = state.weights.stage;
      full = &ring.weight_barriers.full[weight_stage];
      MbarrierWait(&ring.weight_barriers.empty[weight_stage], state.weights.parity ^ 1);
      MbarrierArriveExpect(full, kWeightBytes);
      state.weights.Advance();
    }
    for (int i = 0; i < weights.boxes; ++i) {
      TmaLoad3D(ring.weights[weight_stage][i * box_panels], weights.maps[i % 2], full, 0,
                (first_step + step) / kSteps * kStagePieces<Weights>,
                weights.panel + i / 2 * weights.stride);
    }
  }
}

}  // namespace tandem::cuda
