// A ring of stages in shared memory through which one warp streams runs of bytes: by the copy
// engine where there is one, else by asynchronous copies of its lanes.
#pragma once

#include "base.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/tma.cuh"

namespace tandem::cuda {

// All lanes call every function together. Fetch and Wait take the stages in turn; call Fetch (or
// FetchNothing) exactly kStages times more often than Release.
template <int kStages>
class WarpRing {
 public:
  // `stages`: kStages times `stage_bytes`, 16-byte aligned; `barriers`: kStages of this warp.
  __device__ __forceinline__ WarpRing(u8* stages, u64* barriers, int stage_bytes, int lane)
      : stages_(stages), barriers_(barriers), stage_bytes_(stage_bytes), lane_(lane) {
#if __CUDA_ARCH__ >= 900
    if (lane == 0) {
      for (int i = 0; i < kStages; ++i) MbarrierInit(barriers + i, 1);
      MbarrierInitFence();
    }
    __syncwarp();
#endif
  }

  // `bytes`: a multiple of 16.
  __device__ __forceinline__ void Fetch(const u8* from, u32 bytes) {
    u8* to = stages_ + fetch_.stage * stage_bytes_;
#if __CUDA_ARCH__ >= 900
    if (lane_ == 0) {
      MbarrierArriveExpect(barriers_ + fetch_.stage, bytes);
      BulkLoad(to, from, bytes, barriers_ + fetch_.stage, kL2EvictFirst);
    }
#else
    for (u32 i = lane_ * 16; i < bytes; i += kWarp * 16)
      CopyAsync16(SharedAddress(to) + i, from + i);
    CopyAsyncCommit();
#endif
    fetch_.Advance();
  }
  __device__ __forceinline__ void FetchNothing() {
#if __CUDA_ARCH__ < 900
    CopyAsyncCommit();
#endif
    fetch_.Advance();
  }

  // The bytes of the oldest stage.
  __device__ __forceinline__ const u8* Wait() {
#if __CUDA_ARCH__ >= 900
    MbarrierWait(barriers_ + use_.stage, use_.parity);
#else
    CopyAsyncWait<kStages - 1>();
    __syncwarp();
#endif
    return stages_ + use_.stage * stage_bytes_;
  }
  // The lanes have read it: the next Fetch may overwrite it.
  __device__ __forceinline__ void Release() {
    __syncwarp();
    use_.Advance();
  }

 private:
  u8* stages_;
  u64* barriers_;
  int stage_bytes_, lane_;
  PipelineState<kStages> fetch_, use_;
};

}  // namespace tandem::cuda
