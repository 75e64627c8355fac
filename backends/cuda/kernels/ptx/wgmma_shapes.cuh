// The products of a warpgroup (wgmma, sm_90a) for each N, 64 x N x 16 of f16 or bf16 numbers with f32
// sums. The registers of an instruction have to be written out, so there is a struct for each N.
#pragma once

#include "../ptx/wgmma.cuh"

namespace tandem::cuda {

// Wgmma<N>::Shared and ::Registers: A from shared memory or from registers. T: f16 or bf16; TransB:
// B has N contiguous. With accumulate == false, D is overwritten.
template <int N>
struct Wgmma;

#define TANDEM_WGMMA_SHARED(SHAPE, TYPE, REGISTERS, A, B, P, TA, ...)                             \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                              \
               ", 0;\n"                                                                           \
               "wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPE "." TYPE " {" REGISTERS "}, " A \
               ", " B ", p, 1, 1, 0, " TA ";\n}\n"                                                \
               : __VA_ARGS__                                                                      \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(TransB ? 1 : 0))
#define TANDEM_WGMMA_REGISTERS(SHAPE, TYPE, REGISTERS, A, B, P, TB, ...)                           \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                               \
               ", 0;\n"                                                                            \
               "wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPE "." TYPE " {" REGISTERS "}, {" A \
               "}, " B ", p, 1, 1, " TB ";\n}\n"                                                   \
               : __VA_ARGS__                                                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b),                               \
                 "r"(static_cast<int>(accumulate)), "n"(TransB ? 1 : 0))

template <>
struct Wgmma<16> {
#define TANDEM_REGISTERS "%0, %1, %2, %3, %4, %5, %6, %7"
#define TANDEM_OPERANDS \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[8], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n16k16", "f16", TANDEM_REGISTERS, "%8", "%9", "%10", "%11",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n16k16", "bf16", TANDEM_REGISTERS, "%8", "%9", "%10", "%11",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[8], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n16k16", "f16", TANDEM_REGISTERS, "%8, %9, %10, %11", "%12", "%13",
                             "%14", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n16k16", "bf16", TANDEM_REGISTERS, "%8, %9, %10, %11", "%12",
                             "%13", "%14", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<32> {
#define TANDEM_REGISTERS "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[16], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n32k16", "f16", TANDEM_REGISTERS, "%16", "%17", "%18", "%19",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n32k16", "bf16", TANDEM_REGISTERS, "%16", "%17", "%18", "%19",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[16], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n32k16", "f16", TANDEM_REGISTERS, "%16, %17, %18, %19", "%20",
                             "%21", "%22", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n32k16", "bf16", TANDEM_REGISTERS, "%16, %17, %18, %19", "%20",
                             "%21", "%22", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<48> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[24], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n48k16", "f16", TANDEM_REGISTERS, "%24", "%25", "%26", "%27",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n48k16", "bf16", TANDEM_REGISTERS, "%24", "%25", "%26", "%27",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[24], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n48k16", "f16", TANDEM_REGISTERS, "%24, %25, %26, %27", "%28",
                             "%29", "%30", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n48k16", "bf16", TANDEM_REGISTERS, "%24, %25, %26, %27", "%28",
                             "%29", "%30", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<64> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[32], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n64k16", "f16", TANDEM_REGISTERS, "%32", "%33", "%34", "%35",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n64k16", "bf16", TANDEM_REGISTERS, "%32", "%33", "%34", "%35",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[32], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n64k16", "f16", TANDEM_REGISTERS, "%32, %33, %34, %35", "%36",
                             "%37", "%38", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n64k16", "bf16", TANDEM_REGISTERS, "%32, %33, %34, %35", "%36",
                             "%37", "%38", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<80> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[40], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n80k16", "f16", TANDEM_REGISTERS, "%40", "%41", "%42", "%43",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n80k16", "bf16", TANDEM_REGISTERS, "%40", "%41", "%42", "%43",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[40], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n80k16", "f16", TANDEM_REGISTERS, "%40, %41, %42, %43", "%44",
                             "%45", "%46", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n80k16", "bf16", TANDEM_REGISTERS, "%40, %41, %42, %43", "%44",
                             "%45", "%46", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<96> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[48], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n96k16", "f16", TANDEM_REGISTERS, "%48", "%49", "%50", "%51",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n96k16", "bf16", TANDEM_REGISTERS, "%48", "%49", "%50", "%51",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[48], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n96k16", "f16", TANDEM_REGISTERS, "%48, %49, %50, %51", "%52",
                             "%53", "%54", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n96k16", "bf16", TANDEM_REGISTERS, "%48, %49, %50, %51", "%52",
                             "%53", "%54", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<112> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[56], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n112k16", "f16", TANDEM_REGISTERS, "%56", "%57", "%58", "%59",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n112k16", "bf16", TANDEM_REGISTERS, "%56", "%57", "%58", "%59",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[56], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n112k16", "f16", TANDEM_REGISTERS, "%56, %57, %58, %59", "%60",
                             "%61", "%62", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n112k16", "bf16", TANDEM_REGISTERS, "%56, %57, %58, %59", "%60",
                             "%61", "%62", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<128> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[64], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n128k16", "f16", TANDEM_REGISTERS, "%64", "%65", "%66", "%67",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n128k16", "bf16", TANDEM_REGISTERS, "%64", "%65", "%66", "%67",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[64], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n128k16", "f16", TANDEM_REGISTERS, "%64, %65, %66, %67", "%68",
                             "%69", "%70", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n128k16", "bf16", TANDEM_REGISTERS, "%64, %65, %66, %67", "%68",
                             "%69", "%70", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<144> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[72], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n144k16", "f16", TANDEM_REGISTERS, "%72", "%73", "%74", "%75",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n144k16", "bf16", TANDEM_REGISTERS, "%72", "%73", "%74", "%75",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[72], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n144k16", "f16", TANDEM_REGISTERS, "%72, %73, %74, %75", "%76",
                             "%77", "%78", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n144k16", "bf16", TANDEM_REGISTERS, "%72, %73, %74, %75", "%76",
                             "%77", "%78", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<160> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),  \
      "+f"(d[78]), "+f"(d[79])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[80], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n160k16", "f16", TANDEM_REGISTERS, "%80", "%81", "%82", "%83",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n160k16", "bf16", TANDEM_REGISTERS, "%80", "%81", "%82", "%83",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[80], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n160k16", "f16", TANDEM_REGISTERS, "%80, %81, %82, %83", "%84",
                             "%85", "%86", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n160k16", "bf16", TANDEM_REGISTERS, "%80, %81, %82, %83", "%84",
                             "%85", "%86", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<176> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, " \
  "%87"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),  \
      "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),  \
      "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[88], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n176k16", "f16", TANDEM_REGISTERS, "%88", "%89", "%90", "%91",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n176k16", "bf16", TANDEM_REGISTERS, "%88", "%89", "%90", "%91",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[88], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n176k16", "f16", TANDEM_REGISTERS, "%88, %89, %90, %91", "%92",
                             "%93", "%94", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n176k16", "bf16", TANDEM_REGISTERS, "%88, %89, %90, %91", "%92",
                             "%93", "%94", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<192> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, " \
  "%87, %88, %89, %90, %91, %92, %93, %94, %95"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),  \
      "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),  \
      "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]),  \
      "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[96], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n192k16", "f16", TANDEM_REGISTERS, "%96", "%97", "%98", "%99",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n192k16", "bf16", TANDEM_REGISTERS, "%96", "%97", "%98", "%99",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[96], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n192k16", "f16", TANDEM_REGISTERS, "%96, %97, %98, %99", "%100",
                             "%101", "%102", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n192k16", "bf16", TANDEM_REGISTERS, "%96, %97, %98, %99", "%100",
                             "%101", "%102", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<224> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, " \
  "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, "   \
  "%103, %104, %105, %106, %107, %108, %109, %110, %111"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),  \
      "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),  \
      "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]),  \
      "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]),  \
      "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]),          \
      "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]),         \
      "+f"(d[111])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[112], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n224k16", "f16", TANDEM_REGISTERS, "%112", "%113", "%114", "%115",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n224k16", "bf16", TANDEM_REGISTERS, "%112", "%113", "%114", "%115",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[112], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n224k16", "f16", TANDEM_REGISTERS, "%112, %113, %114, %115",
                             "%116", "%117", "%118", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n224k16", "bf16", TANDEM_REGISTERS, "%112, %113, %114, %115",
                             "%116", "%117", "%118", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

