// Experts for one to eight rows of activations, in two kernels: ExpertsInner makes the hidden
// vectors silu(gate x) * (up x) of all pairs of a token and an expert it chose, in 8 bits;
// ExpertsOuter multiplies them by down and adds them up. Each weight is read once, however many
// tokens chose its expert: the tokens are the columns of the products.
#pragma once

#include "product_rows.cuh"

namespace tandem::cuda {

inline constexpr int kMaxPairs = 128;

// The experts that live tokens chose, each once, in the order of their first pairs; and which pair
// (token times `chosen` plus choice) each token has with them.
struct ChosenExperts {
  i32 ids[kMaxPairs];
  i16 pair[kMaxPairs][kMaxRows];  // -1: the token did not choose the expert
  i16 same[kMaxPairs];            // the first pair of its token with the same expert; -1: none such
  i32 pair_ids[kMaxPairs];        // -1: no such expert
  i32 count;
};

// For one token. Each warp writes all of it, the same as the others, and needs not wait for them.
// What it chose twice is computed twice.
__device__ __forceinline__ void ListChosenByOne(const ExpertsRowsParams& p, ChosenExperts& list) {
  const int lane = LaneIndex();
  int id = -1;
  if (lane < p.chosen) id = p.ids[lane];
  const bool valid = id >= 0 && id < p.experts;
  const u32 votes = __ballot_sync(kAllLanes, valid);
  const int slot = __popc(votes & ((1u << lane) - 1));
  if (valid) {
    list.ids[slot] = id;
    list.pair[slot][0] = static_cast<i16>(lane);
  }
  list.same[lane] = static_cast<i16>(valid ? lane : -1);
  if (lane == 0) list.count = __popc(votes);
  __syncwarp();
}

// By all threads of the block, at least kMaxPairs.
__device__ __forceinline__ void ListChosen(const ExpertsRowsParams& p, int live,
                                           ChosenExperts& list) {
  const int all = p.tokens * p.chosen, i = threadIdx.x;
  int id = -1;  // read without waiting for `live`
  if (i < all) id = p.ids[i / p.chosen * p.ids_row + i % p.chosen];
  const int pairs = live * p.chosen;
  if (i >= pairs || id < 0 || id >= p.experts) id = -1;
  if (i == 0) list.count = 0;
  if (i < kMaxPairs) list.pair_ids[i] = id;
  for (int j = i; j < pairs * kMaxRows; j += blockDim.x) list.pair[j / kMaxRows][j % kMaxRows] = -1;
  __syncthreads();
  bool first = id >= 0;
  if (i < pairs) {
    int same = i;
    for (int j = i - 1; j >= 0; --j) {
      if (list.pair_ids[j] != id) continue;
      first = false;
      if (j / p.chosen == i / p.chosen) same = j;
    }
    list.same[i] = static_cast<i16>(id < 0 ? -1 : same);
  }
  // Pairs before this one that are the first of their experts; `pairs` fits into four warps.
  __shared__ i32 firsts[kMaxPairs / kWarp];
  const u32 votes = __ballot_sync(kAllLanes, first);
  if (i < kMaxPairs && i % kWarp == 0) firsts[i / kWarp] = __popc(votes);
  __syncthreads();
  int slot = __popc(votes & ((1u << (i % kWarp)) - 1));
  for (int w = 0; w < i / kWarp && w < kMaxPairs / kWarp; ++w) slot += firsts[w];
  if (first) {
    list.ids[slot] = id;
    for (int j = pairs - 1; j >= i; --j) {
      if (list.pair_ids[j] == id) list.pair[slot][j / p.chosen] = static_cast<i16>(j);
    }
    atomicAdd(&list.count, 1);
  }
  __syncthreads();
}

// A block of 32 hidden values of one of the chosen experts, counted from 0.
struct ExpertBlock {
  int expert, block;

