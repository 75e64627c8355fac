// Merges what the splits of a sequence's keys gave, in order (flash-decoding).
#pragma once

#include "attention_rows.cuh"
#include "attention_units.cuh"
#include "base.cuh"
#include "params/attention_decode.h"
#include "ptx/convert.cuh"
#include "ptx/launch.cuh"
#include "ptx/vector.cuh"

namespace tandem::cuda {

inline constexpr int kMergeThreads = 128;
inline constexpr int kMostSplits = 256;

// The sequence that a token belongs to, by the whole warp; -1 if none does.
__device__ __forceinline__ int FindSequence(const AttentionParams& p, int token) {
  const int live = LiveSequences(p);
  if (p.seqs == 1) return live == 1 ? 0 : -1;
  int before = 0;  // sequences that end at or before the token
  for (int first = 0; first < live; first += kWarp) {
    const int s = first + LaneIndex();
    before += __popc(__ballot_sync(kAllLanes, s < live && p.seq_start[s + 1] <= token));
  }
  return before < live ? before : -1;
}

__device__ __forceinline__ void AddScaled(float4& sum, float factor, const float4& x) {
  sum.x += factor * x.x;
  sum.y += factor * x.y;
  sum.z += factor * x.z;
  sum.w += factor * x.w;
}

// Turns the maxima of the splits of a row into factors, for all of them; the sum of the weights.
template <int kTileRows>
__device__ __forceinline__ RowSum MergeWeights(const float* weights, int splits, float* factors) {
  const auto maximum_of = [&](int i) { return weights[2 * static_cast<i64>(i) * kTileRows]; };
  RowSum row = {-kInfinity, 0.0f};
  float maxima[kMostSplits / kWarp], sums[kMostSplits / kWarp];
#pragma unroll
  for (int j = 0; j < kMostSplits / kWarp; ++j) {
    const int i = LaneIndex() + j * kWarp;
    maxima[j] = i < splits ? maximum_of(i) : -kInfinity;
    sums[j] = i < splits ? (&weights[2 * static_cast<i64>(i) * kTileRows])[1] : 0.0f;
    row.maximum = fmaxf(row.maximum, maxima[j]);
  }
  row.maximum = LanesMax(row.maximum);
  const float base = row.maximum == -kInfinity ? 0.0f : row.maximum;
#pragma unroll
  for (int j = 0; j < kMostSplits / kWarp; ++j) {
    const int i = LaneIndex() + j * kWarp;
    const float factor = exp2f(maxima[j] - base);
    row.sum += factor * sums[j];
    if (i < splits) factors[i] = factor;
  }
  row.sum = LanesSum(row.sum);
  return row;
}

// Blocks: kColumns columns (x), heads (y), tokens (z).
template <int kTileRows, int kTileKeys, int kColumns>
__global__ void __launch_bounds__(kMergeThreads)
    AttentionMerge(const __grid_constant__ AttentionDecodeParams p) {
  constexpr int kMergeLanes = kColumns / 4;                  // that share a split
  constexpr int kMergeSplits = kMergeThreads / kMergeLanes;  // taken at a time
  __shared__ float factors[kMostSplits];
  __shared__ RowSum shared_row;
  __shared__ float4 partial[kMergeSplits][kMergeLanes];
  const AttentionParams& a = p.attention;
  const int head = blockIdx.y, token = blockIdx.z;
  const int s = FindSequence(a, token);
  if (s < 0) return;
  const RowTile sequence = SequenceRows(a, s);
  const KeySplits<kTileKeys> splits(p, sequence);
  if (splits.count == 1) return;
  const int kv_head = head / a.group;
  const int row = (token - sequence.first_token) * a.group + head % a.group;
  const i64 at =
      UnitSlot<kTileRows>(p, sequence, row / kTileRows, kv_head, 0) * kTileRows + row % kTileRows;

  const int lane = threadIdx.x % kMergeLanes, first = threadIdx.x / kMergeLanes;
  const int column = blockIdx.x * kColumns + 4 * lane;
  const bool inside = column < a.dv;
  const float* values = p.values + at * a.dv + (inside ? column : 0);
  const i64 step = static_cast<i64>(kTileRows) * a.dv;
  WaitForKernelsAhead();
  constexpr int kBatch = 8;  // read before the first is used
  float4 x[kBatch];
#pragma unroll
  for (int j = 0; j < kBatch; ++j) {
    const int i = first + j * kMergeSplits;
    x[j] = i < splits.count ? LoadGlobal4(values + i * step) : float4{0.0f, 0.0f, 0.0f, 0.0f};
  }
  if (WarpIndex() == 0) {
    const RowSum merged = MergeWeights<kTileRows>(p.weights + 2 * at, splits.count, factors);
    if (LaneIndex() == 0) shared_row = merged;
  }
  __syncthreads();
  float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int i = first; i < splits.count; i += kBatch * kMergeSplits) {
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const int k = i + j * kMergeSplits;
      if (k < splits.count) AddScaled(sum, factors[k], x[j]);
      const int next = k + kBatch * kMergeSplits;
      if (next < splits.count) x[j] = LoadGlobal4(values + next * step);
    }
  }
  partial[first][lane] = sum;
  __syncthreads();
  if (first != 0) return;
#pragma unroll
  for (int i = 1; i < kMergeSplits; ++i) AddScaled(sum, 1.0f, partial[i][lane]);
  const float factor = FinishRow(a, {token, head}, shared_row, lane == 0 && blockIdx.x == 0);
  if (!inside) return;
  float* out = a.out + token * a.out_token + head * a.out_head + column;
  const float result[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = factor == 0.0f ? 0.0f : result[i] * factor;
}

}  // namespace tandem::cuda