template <>
struct Wgmma<256> {
#define TANDEM_REGISTERS                                                                  \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, " \
  "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, " \
  "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, " \
  "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, " \
  "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, "   \
  "%103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, "  \
  "%117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define TANDEM_OPERANDS                                                                           \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
      "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]),    \
      "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),  \
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]),  \
      "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),  \
      "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]),  \
      "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]),  \
      "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),  \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),  \
      "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]),  \
      "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]),  \
      "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]),  \
      "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]),  \
      "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]),  \
      "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]),          \
      "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]),         \
      "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]),         \
      "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]),         \
      "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
  template <class T, bool TransB>
  static __device__ __forceinline__ void Shared(float (&d)[128], u64 a, u64 b,
                                                bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_SHARED("m64n256k16", "f16", TANDEM_REGISTERS, "%128", "%129", "%130", "%131",
                          TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_SHARED("m64n256k16", "bf16", TANDEM_REGISTERS, "%128", "%129", "%130", "%131",
                          TANDEM_OPERANDS);
    }
  }
  template <class T, bool TransB>
  static __device__ __forceinline__ void Registers(float (&d)[128], const u32 (&a)[4], u64 b,
                                                   bool accumulate = true) {
    if constexpr (kSame<T, f16>) {
      TANDEM_WGMMA_REGISTERS("m64n256k16", "f16", TANDEM_REGISTERS, "%128, %129, %130, %131",
                             "%132", "%133", "%134", TANDEM_OPERANDS);
    } else {
      TANDEM_WGMMA_REGISTERS("m64n256k16", "bf16", TANDEM_REGISTERS, "%128, %129, %130, %131",
                             "%132", "%133", "%134", TANDEM_OPERANDS);
    }
  }
#undef TANDEM_REGISTERS
#undef TANDEM_OPERANDS
};

#undef TANDEM_WGMMA_SHARED
#undef TANDEM_WGMMA_REGISTERS

}  // namespace tandem::cuda