  // After a change of `block`.
  __device__ __forceinline__ void Settle(int blocks) {
    while (block >= blocks) {
      block -= blocks;
      ++expert;
    }
  }
  __device__ __forceinline__ void Advance(int step, int blocks) {
    block += step;
    Settle(blocks);
  }
};

template <WeightType kDown>
__device__ __forceinline__ u8* HiddenCodes(const ExpertsRowsParams& p, int pair) {
  return p.hidden + static_cast<i64>(pair) * HiddenRowBytes(p.inner, sizeof(InfoOf<kDown>));
}

// Makes and quantises the 32 hidden values of a block for column `column`, with one warp. Warp w of
// the block has left in partials[w] its part of matrix w / 8 (gate, up), panel w / 4 % 2.
template <WeightType kDown, int kColumns>
__device__ __forceinline__ void WriteHidden(const ExpertsRowsParams& p, const float* partials,
                                            int column, int pair, int block, int lane) {
  float sums[2];
#pragma unroll
  for (int matrix = 0; matrix < 2; ++matrix) {
    const int warp = matrix * 8 + lane / kTileRows * 4;
    sums[matrix] = 0;
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      sums[matrix] +=
          partials[(warp + part) * kPartialFloats<kColumns> + lane % kTileRows * kColumns + column];
    }
  }
  const float h = Silu(sums[0]) * sums[1];
  float largest = fabsf(h), inverse;
#pragma unroll
  for (int i = 16; i > 0; i /= 2) largest = MaxOrNaN(largest, ShuffleXor(largest, i));
  const float scale = BlockScale(largest, inverse);
  const i32 code = static_cast<i8>(__float2int_rn(h * inverse));
  u8* codes = HiddenCodes<kDown>(p, pair);
  const int k = lane % 16;
  codes[block * kTileElements + k / 4 * 8 + lane / 16 * 4 + k % 4] = static_cast<u8>(code);
  i32 sum = code;
#pragma unroll
  for (int i = 8; i > 0; i /= 2) sum += ShuffleXor(sum, i);
  const i32 other = ShuffleXor(sum, 16);
  if (lane == 0) {
    reinterpret_cast<InfoOf<kDown>*>(codes + p.inner)[block] = MakeInfo<kDown>(scale, sum, other);
  }
}

// A job is 32 values of an expert: two panels of gate and two of up, four warps for each. Grid: any
// number of blocks. kRowsThreads threads.
template <WeightType kType, WeightType kDown, int kColumns, int kStages>
__global__ void __launch_bounds__(kRowsThreads, 2)
    ExpertsInner(const __grid_constant__ ExpertsRowsParams p) {
  extern __shared__ __align__(128) u8 shared[];
  __shared__ ChosenExperts list;
  const RowsShared at = MakeRowsShared(kTileForm<kType>.unit_bytes, sizeof(InfoOf<kType>), kStages,
                                       kColumns, p.width, PanelPartials(kColumns));
  const int warp = WarpIndex(), lane = LaneIndex();
  using Ring = WarpRing<kStages, kStageBytes<kType>>;
  Ring ring(shared + at.ring + warp * Ring::kBytes,
            reinterpret_cast<u64*>(shared + at.barriers) + warp * kStages);
  WaitForKernelsAhead();
  LetNextKernelStart();  // not before: it reads what the kernels ahead of this one write
  const int live = LiveRows(p.live_rows, p.first_row, p.tokens);
  if constexpr (kColumns == 1) {
    ListChosenByOne(p, list);
  } else {
    ListChosen(p, live, list);
  }

  const int units = p.width / kUnitElements<kType>, blocks = p.inner / kTileElements;
  const UnitRange range = PartOfUnits(units, warp % 4, 2);
  const i64 panel_bytes = static_cast<i64>(units) * kTileForm<kType>.unit_bytes;
  const u8* matrix = (warp < 8 ? p.gate : p.up) + warp / 4 % 2 * panel_bytes +
                     static_cast<i64>(range.begin) * kTileForm<kType>.unit_bytes;
  const i64 expert_bytes = warp < 8 ? p.gate_expert : p.up_expert;
  ExpertBlock ahead = {0, static_cast<int>(blockIdx.x)};
  ahead.Settle(blocks);
  auto next = [&](Feeder<kType>& feeder) {
    if (ahead.expert >= list.count) return;
    feeder.at = matrix + list.ids[ahead.expert] * expert_bytes + ahead.block * 2 * panel_bytes;
    feeder.left = range.end - range.begin;
    ahead.Advance(gridDim.x, blocks);
  };
  Feeder<kType> feeder;
#pragma unroll 1
  for (int i = 0; i < kStages; ++i) feeder.Feed(ring, next);

  const SharedActivations<kType> x = {shared + at.codes, shared + at.info,
                                      ActivationRowBytes(p.width),
                                      ActivationInfoRowBytes(p.width, sizeof(InfoOf<kType>))};
  float* partials = reinterpret_cast<float*>(shared + at.partials);
  QuantizeRows<kType, kLoadBatch<kColumns>>(
      x, p.tokens, p.width, [&](int row, int i) { return LoadFloat4(p.x + row * p.x_row + i); });
  __syncthreads();
  const LaneActivations<kType, kColumns> mine = x.template OfLane<kColumns>(p.tokens, lane);

  const SplitTable table = LoadSplitTable<kType>();
  int turn = 0;
  ExpertBlock job = {0, static_cast<int>(blockIdx.x)};
  job.Settle(blocks);
  for (; job.expert < list.count; job.Advance(gridDim.x, blocks)) {
    LaneSums<kColumns> sums;
    AddRun<kType, kColumns>(range.begin, range.end, lane, table, mine, ring, feeder, next, sums);
    float* set = partials + turn * kRowsWarps * kPartialFloats<kColumns>;
    StorePartial<kColumns>(sums, set + warp * kPartialFloats<kColumns>, lane);
    __syncthreads();
    if (warp < live) {
      const int pair = list.pair[job.expert][warp];
      if (pair >= 0) WriteHidden<kDown, kColumns>(p, set, warp, pair, job.block, lane);
    }
    turn ^= 1;
  }
}

