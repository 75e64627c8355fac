// The copy engine of sm_90 (PTX ISA, "cp.async.bulk"): tensor boxes and plain runs of bytes. One
// thread issues a copy. Shared addresses of tensor boxes are 128-byte aligned (1024 with 128-byte
// swizzle); plain copies have 16-byte aligned addresses and sizes. Coordinates are in elements,
// innermost first.
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

__device__ __forceinline__ void TmaPrefetchDescriptor(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// What the L2 does with lines that a copy brings.
inline constexpr u64 kL2EvictNormal = 0x1000000000000000ull;
inline constexpr u64 kL2EvictFirst = 0x12f0000000000000ull;
inline constexpr u64 kL2EvictLast = 0x14f0000000000000ull;

__device__ __forceinline__ void TmaLoad2D(void* shared, const TensorMap* map, u64* barrier, int x,
                                          int y, u64 hint = kL2EvictNormal) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(x), "r"(y), "l"(hint)
      : "memory");
}

__device__ __forceinline__ void TmaLoad3D(void* shared, const TensorMap* map, u64* barrier, int x,
                                          int y, int z, u64 hint = kL2EvictNormal) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(x), "r"(y), "r"(z), "l"(hint)
      : "memory");
}

// A run of bytes, global to shared.
__device__ __forceinline__ void BulkLoad(void* shared, const void* global, u32 bytes, u64* barrier,
                                         u64 hint = kL2EvictNormal) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], %2, [%3], %4;" ::"r"(SharedAddress(shared)),
      "l"(global), "r"(bytes), "r"(SharedAddress(barrier)), "l"(hint)
      : "memory");
}

// Brings the line of 128 bytes that holds an address into the L2, by the ordinary load path.
__device__ __forceinline__ void PrefetchLine(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global) : "memory");
}

}  // namespace tandem::cuda
