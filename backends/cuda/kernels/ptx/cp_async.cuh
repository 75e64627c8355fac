// Copies from global to shared memory that run while the thread goes on (sm_80 and later). The
// copies of a thread form groups, which complete in order.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// 16 bytes, past L1. Both addresses are multiples of 16.
__device__ __forceinline__ void CopyAsync16(u32 shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

// As above, but zeros if `!valid`; then nothing is read.
__device__ __forceinline__ void CopyAsync16OrZero(u32 shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}

template <int kBytes>
__device__ __forceinline__ void CopyAsyncSmallOrZero(u32 shared, const void* global, bool valid) {
  static_assert(kBytes == 4 || kBytes == 8);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(global),
               "n"(kBytes), "r"(valid ? kBytes : 0)
               : "memory");
}

__device__ __forceinline__ void CopyAsyncCommit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most kGroups of this thread's groups are under way.
template <int kGroups>
__device__ __forceinline__ void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

__device__ __forceinline__ void CopyAsyncWaitAll() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace tandem::cuda