// Copies the hidden vectors of the pairs to shared memory.
template <WeightType kType>
__device__ __forceinline__ void LoadHidden(const ExpertsRowsParams& p, int pairs,
                                           const SharedActivations<kType>& to) {
  const int codes = p.inner / 16;
  const int all = HiddenRowBytes(p.inner, sizeof(InfoOf<kType>)) / 16;
  // Two warps for a pair, so that few pairs keep many busy.
  for (int i = WarpIndex(); i < 2 * pairs; i += kRowsWarps) {
    const int pair = i / 2;
    const u8* from = HiddenCodes<kType>(p, pair);
#pragma unroll 1
    for (int j = LaneIndex() + i % 2 * kWarp; j < all; j += 2 * kWarp) {
      u8* to_codes = to.Codes(pair) + j * 16;
      u8* to_info = reinterpret_cast<u8*>(to.Info(pair)) + (j - codes) * 16;
      CopyAsync16(SharedAddress(j < codes ? to_codes : to_info), from + j * 16);
    }
  }
  CopyAsyncCommit();
  CopyAsyncWaitAll();
}

// Adds up a panel: for each token its choices in their order.
__device__ __forceinline__ void WriteOuter(const ExpertsRowsParams& p, const ChosenExperts& list,
                                           const float* partials, int panel, int live) {
  const int column = threadIdx.x / kTileRows, row = threadIdx.x % kTileRows;
  if (column >= live) return;
  const int out = panel * kTileRows + row;
  float sum = p.add != nullptr ? p.add[column * p.add_row + out] : 0.0f;
  for (int i = 0; i < p.chosen; ++i) {
    const int pair = list.same[column * p.chosen + i];
    if (pair < 0) continue;
    float y = 0;
    for (int part = 0; part < 1 << p.parts_log2; ++part) {
      y += partials[((pair << p.parts_log2) + part) * kTileRows + row];
    }
    sum += p.weights[column * p.weights_row + i] * y;
  }
  p.out[column * p.out_row + out] = sum;
}

