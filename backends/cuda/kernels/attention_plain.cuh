// Attention in f32 arithmetic, without tensor cores: any sizes, types and views. For f32 caches,
// whose numbers no 16-bit operand holds, and for sizes that the other kernels do not take.
#pragma once

#include "attention_rows.cuh"
#include "base.cuh"
#include "kv_pages.cuh"
#include "ptx/convert.cuh"

namespace tandem::cuda {

inline constexpr int kPlainRows = 4;  // a warp each
inline constexpr int kPlainKeys = kWarp;
inline constexpr int kPlainThreads = kPlainRows * kWarp;

template <Kv kType>
__device__ __forceinline__ KvRow<kType> FindKey(const AttentionParams& p, const RowTile& tile,
                                                const u8* pages, i64 page_stride, int width,
                                                int key) {
  const i32 page = p.page_table[tile.sequence * p.page_table_row + key / kPageTokens];
  return KvRow<kType>(pages + page * page_stride, key % kPageTokens, tile.kv_head, p.kv_heads,
                      width);
}

// Raw products of the rows with keys [first, first + count), a warp for each key in turn.
template <Kv kKType>
__device__ void PlainProducts(const AttentionParams& p, const RowTile& tile, const float* q,
                              int first, int count, float (*products)[kPlainKeys]) {
  for (int j = WarpIndex(); j < count; j += kPlainThreads / kWarp) {
    const KvRow<kKType> key = FindKey<kKType>(p, tile, p.k, p.k_page, p.dk, first + j);
    float sums[kPlainRows] = {};
    for (int d = LaneIndex(); d < p.dk; d += kWarp) {
      const float k = key[d];
#pragma unroll
      for (int r = 0; r < kPlainRows; ++r) sums[r] += q[r * p.dk + d] * k;
    }
#pragma unroll
    for (int r = 0; r < kPlainRows; ++r) {
      const float sum = LanesSum(sums[r]);
      if (LaneIndex() == r) products[r][j] = sum;
    }
  }
}

// A block for kPlainRows rows of q. kDims: Dv rounded up to the threads of a block, over them.
template <Kv kKType, Kv kVType, int kDims>
__global__ void __launch_bounds__(kPlainThreads)
    AttentionPlain(const __grid_constant__ AttentionParams p) {
  extern __shared__ float q[];  // [kPlainRows, Dk]
  __shared__ float products[kPlainRows][kPlainKeys];
  __shared__ float weights[kPlainRows][kPlainKeys];
  __shared__ float factors[kPlainRows];
  const RowTile tile = FindRowTile(p, blockIdx.x, kPlainRows, blockIdx.y);
  if (tile.rows == 0) return;
  const int warp = WarpIndex(), lane = LaneIndex();
  const TokenHead place = RowPlace(p, tile, Min(warp, tile.rows - 1));
  for (int d = lane; d < p.dk; d += kWarp) {
    q[warp * p.dk + d] = p.q[place.token * p.q_token + place.head * p.q_head + d];
  }
  const KeySpan mine = RowKeys(p, tile, warp), all = TileKeys(p, tile);
  const ScoreScale score(p);
  RowSum row = {-kInfinity, 0.0f};
  float values[kDims][kPlainRows] = {};
  __syncthreads();
  for (int first = all.begin; first < all.end; first += kPlainKeys) {
    const int count = Min(all.end - first, kPlainKeys);
    PlainProducts<kKType>(p, tile, q, first, count, products);
    __syncthreads();
    const int key = first + lane;
    const bool seen = key >= mine.begin && key < Min(mine.end, all.end);
    const float s = seen ? score(products[warp][lane]) : -kInfinity;
    const float maximum = fmaxf(row.maximum, LanesMax(s));
    const float base = maximum == -kInfinity ? 0.0f : maximum;
    const float weight = seen ? exp2f(s - base) : 0.0f;
    const float factor = exp2f(row.maximum - base);
    row = {maximum, row.sum * factor + LanesSum(weight)};
    weights[warp][lane] = weight;
    if (lane == 0) factors[warp] = factor;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
#pragma unroll
      for (int r = 0; r < kPlainRows; ++r) values[i][r] *= factors[r];
    }
    for (int j = 0; j < count; ++j) {
      const KvRow<kVType> v = p.v == nullptr
                                  ? FindKey<kVType>(p, tile, p.k, p.k_page, p.dk, first + j)
                                  : FindKey<kVType>(p, tile, p.v, p.v_page, p.dv, first + j);
#pragma unroll
      for (int i = 0; i < kDims; ++i) {
        const int d = threadIdx.x + i * kPlainThreads;
        const float x = d < p.dv ? v[p.v_offset + d] : 0.0f;
#pragma unroll
        for (int r = 0; r < kPlainRows; ++r) {
          if (weights[r][j] != 0.0f) values[i][r] += weights[r][j] * x;
        }
      }
    }
    // The next products do not touch the weights, and the barrier after them comes before the next.
  }
  __syncthreads();
  if (warp < tile.rows) {
    const float factor = lane == 0 ? FinishRow(p, place, row, true) : 0.0f;
    if (lane == 0) factors[warp] = factor;
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kPlainRows; ++r) {
    if (r >= tile.rows) break;
    const TokenHead to = RowPlace(p, tile, r);
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = threadIdx.x + i * kPlainThreads;
      if (d >= p.dv) continue;
      // A row without keys may not touch what NaN the values hold.
      p.out[to.token * p.out_token + to.head * p.out_head + d] =
          factors[r] == 0.0f ? 0.0f : values[i][r] * factors[r];
    }
  }
}

}  // namespace tandem::cuda
