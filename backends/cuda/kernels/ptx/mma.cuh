// Warp-wide matrix products, D += A B: A row-major [16, k], B column-major [k, 8], D [16, 8].
//
// Lane l holds, with g = l / 4 and t = l % 4 (PTX ISA, "Warp-level matrix instructions"):
//   D:          d[0], d[1] = row g, columns 2t, 2t + 1; d[2], d[3] = row g + 8
//   16-bit A:   a[0] = row g, columns 2t, 2t + 1; a[1] = row g + 8; a[2], a[3] = columns + 8
//   16-bit B:   b[0] = rows 2t, 2t + 1 of column g; b[1] = rows + 8
//   s8 A:       a[0] = row g, columns 4t..4t+3; a[1] = row g + 8; a[2], a[3] = columns + 16
//   s8 B:       b[0] = rows 4t..4t+3 of column g; b[1] = rows + 16
//   tf32 A:     a[0] = row g, column t; a[1] = row g + 8; a[2], a[3] = column + 4
//   tf32 B:     b[0] = row t of column g; b[1] = row t + 4
#pragma once

#include "../base.cuh"

namespace tandem::cuda {

__device__ __forceinline__ void MmaF16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Exact: the sums are i32.
__device__ __forceinline__ void MmaS8(i32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same with k = 16: A is a[0], a[1] of above, B is b[0].
__device__ __forceinline__ void MmaS8(i32 (&d)[4], u32 a0, u32 a1, u32 b0) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a0), "r"(a1), "r"(b0));
}

// The operands are f32 bits, of which the lower 13 are ignored.
__device__ __forceinline__ void MmaTF32(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Loads four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix
// l / 8 (16 bytes, aligned); it gets elements 2t, 2t + 1 of row g of each. Rows that the tensor
// cores read next to each other should lie in different banks.
__device__ __forceinline__ void LoadMatrix4(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// Two matrices; lanes 0..15 give the addresses.
__device__ __forceinline__ void LoadMatrix2(u32 (&r)[2], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}

// Transposed: the lane gets elements g of rows 2t and 2t + 1.
__device__ __forceinline__ void LoadMatrix4Transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// The reverse of LoadMatrix4Transposed (sm_90): elements g of rows 2t and 2t + 1 of each.
__device__ __forceinline__ void StoreMatrix4Transposed(const u32 (&r)[4], u32 address) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   address),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

}  // namespace tandem::cuda
