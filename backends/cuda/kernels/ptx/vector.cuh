// Loads and stores of 16 bytes; the address is a multiple of 16.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

__device__ __forceinline__ void StoreGlobal4(float* p, const float4& x) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p), "f"(x.x), "f"(x.y), "f"(x.z),
               "f"(x.w)
               : "memory");
}

__device__ __forceinline__ float4 LoadGlobal4(const float* p) {
  float4 x;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "l"(p)
               : "memory");
  return x;
}

}  // namespace tandem::cuda
