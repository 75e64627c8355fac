// Programmatic dependent launch (PTX ISA, "griddepcontrol"; sm_90): a kernel may start before the
// one ahead of it has ended. Without it both do nothing.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// Waits until the kernels ahead have ended and their writes are visible.
__device__ __forceinline__ void WaitForKernelsAhead() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel start once every block has come here or ended.
__device__ __forceinline__ void LetNextKernelStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Both, for kernels that have nothing to do before: the next one is launched while this one runs. In
// this order, so that whatever a kernel does before it waits, only the one right ahead of it runs.
__device__ __forceinline__ void TakeTurn() {
  WaitForKernelsAhead();
  LetNextKernelStart();
}

}  // namespace tandem::cuda
