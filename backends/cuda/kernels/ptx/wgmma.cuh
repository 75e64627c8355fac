// Matrix products of a warpgroup on sm_90a (PTX ISA, "wgmma.mma_async"): D[64, N] += A[64, 16]
// B[16, N], f16 or bf16 operands, f32 sums.
//
// D: lane l of warp w (0 to 3) holds, for each 8 columns i, d[4i], d[4i+1] = row 16w + l/4, columns
// 8i + 2(l%4) and the next; d[4i+2], d[4i+3] = the same 8 rows below.
// A in registers: a[0] = row 16w + l/4, k = 2(l%4) and the next; a[1] = 8 rows below; a[2], a[3] =
// the same with k + 8. Two neighbouring 8-column pieces of D, packed in pairs, are such a fragment.
//
// Use: WgmmaFence; products; WgmmaCommit; WgmmaWait<n> before touching D (or A in registers).
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

// Before the first product, and after registers of D or A were written by ordinary instructions.
__device__ __forceinline__ void WgmmaFence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most `Pending` groups are running.
template <int Pending>
__device__ __forceinline__ void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

// Keeps the compiler from moving accesses to these registers across this point.
template <class T, int N>
__device__ __forceinline__ void WgmmaPin(T (&d)[N]) {
  if constexpr (kSame<T, float>) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+r"(d[i])::"memory");
  }
}

// Moves registers between warpgroups. Each warpgroup's role must be one branch of one if/else.
template <int Registers>
__device__ __forceinline__ void RegistersGrow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void RegistersShrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// Descriptor of a matrix in shared memory with 128-byte swizzle, as TMA writes it: rows of 128
// bytes (64 elements), 8 rows to an atom of 1024 bytes, base of the matrix 1024-byte aligned. K
// contiguous (A, and B without transposition): `stride` = bytes from 8 rows to the next 8 (1024 if
//   dense); `leading` is not used. Advance k by 16 elements: 32 bytes; by 64: to the next slice.
// N contiguous (B transposed: a row is one k): `stride` = bytes from 8 k to the next 8 (1024 if
// dense),
//   `leading` = bytes from 64 columns to the next 64. Advance k by 16: 2048 bytes.
__device__ __forceinline__ u64 WgmmaDescriptor(u32 address, u32 leading, u32 stride) {
  return static_cast<u64>((address & 0x3ffffu) >> 4) | (static_cast<u64>(leading >> 4) << 16) |
         (static_cast<u64>(stride >> 4) << 32) | (1ull << 62);
}
// The same matrix `bytes` further on.
__device__ __forceinline__ u64 WgmmaAdvance(u64 descriptor, u32 bytes) {
  return descriptor + (bytes >> 4);
}

}  // namespace tandem::cuda
