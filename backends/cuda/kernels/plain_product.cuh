// Products with weights in rows, as files have them: every type and shape, without regard to speed.
#pragma once

#include "base.cuh"
#include "blocks.cuh"
#include "params/plain_product.h"
#include "rowwise.cuh"

namespace tandem::cuda {

inline constexpr int kPlainRows = 8;  // rows of x that share the decoding of weights

// Sums over inputs of one output for some rows; a warp together, the same result in all lanes.
// `element(i)`: the weight of input i.
template <class GetElement, class GetRow>
__device__ void WarpDots(int inputs, int rows, GetElement element, GetRow row, float* sums) {
  for (int r = 0; r < rows; ++r) sums[r] = 0.0f;
  for (int i = LaneIndex(); i < inputs; i += 32) {
    const float w = element(i);
#pragma unroll
    for (int r = 0; r < kPlainRows; ++r) {
      if (r < rows) sums[r] += w * row(r)[i];
    }
  }
#pragma unroll
  for (int r = 0; r < kPlainRows; ++r) sums[r] = LanesSum(sums[r]);
}

// Grid: outputs, groups of kPlainRows rows, groups of weights; a warp for each output.
template <WeightType kType, bool kTransposed>
__global__ void PlainLinear(const __grid_constant__ PlainLinearParams p) {
  const int o = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  const int live = p.live == nullptr ? p.rows : Min(*p.live, p.rows);
  const int first = static_cast<int>(blockIdx.y) * kPlainRows;
  const int rows = Min(live - first, kPlainRows);
  if (o >= p.outputs || rows <= 0) return;
  const int g = blockIdx.z;
  const u8* w = p.w.data + g * p.w.group_stride;
  float sums[kPlainRows] = {};
  WarpDots(
      p.inputs, rows,
      [&](int i) {
        return kTransposed ? Element<kType>(w + i * p.w.row_stride, o)
                           : Element<kType>(w + o * p.w.row_stride, i);
      },
      [&](int r) { return Row(p.x, first + r, g); }, sums);
  if (LaneIndex() != 0) return;
  for (int r = 0; r < rows; ++r) {
    Row(p.out, first + r, g)[o] = sums[r] + (p.bias == nullptr ? 0.0f : p.bias[o]);
  }
}

// Grid: choices of all tokens, hidden elements; a warp for each element.
template <WeightType kGateType, WeightType kUpType>
__global__ void PlainExpertsUp(const __grid_constant__ PlainExpertsParams p) {
  const int f = static_cast<int>(blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32);
  const i64 t = blockIdx.x / p.chosen, k = blockIdx.x % p.chosen;
  if (f >= p.hidden_width || !IsLive(p.live, t)) return;
  const i32 e = reinterpret_cast<const i32*>(Row(p.ids, t))[k];
  if (e < 0 || e >= p.experts) return;
  const float* x = Row(p.x, t);
  const u8* gate_row = p.gate.data + e * p.gate.group_stride + f * p.gate.row_stride;
  const u8* up_row = p.up.data + e * p.up.group_stride + f * p.up.row_stride;
  float gate = 0.0f, up = 0.0f;
  for (int i = LaneIndex(); i < p.width; i += 32) {
    gate += Element<kGateType>(gate_row, i) * x[i];
    up += Element<kUpType>(up_row, i) * x[i];
  }
  gate = LanesSum(gate);
  up = LanesSum(up);
  if (LaneIndex() == 0) {
    p.hidden[(t * p.chosen + k) * p.hidden_width + f] = gate / (1.0f + expf(-gate)) * up;
  }
}

// Grid: tokens, elements of a row; a warp for each element.
template <WeightType kType>
__global__ void PlainExpertsDown(const __grid_constant__ PlainExpertsParams p) {
  const int o = static_cast<int>(blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32);
  const i64 t = blockIdx.x;
  if (o >= p.width || !IsLive(p.live, t)) return;
  float sum = 0.0f;
  for (int k = 0; k < p.chosen; ++k) {
    const i32 e = reinterpret_cast<const i32*>(Row(p.ids, t))[k];
    if (e < 0 || e >= p.experts) continue;
    const u8* row = p.down.data + e * p.down.group_stride + o * p.down.row_stride;
    const float* hidden = p.hidden + (t * p.chosen + k) * p.hidden_width;
    float part = 0.0f;
    for (int i = LaneIndex(); i < p.hidden_width; i += 32) {
      part += Element<kType>(row, i) * hidden[i];
    }
    sum += Row(p.weights, t)[k] * LanesSum(part);
  }
  if (LaneIndex() == 0) Row(p.out, t)[o] = sum;
}

}  // namespace tandem::cuda
