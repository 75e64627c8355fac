// Sizes of a block of the prompt attention and its shared memory.
#pragma once

#include "attention_prompt_queries.cuh"
#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/mbarrier.cuh"

namespace tandem::cuda {

// T: f16 or bf16, the type of keys and values. Each of the Consumers warpgroups has 64 rows.
template <class T, int Dk, int Dv, int Consumers, int KeyTile, int Stages, bool SoftCap>
struct PromptShape {
  using Type = T;
  static constexpr int kDk = Dk, kDv = Dv;
  static constexpr int kConsumers = Consumers;
  static constexpr int kRows = 64 * Consumers;
  static constexpr int kKeyTile = KeyTile;
  static constexpr int kStages = Stages;
  static constexpr bool kSoftCap = SoftCap;
  // Two warpgroups take turns at the tensor cores.
  static constexpr bool kTurns = Consumers == 2;

  static constexpr int kPage = 64;  // rows and columns of a box
  static constexpr int kBoxes = KeyTile / kPage;
  static constexpr int kKSlices = CeilDiv(Dk, 64), kVSlices = CeilDiv(Dv, 64);
  static constexpr int kSliceBytes = KeyTile * 128;
  static constexpr int kQBytes = kKSlices * kRows * 128;
  static constexpr int kKBytes = kKSlices * kSliceBytes;
  static constexpr int kVBytes = kVSlices * kSliceBytes;

  static constexpr int kThreads = 128 * (1 + Consumers);
  static constexpr int kProducerRegisters = Consumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = Consumers == 2 ? 232 : 160;

  using Queries = QueryLoader<T, Dk, kRows>;
  // Passes of the next queries that fit in registers beside the output and a tile of weights.
  static constexpr int kQueryRegisters = kConsumerRegisters - 40 - Dv / 2 - KeyTile / 4;
  static constexpr int kQueryPasses =
      Max(1, PowerOfTwoBelow(Min(Queries::kPasses, kQueryRegisters / (4 * Queries::kVectors))));

  static_assert(KeyTile % kPage == 0 && Dk % 16 == 0 && Dv % 16 == 0);
};

template <class Shape>
struct PromptShared {
  u8 q[Shape::kQBytes];
  u8 k[Shape::kStages][Shape::kKBytes];
  u8 v[Shape::kStages][Shape::kVBytes];
  float factors[Shape::kRows];
  u64 k_full[Shape::kStages], k_empty[Shape::kStages];
  u64 v_full[Shape::kStages], v_empty[Shape::kStages];
  u64 work_full[2], work_empty[2], work_wanted;
  PromptWork work[2];
};

inline constexpr int kSwizzleAlignment = 1024;

template <class Shape>
__device__ __forceinline__ PromptShared<Shape>& GetPromptShared() {
  constexpr PromptBlock kBlock = {Shape::kDk, Shape::kDv, Shape::kConsumers, Shape::kKeyTile,
                                  Shape::kStages};
  static_assert(sizeof(PromptShared<Shape>) + kSwizzleAlignment <= PromptSharedBytes(kBlock));
  extern __shared__ u8 dynamic_shared[];
  const u32 over = SharedAddress(dynamic_shared) % kSwizzleAlignment;
  return *reinterpret_cast<PromptShared<Shape>*>(dynamic_shared +
                                                 (over == 0 ? 0 : kSwizzleAlignment - over));
}

template <class Shape>
__device__ void InitBarriers(PromptShared<Shape>& shared) {
  for (int i = 0; i < Shape::kStages; ++i) {
    MbarrierInit(&shared.k_full[i], 1);
    MbarrierInit(&shared.v_full[i], 1);
    MbarrierInit(&shared.k_empty[i], Shape::kConsumers);
    MbarrierInit(&shared.v_empty[i], Shape::kConsumers);
  }
  for (int i = 0; i < 2; ++i) {
    MbarrierInit(&shared.work_full[i], 1);
    MbarrierInit(&shared.work_empty[i], Shape::kConsumers + 1);
  }
  MbarrierInit(&shared.work_wanted, 1);
  MbarrierInitFence();
}

}  // namespace tandem::cuda
