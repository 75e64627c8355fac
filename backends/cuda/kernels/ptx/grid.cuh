// Programmatic dependent launch (sm_90 and later): a kernel that was launched so may start before
// the one ahead of it has ended. Nothing happens on other GPUs and in kernels launched as usual.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// Waits until the kernels ahead have ended and their writes can be seen.
__device__ __forceinline__ void GridDependencyWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel start, once all blocks have called this or ended.
__device__ __forceinline__ void GridDependencyTrigger() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace tandem::cuda