// A block takes panels of 16 outputs; its warps share the parts of all chosen experts, warp w parts
// w, w + 16, ... Grid: any number of blocks. kRowsThreads threads.
template <WeightType kType, int kColumns, int kStages>
__global__ void __launch_bounds__(kRowsThreads, 2)
    ExpertsOuter(const __grid_constant__ ExpertsRowsParams p) {
  extern __shared__ __align__(128) u8 shared[];
  __shared__ ChosenExperts list;
  const int max_pairs = p.tokens * p.chosen;
  const RowsShared at = MakeRowsShared(kTileForm<kType>.unit_bytes, sizeof(InfoOf<kType>), kStages,
                                       max_pairs, p.inner, OuterPartials(max_pairs, p.parts_log2));
  const int warp = WarpIndex(), lane = LaneIndex();
  using Ring = WarpRing<kStages, kStageBytes<kType>>;
  Ring ring(shared + at.ring + warp * Ring::kBytes,
            reinterpret_cast<u64*>(shared + at.barriers) + warp * kStages);
  LetNextKernelStart();
  // The ids were written before the kernel ahead let this one start: only the hidden vectors are
  // waited for.
  const int live = LiveRows(p.live_rows, p.first_row, p.tokens);
  if constexpr (kColumns == 1) {
    ListChosenByOne(p, list);
  } else {
    ListChosen(p, live, list);
  }

  const int units = p.inner / kUnitElements<kType>, panels = p.width / kTileRows;
  const int parts = 1 << p.parts_log2, jobs = list.count << p.parts_log2;
  const i64 panel_bytes = static_cast<i64>(units) * kTileForm<kType>.unit_bytes;
  int ahead_panel = blockIdx.x, ahead = warp;
  auto next = [&](Feeder<kType>& feeder) {
    if (ahead >= jobs) {
      ahead = warp;
      ahead_panel += gridDim.x;
    }
    if (ahead_panel >= panels || ahead >= jobs) return;
    const UnitRange range = PartOfUnits(units, ahead & (parts - 1), p.parts_log2);
    feeder.at = p.down + list.ids[ahead >> p.parts_log2] * p.down_expert +
                ahead_panel * panel_bytes +
                static_cast<i64>(range.begin) * kTileForm<kType>.unit_bytes;
    feeder.left = range.end - range.begin;
    ahead += kRowsWarps;
  };
  Feeder<kType> feeder;
#pragma unroll 1
  for (int i = 0; i < kStages; ++i) feeder.Feed(ring, next);

  WaitForKernelsAhead();
  const SharedActivations<kType> hidden = {shared + at.codes, shared + at.info,
                                           ActivationRowBytes(p.inner),
                                           ActivationInfoRowBytes(p.inner, sizeof(InfoOf<kType>))};
  float* partials = reinterpret_cast<float*>(shared + at.partials);
  LoadHidden<kType>(p, live * p.chosen, hidden);
  __syncthreads();

  const SplitTable table = LoadSplitTable<kType>();
  const int g = lane / 4, t = lane % 4;
  for (int panel = blockIdx.x; panel < panels; panel += gridDim.x) {
    for (int job = warp; job < jobs; job += kRowsWarps) {
      const int part = job & (parts - 1);
      const i16(&pairs)[kMaxRows] = list.pair[job >> p.parts_log2];
      // Columns are tokens; those that did not choose the expert compute with any pair.
      LaneActivations<kType, kColumns> mine;
      mine.codes = hidden.Codes(Max<int>(0, pairs[kColumns == 1 ? 0 : g])) + t * 8;
      int column_pair[kLaneColumns<kColumns>];
#pragma unroll
      for (int c = 0; c < kLaneColumns<kColumns>; ++c) {
        column_pair[c] = pairs[kColumns == 1 ? 0 : 2 * t + c];
        mine.info[c] = hidden.Info(Max(0, column_pair[c]));
      }
      LaneSums<kColumns> sums;
      const UnitRange range = PartOfUnits(units, part, p.parts_log2);
      AddRun<kType, kColumns>(range.begin, range.end, lane, table, mine, ring, feeder, next, sums);
#pragma unroll
      for (int c = 0; c < kLaneColumns<kColumns>; ++c) {
        if (column_pair[c] < 0 || (kColumns == 1 && t != 0)) continue;
        float* to = partials + ((column_pair[c] << p.parts_log2) + part) * kTileRows;
        to[g] = sums.v[0][c];
        to[g + 8] = sums.v[1][c];
      }
    }
    __syncthreads();
    WriteOuter(p, list, partials, panel, live);
    __syncthreads();
  }
}

}  // namespace tandem::cuda
