// The part of the prompt attention that finds work.
#pragma once

#include "attention_prompt_shape.cuh"
#include "attention_prompt_softmax.cuh"
#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/launch.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

// The warp that finds work for the others.
template <class Shape>
struct PromptScheduler {
  static constexpr int kRowBytes = (Shape::kDk + Shape::kDv) * 2;

  const AttentionPromptParams& p;
  PromptShared<Shape>& shared;
  PromptWorkList<Shape::kRows, Shape::kKeyTile, kRowBytes> list;
  PromptItems items = {};
  PipelineState<2> state = {};
  PromptWork next = {};

  __device__ __forceinline__ PromptScheduler(const AttentionPromptParams& p,
                                             PromptShared<Shape>& shared)
      : p(p), shared(shared), list(p) {}

  // The next item with something to do; none: rows == 0.
  __device__ __forceinline__ void Find() {
#pragma unroll 1
    for (;;) {
      const i32 item = items.Next(p, list.size());
      if (item >= list.size()) break;
      next = list.Get(item);
      if (next.begin < next.end) return;
      if (next.first && next.last) WriteZeros();
    }
    next.rows = 0;
  }

  // Rows that see no key.
  __device__ void WriteZeros() {
#pragma unroll 1
    for (i32 i = LaneIndex(); i < next.rows * Shape::kDv; i += kWarp) {
      p.out[(next.token + i / Shape::kDv) * p.out_token + next.head * p.out_head + i % Shape::kDv] =
          0;
    }
    if (p.lse == nullptr) return;
#pragma unroll 1
    for (i32 row = LaneIndex(); row < next.rows; row += kWarp) {
      p.lse[(next.token + row) * p.lse_token + next.head] = NegativeInfinity();
    }
  }

  __device__ __forceinline__ void Publish() {
    if (LaneIndex() == 0) {
      MbarrierWait(&shared.work_empty[state.stage], state.parity ^ 1);
      shared.work[state.stage] = next;
      MbarrierArrive(&shared.work_full[state.stage]);
    }
    __syncwarp();
    state.Advance();
  }

  // Into the L2.
  __device__ __forceinline__ void PrefetchQueries() {
    constexpr int kLines = CeilDiv(Shape::kDk * 4, 128);
#pragma unroll 1
    for (int i = LaneIndex(); i < next.rows * kLines; i += kWarp) {
      PrefetchLine(p.q + (next.token + i / kLines) * p.q_token + next.head * p.q_head +
                   i % kLines * 32);
    }
  }

  __device__ __forceinline__ void Run() {
    for (u32 parity = 0;; parity ^= 1) {
      Find();
      Publish();
      if (next.rows == 0) break;
      PrefetchQueries();
      MbarrierWait(&shared.work_wanted, parity);
    }
    items.Close(p);
    LetNextKernelStart();
  }
};

}  // namespace tandem::cuda
