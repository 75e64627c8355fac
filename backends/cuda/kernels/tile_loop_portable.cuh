// The main loop of products with weights in tiles on sm_80 and later, with mma.sync: four warps,
// each of which multiplies two panels of 16 rows of weights with the block's tokens. The tokens
// pass through a ring in shared memory; the weights go from memory to registers, one step ahead.
// Sums are dealt to lanes as by a warpgroup's products (tile_loop.cuh).
#pragma once

#include "ptx/cp_async.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/mma.cuh"
#include "tile_steps.cuh"
#include "tile_weights.cuh"

namespace tandem::cuda {

inline constexpr int kPortableStages = 4;
inline constexpr int kPortablePanels = 2;

template <int kTokens>
struct alignas(128) PortableRing {
  u8 stages[kPortableStages][kTokens * kStepK * 2];
};

// Rows of 128 bytes, in which the eight pieces of 16 bytes are exchanged by the row's number, so
// that neighbouring rows lie in different banks.
__device__ __forceinline__ u32 SwizzledPiece(int row, int piece) {
  return row * (kStepK * 2) + ((piece ^ (row & 7)) * 16);
}

// The tokens of a product: rows [first, first + kTokens) of `rows` rows of `row_bytes` at `data`.
struct PortableTokens {
  const u8* data;
  i64 row_bytes;
  int first;
  int rows;
};

template <class Weights, int kTokens>
class PortableLoop {
 public:
  __device__ __forceinline__ PortableLoop(PortableRing<kTokens>& ring, const PortableTokens& tokens,
                                          const u8* const (&panels)[kPortablePanels], int tiles)
      : ring_(SharedAddress(ring.stages)), tokens_(tokens), tiles_(tiles) {
#pragma unroll
    for (int m = 0; m < kPortablePanels; ++m) panels_[m] = panels[m];
  }

  __device__ __forceinline__ void Multiply(float (&sums)[kPortablePanels][kTokens / 2]) {
#pragma unroll
    for (int m = 0; m < kPortablePanels; ++m) {
#pragma unroll
      for (int i = 0; i < kTokens / 2; ++i) sums[m][i] = 0.0f;
    }
    const int steps = CeilDiv(tiles_, kStepTiles);
    for (int i = 0; i < kPortableStages - 1; ++i) Bring(i, steps);
    for (int step = 0; step < steps; ++step) {
      CopyAsyncWait<kPortableStages - 2>();
      __syncthreads();  // the step's tokens are there, and those of the step before are read
      Bring(step + kPortableStages - 1, steps);
#pragma unroll
      for (int slot = 0; slot < kStepTiles; ++slot) {
        const int tile = step * kStepTiles + slot;
        if (tile < tiles_) MultiplySlot(tile, ring_ + StageOffset(step), slot, sums);
      }
    }
    CopyAsyncWaitAll();
    __syncthreads();
  }

 private:
  __device__ static __forceinline__ u32 StageOffset(int step) {
    return step % kPortableStages * (kTokens * kStepK * 2);
  }

  // Begins to copy the tokens of a step, all threads together.
  __device__ __forceinline__ void Bring(int step, int steps) {
    if (step < steps) {
#pragma unroll
      for (int i = threadIdx.x; i < kTokens * 8; i += kWarpgroup) {
        const int row = i / 8, piece = i % 8;
        const u8* from = tokens_.data +
                         Min(tokens_.first + row, tokens_.rows - 1) * tokens_.row_bytes +
                         step * (kStepK * 2) + piece * 16;
        CopyAsync16(ring_ + StageOffset(step) + SwizzledPiece(row, piece), from);
      }
    }
    CopyAsyncCommit();
  }

  // 32 k.
  __device__ __forceinline__ void MultiplySlot(int tile, u32 stage, int slot,
                                               float (&sums)[kPortablePanels][kTokens / 2]) {
    const int lane = LaneIndex();
    u32 a[kPortablePanels][8];
#pragma unroll
    for (int m = 0; m < kPortablePanels; ++m) {
      const u8* unit =
          panels_[m] + static_cast<i64>(tile / Weights::kUnitTiles) * Weights::kUnitBytes;
      weights_.Unpack(Weights::Load(unit, tile % Weights::kUnitTiles, lane), a[m]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int pair = 0; pair < kTokens / 16; ++pair) {
        // Matrix j: tokens 8 (j / 2) of the pair of pieces, elements 8 (j % 2) of the 16.
        const int token = pair * 16 + lane / 16 * 8 + lane % 8;
        u32 b[4];
        LoadMatrix4(b, stage + SwizzledPiece(token, slot * 4 + half * 2 + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < kPortablePanels; ++m) {
          const u32 fragment[4] = {a[m][4 * half], a[m][4 * half + 1], a[m][4 * half + 2],
                                   a[m][4 * half + 3]};
          Accumulate(&sums[m][pair * 8], fragment, b[0], b[1]);
          Accumulate(&sums[m][pair * 8 + 4], fragment, b[2], b[3]);
        }
      }
    }
  }

  __device__ static __forceinline__ void Accumulate(float* sums, const u32 (&a)[4], u32 b0,
                                                    u32 b1) {
    float d[4] = {sums[0], sums[1], sums[2], sums[3]};
    MmaF16(d, a, b0, b1);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = d[i];
  }

  Weights weights_;
  u32 ring_;
  PortableTokens tokens_;
  const u8* panels_[kPortablePanels];
  int tiles_;
};

}  // namespace tandem::cuda
