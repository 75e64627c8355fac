// Barriers: mbarrier objects in shared memory, which also count the bytes of asynchronous copies
// (PTX ISA, "mbarrier"), and the named barriers of a block.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

__device__ __forceinline__ void MbarrierInit(u64* barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(barrier)),
               "r"(arrivals));
}

// Makes initialised barriers visible to the copy engine (and to a cluster). Follow by a block
// barrier.
__device__ __forceinline__ void MbarrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void MbarrierArrive(u64* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(barrier)) : "memory");
}

// Arrives once and adds `bytes` to what copies must still bring before the phase completes.
__device__ __forceinline__ void MbarrierArriveExpect(u64* barrier, u32 bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(barrier)),
      "r"(bytes)
      : "memory");
}

// Whether the phase of that parity has completed; may suspend the thread for a while.
__device__ __forceinline__ bool MbarrierTryWait(u64* barrier, u32 parity) {
  u32 done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(SharedAddress(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}

__device__ __forceinline__ void MbarrierWait(u64* barrier, u32 parity) {
  while (!MbarrierTryWait(barrier, parity)) {
  }
}

// Orders this thread's ordinary writes to shared memory before later reads of it by the tensor
// cores and the copy engine (the asynchronous proxy).
__device__ __forceinline__ void FenceAsyncProxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Named barrier `id` (1 to 15; 0 is __syncthreads) among `threads` threads, whole warps.
__device__ __forceinline__ void NamedBarrierSync(u32 id, u32 threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void NamedBarrierArrive(u32 id, u32 threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Position in a ring of `Stages` buffers, with the parity to wait for.
template <int Stages>
struct PipelineState {
  int stage = 0;
  u32 parity = 0;
  __device__ __forceinline__ void Advance() {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace tandem::cuda
