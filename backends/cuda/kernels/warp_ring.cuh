// A ring of stages in shared memory through which one warp streams runs of bytes: by the copy
// engine where there is one, else by asynchronous copies of its lanes.
#pragma once

#include "base.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

// All lanes call every function together: first Fetch kStages times, then, for each run, Wait and,
// when the bytes have been used, Fetch again, which overwrites them.
template <int kStages, int kStageBytes>
class WarpRing {
 public:
  static constexpr int kBytes = kStages * kStageBytes;

  // `stages`: kBytes, 16-byte aligned; `barriers`: kStages of this warp.
  __device__ __forceinline__ WarpRing(u8* stages, u64* barriers) : stages_(stages) {
#if __CUDA_ARCH__ >= 900
    barriers_ = barriers;
    if (LaneIndex() == 0) {
      for (int i = 0; i < kStages; ++i) MbarrierInit(barriers + i, 1);
      MbarrierInitFence();
    }
    __syncwarp();
#endif
  }

  // `bytes`: a multiple of 16, or 0: nothing more will be waited for.
  __device__ __forceinline__ void Fetch(const u8* from, u32 bytes) {
    u8* to = stages_ + stage_ * kStageBytes;
    __syncwarp();
#if __CUDA_ARCH__ >= 900
    if (LaneIndex() == 0 && bytes > 0) {
      MbarrierArriveExpect(barriers_ + stage_, bytes);
      BulkLoad(to, from, bytes, barriers_ + stage_, kL2EvictFirst);
    }
#else
    for (u32 i = LaneIndex() * 16; i < bytes; i += kWarp * 16) {
      CopyAsync16(SharedAddress(to) + i, from + i);
    }
    CopyAsyncCommit();
#endif
    if (++stage_ == kStages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

  // The bytes of the oldest run.
  __device__ __forceinline__ const u8* Wait() {
#if __CUDA_ARCH__ >= 900
    MbarrierWait(barriers_ + stage_, parity_);
#else
    CopyAsyncWait<kStages - 1>();
    __syncwarp();
#endif
    return stages_ + stage_ * kStageBytes;
  }

 private:
  u8* stages_;
#if __CUDA_ARCH__ >= 900
  u64* barriers_;
#endif
  int stage_ = 0;
  u32 parity_ = 1;  // 0 after the first round of Fetch
};

}  // namespace tandem::cuda
