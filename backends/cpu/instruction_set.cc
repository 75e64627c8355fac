#include "backends/cpu/instruction_set.h"

namespace tandem::cpu {

namespace avx2 {
ProductFn* FindBlockProduct(DType type);
ProductFn* FindPlainProduct(DType type);
MultiplyFn Multiply;
AddTileFn AddTile;
}  // namespace avx2
namespace avx512 {
ProductFn* FindBlockProduct(DType type);
ProductFn* FindPlainProduct(DType type);
MultiplyFn Multiply;
AddTileFn AddTile;
}  // namespace avx512

namespace {

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

constexpr InstructionSet kSets[] = {
    {"avx2", "AVX2", &HasAvx2, &avx2::FindBlockProduct, &avx2::FindPlainProduct, &avx2::Multiply,
     &avx2::AddTile},
    {"avx512", "AVX-512 with VNNI", &HasAvx512, &avx512::FindBlockProduct,
     &avx512::FindPlainProduct, &avx512::Multiply, &avx512::AddTile},
};

}  // namespace

std::span<const InstructionSet> InstructionSets() { return kSets; }

}  // namespace tandem::cpu
