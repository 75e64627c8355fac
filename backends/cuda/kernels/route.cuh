// Which experts a token goes to: DeepSeek-V2 (arXiv 2405.04434), section 2.2, DeepSeek-V3
// (arXiv 2412.19437), section 2.1.2; gpt-oss chooses first.
#pragma once

#include "base.cuh"
#include "params/rowwise.h"
#include "ptx/convert.cuh"
#include "rowwise.cuh"

namespace tandem::cuda {

enum RouteGating : int { kSoftmax, kSigmoid, kTopKSoftmax };

inline constexpr float kNever = -1.0f / 0.0f;

__device__ __forceinline__ float NeverIfNaN(float x) { return x == x ? x : kNever; }

struct Best {
  float value;
  int index;
};

// The largest of all lanes; the lower index among equals.
__device__ __forceinline__ Best WarpBest(Best b) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const float value = ShuffleXor(b.value, mask);
    const int index = ShuffleXor(b.index, mask);
    if (value > b.value || (value == b.value && index < b.index)) b = {value, index};
  }
  return b;
}

// The best of choice[begin, end) that is not taken. A value of -infinity can still be chosen.
__device__ __forceinline__ Best BestOf(const float* choice, const u8* taken, int begin, int end) {
  Best best = {kNever, 0x7fffffff};
  for (int i = begin + LaneIndex(); i < end; i += 32) {
    if (taken[i] == 0 && (best.index == 0x7fffffff || choice[i] > best.value)) best = {choice[i], i};
  }
  return WarpBest(best);
}

// In place; each lane keeps to its own elements.
__device__ __forceinline__ void WarpSoftmax(float* x, int n) {
  float largest = kNever, sum = 0.0f;
  for (int i = LaneIndex(); i < n; i += 32) largest = fmaxf(largest, x[i]);
  largest = LanesMax(largest);
  for (int i = LaneIndex(); i < n; i += 32) sum += x[i] = expf(x[i] - largest);
  sum = LanesSum(sum);
  for (int i = LaneIndex(); i < n; i += 32) x[i] /= sum;
  __syncwarp();
}

template <int kGating>
__device__ __forceinline__ void Scores(const float* logits, float* score, int n) {
  const int lane = LaneIndex();
  if constexpr (kGating == kSoftmax) {
    for (int i = lane; i < n; i += 32) score[i] = logits[i];
    WarpSoftmax(score, n);
  } else {
    for (int i = lane; i < n; i += 32) {
      score[i] = kGating == kSigmoid ? 1.0f / (1.0f + expf(-logits[i])) : logits[i];
    }
  }
}

// Marks all experts but those of the `used` best groups as taken.
template <bool kTop2>
__device__ __forceinline__ void LimitGroups(const float* choice, u8* taken, float* group_score,
                                            int experts, int groups, int used) {
  const int size = experts / groups;
  for (int g = 0; g < groups; ++g) {
    const Best first = BestOf(choice, taken, g * size, (g + 1) * size);
    float score = first.value;
    if (kTop2) {
      if (LaneIndex() == 0) taken[first.index] = 1;
      __syncwarp();
      score += BestOf(choice, taken, g * size, (g + 1) * size).value;
      __syncwarp();
      if (LaneIndex() == 0) taken[first.index] = 0;
      __syncwarp();
    }
    if (LaneIndex() == 0) group_score[g] = NeverIfNaN(score);
  }
  for (int i = LaneIndex(); i < experts; i += 32) taken[i] = 1;
  u8* group_taken = reinterpret_cast<u8*>(group_score + groups);
  for (int i = LaneIndex(); i < groups; i += 32) group_taken[i] = 0;
  __syncwarp();
  for (int n = 0; n < used; ++n) {
    const int g = BestOf(group_score, group_taken, 0, groups).index;
    __syncwarp();
    if (LaneIndex() == 0) group_taken[g] = 1;
    for (int i = LaneIndex(); i < size; i += 32) taken[g * size + i] = 0;
    __syncwarp();
  }
}

// A warp for each token. Dynamic shared memory of each: RouteSharedBytes.
template <int kGating, bool kTop2, bool kNormalize>
__global__ void Route(const __grid_constant__ RouteParams p) {
  extern __shared__ float shared[];
  TakeTurn();
  const i64 t = blockIdx.x;
  if (!IsLive(p.live, t)) return;
  const int lane = LaneIndex();
  float* score = shared;
  float* choice = score + p.experts;
  float* group_score = choice + p.experts;  // and as many bytes behind
  u8* taken = reinterpret_cast<u8*>(group_score + p.groups) + p.groups;
  Scores<kGating>(Row(p.logits, t), score, p.experts);
  for (int i = lane; i < p.experts; i += 32) {
    choice[i] = NeverIfNaN(score[i] + (p.bias == nullptr ? 0.0f : p.bias[i]));
    taken[i] = 0;
  }
  __syncwarp();
  if (p.groups > 1) {
    LimitGroups<kTop2>(choice, taken, group_score, p.experts, p.groups, p.groups_used);
  }
  i32* ids = reinterpret_cast<i32*>(Row(p.ids, t));
  float* weights = Row(p.weights, t);
  for (int k = 0; k < p.chosen; ++k) {
    const int best = BestOf(choice, taken, 0, p.experts).index;
    __syncwarp();
    if (lane == 0) {
      taken[best] = 1;
      ids[k] = best;
      weights[k] = score[best];
    }
    __syncwarp();
  }
  if constexpr (kGating == kTopKSoftmax) WarpSoftmax(weights, p.chosen);
  float sum = 0.0f;
  for (int k = 0; k < p.chosen; ++k) sum += weights[k];
  const float scale = kNormalize ? p.scale / (sum + 1e-20f) : p.scale;
  __syncwarp();
  for (int k = lane; k < p.chosen; k += 32) weights[k] *= scale;
}

}  // namespace tandem::cuda
