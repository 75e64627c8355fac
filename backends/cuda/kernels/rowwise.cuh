// Kernels on single rows: embedding, norm, rotation, elementwise, routing.
#pragma once

#include "base.cuh"
#include "blocks.cuh"
#include "params/rowwise.h"
#include "ptx/convert.cuh"
#include "ptx/launch.cuh"

namespace tandem::cuda {

__device__ __forceinline__ float* Row(const RowsView& view, i64 t, i64 h = 0) {
  return reinterpret_cast<float*>(view.data + t * view.row_stride + h * view.head_stride);
}

__device__ __forceinline__ bool IsLive(const i32* live, i64 row) {
  return live == nullptr || row < *live;
}

// Sum over the block, the same in every thread. Blocks of up to 32 warps.
__device__ __forceinline__ float BlockSum(float x) {
  __shared__ float sums[32];
  __syncthreads();  // a sum before this one has been read
  x = LanesSum(x);
  if (LaneIndex() == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  x = LaneIndex() < static_cast<int>(blockDim.x / 32) ? sums[LaneIndex()] : 0.0f;
  return LanesSum(x);
}

// What a block does to one token, or to one head of it.

template <WeightType kType>
__device__ void EmbedToken(const EmbedParams& p, i64 t) {
  const i64 id = p.ids[t];
  const bool known = id >= 0 && id < p.vocab;
  const u8* row = p.table + id * p.table_stride;
  for (i64 i = threadIdx.x; i < p.width; i += blockDim.x) {
    Row(p.out, t)[i] = known ? Element<kType>(row, i) : 0.0f;
  }
}

__device__ inline void RmsNormHead(const RmsNormParams& p, i64 t, i64 h) {
  const float* x = Row(p.x, t, h);
  float sum = 0.0f;
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) sum += x[i] * x[i];
  const float scale = 1.0f / sqrtf(BlockSum(sum) / static_cast<float>(p.width) + p.eps);
  float* out = Row(p.out, t, h);
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) out[i] = x[i] * scale * p.weight[i];
}

inline constexpr int kPairsAtOnce = 128;

// A thread for each pair, then for each element that is only copied. Cosines and sines are the same
// for all heads.
template <bool kHalves>
__device__ void RopeToken(const RopeParams& p, i64 t) {
  __shared__ float2 turns[kPairsAtOnce];
  const float position = static_cast<float>(p.positions[t]);
  for (int begin = 0; begin < p.pairs; begin += kPairsAtOnce) {
    const int count = Min(p.pairs - begin, kPairsAtOnce);
    __syncthreads();  // those before have been read
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
      // Large angles: the reduction of sincosf is exact enough, that of the fast forms is not.
      float sin, cos;
      sincosf(position * p.inv_freq[begin + i], &sin, &cos);
      turns[i] = {cos * p.magnitude, sin * p.magnitude};
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.heads * count; i += blockDim.x) {
      const int h = i / count, pair = begin + i % count;
      const float2 turn = turns[i % count];
      const int first = p.begin + (kHalves ? pair : 2 * pair);
      const int second = p.begin + (kHalves ? pair + p.pairs : 2 * pair + 1);
      const float a = Row(p.x, t, h)[first], b = Row(p.x, t, h)[second];
      Row(p.out, t, h)[first] = a * turn.x - b * turn.y;
      Row(p.out, t, h)[second] = a * turn.y + b * turn.x;
    }
  }
  if (p.x.data == p.out.data) return;
  const int rest = p.width - 2 * p.pairs;
  for (int i = threadIdx.x; i < p.heads * rest; i += blockDim.x) {
    const int h = i / rest;
    const int at = i % rest < p.begin ? i % rest : i % rest + 2 * p.pairs;
    Row(p.out, t, h)[at] = Row(p.x, t, h)[at];
  }
}

__device__ inline void AddToken(const BinaryParams& p, i64 t) {
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
    Row(p.out, t)[i] = Row(p.a, t)[i] + Row(p.b, t)[i];
  }
}

__device__ inline void SwiGluToken(const BinaryParams& p, i64 t) {
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
    const float gate = Row(p.a, t)[i];
    Row(p.out, t)[i] = gate / (1.0f + expf(-gate)) * Row(p.b, t)[i];
  }
}

__device__ inline void ConcatToken(const BinaryParams& p, i64 t) {
  const int width = p.width + p.b_width;
  for (int i = threadIdx.x; i < p.heads * width; i += blockDim.x) {
    const int h = i / width, at = i % width;
    Row(p.out, t, h)[at] = at < p.width ? Row(p.a, t, h)[at] : Row(p.b, t, h)[at - p.width];
  }
}

__device__ inline void GatherRow(const GatherRowsParams& p, i64 r) {
  const i32 t = p.index[r];
  const bool known = t >= 0 && t < p.rows;
  for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
    Row(p.out, r)[i] = known ? Row(p.x, t)[i] : 0.0f;
  }
}

// A block for each token (x), for norms for each head of it.

template <WeightType kType>
__global__ void Embed(const __grid_constant__ EmbedParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) EmbedToken<kType>(p, blockIdx.x);
}
__global__ void RmsNorm(const __grid_constant__ RmsNormParams p) {
  TakeTurn();
  const i64 t = blockIdx.x / p.heads;
  if (IsLive(p.live, t)) RmsNormHead(p, t, blockIdx.x % p.heads);
}
template <bool kHalves>
__global__ void Rope(const __grid_constant__ RopeParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) RopeToken<kHalves>(p, blockIdx.x);
}
__global__ void Add(const __grid_constant__ BinaryParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) AddToken(p, blockIdx.x);
}
__global__ void SwiGlu(const __grid_constant__ BinaryParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) SwiGluToken(p, blockIdx.x);
}
__global__ void Concat(const __grid_constant__ BinaryParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) ConcatToken(p, blockIdx.x);
}
__global__ void GatherRows(const __grid_constant__ GatherRowsParams p) {
  TakeTurn();
  if (IsLive(p.live, blockIdx.x)) GatherRow(p, blockIdx.x);
}

}  // namespace tandem::cuda
