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

__device__ __forceinline__ void TmaLoad4D(void* shared, const TensorMap* map, u64* barrier, int x,
                                          int y, int z, int w, u64 hint = kL2EvictNormal) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(x), "r"(y), "r"(z), "r"(w), "l"(hint)
      : "memory");
}

__device__ __forceinline__ void TmaLoad5D(void* shared, const TensorMap* map, u64* barrier, int x,
                                          int y, int z, int w, int v, u64 hint = kL2EvictNormal) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(SharedAddress(shared)),
      "l"(map), "r"(SharedAddress(barrier)), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v), "l"(hint)
      : "memory");
}

__device__ __forceinline__ void TmaStore2D(const TensorMap* map, const void* shared, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(SharedAddress(shared)), "r"(x), "r"(y)
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

// A run of bytes, shared to global. Complete by BulkStoreCommit and BulkStoreWait.
__device__ __forceinline__ void BulkStore(void* global, const void* shared, u32 bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
               "r"(SharedAddress(shared)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void BulkStoreCommit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Waits until all but the newest `Pending` groups of stores have read their shared memory.
template <int Pending = 0>
__device__ __forceinline__ void BulkStoreWaitRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}
template <int Pending = 0>
__device__ __forceinline__ void BulkStoreWait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory");
}

// Brings a run of bytes into the L2.
__device__ __forceinline__ void BulkPrefetch(const void* global, u32 bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
}

// Brings the line of 128 bytes that holds an address into the L2, by the ordinary load path.
__device__ __forceinline__ void PrefetchLine(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global) : "memory");
}

}  // namespace tandem::cuda
