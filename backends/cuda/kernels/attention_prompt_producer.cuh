// The part of the prompt attention that brings keys and values.
#pragma once

#include "attention_prompt_shape.cuh"
#include "attention_prompt_work.cuh"
#include "base.cuh"
#include "params/attention_prompt.h"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

// The row, in the matrices of keys and values, of 64 keys. Pages beyond the last one repeat it.
struct KeyRows {
  const AttentionPromptParams& p;
  const PromptWork& work;
  i32 cached = 0;
  i32 cached_first = -kWarp;

  // By a whole warp.
  __device__ __forceinline__ i32 Find(i32 page) {
    if (p.page_table == nullptr) {
      return work.sequence * p.rows_per_sequence + page * 64 - p.key_begin;
    }
    if (page >= cached_first + kWarp || cached_first < 0) {
      cached_first = page;
      const i32 last = Max(work.length - 1, 0) / 64;
      cached = p.page_table[static_cast<i64>(work.sequence) * p.page_stride +
                            Min(page + LaneIndex(), last)];
    }
    return Shuffle(cached, page - cached_first) * 64;
  }
};

// Brings Boxes x Slices boxes: slice after slice, in it the rows of all boxes.
template <int Boxes, int Slices>
__device__ __forceinline__ void LoadBoxes(u8* to, const TensorMap& map, u64* full, i32 column,
                                          const i32 (&rows)[Boxes]) {
#pragma unroll
  for (int slice = 0; slice < Slices; ++slice) {
#pragma unroll
    for (int box = 0; box < Boxes; ++box) {
      TmaLoad2D(to + (slice * Boxes + box) * 8192, &map, full, column + slice * 64, rows[box]);
    }
  }
}

// The warp that brings keys and values.
template <class Shape>
struct PromptProducer {
  static constexpr int kKeyTile = Shape::kKeyTile;

  const AttentionPromptParams& p;
  PromptShared<Shape>& shared;
  PipelineState<Shape::kStages> state = {};

  __device__ __forceinline__ void LoadTile(const i32 (&rows)[Shape::kBoxes], i32 kv_head) {
    const int stage = state.stage;
    MbarrierWait(&shared.k_empty[stage], state.parity ^ 1);
    MbarrierArriveExpect(&shared.k_full[stage], Shape::kKBytes);
    LoadBoxes<Shape::kBoxes, Shape::kKSlices>(shared.k[stage], p.k_map, &shared.k_full[stage],
                                              kv_head * Shape::kDk, rows);
    MbarrierWait(&shared.v_empty[stage], state.parity ^ 1);
    MbarrierArriveExpect(&shared.v_full[stage], Shape::kVBytes);
    LoadBoxes<Shape::kBoxes, Shape::kVSlices>(shared.v[stage], p.v_map, &shared.v_full[stage],
                                              kv_head * Shape::kDv, rows);
  }

  // Asks for the next work shortly before the end of this one: late, so that work goes to blocks
  // that are free, but not so late that the consumers wait for it.
  __device__ __forceinline__ void Produce(const PromptWork& work) {
    const i32 kv_head = work.head / p.heads_per_kv;
    KeyRows key_rows{p, work};
    bool asked = false;
    for (i32 key = work.begin; key < work.end; key += kKeyTile) {
      i32 rows[Shape::kBoxes];
#pragma unroll
      for (int i = 0; i < Shape::kBoxes; ++i) rows[i] = key_rows.Find(key / 64 + i);
      const bool ask = !asked && key + 2 * kKeyTile >= work.end;
      if (LaneIndex() == 0) {
        if (ask) MbarrierArrive(&shared.work_wanted);
        LoadTile(rows, kv_head);
      }
      asked |= ask;
      __syncwarp();
      state.Advance();
    }
  }

  __device__ __forceinline__ void Run() {
    PipelineState<2> work_state;
    for (;;) {
      MbarrierWait(&shared.work_full[work_state.stage], work_state.parity);
      const PromptWork work = shared.work[work_state.stage];
      __syncwarp();
      if (LaneIndex() == 0) MbarrierArrive(&shared.work_empty[work_state.stage]);
      work_state.Advance();
      if (work.rows == 0) break;
      Produce(work);
    }
  }
};

}  // namespace tandem::cuda
