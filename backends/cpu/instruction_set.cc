#include "backends/cpu/instruction_set.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace tandem::cpu {

namespace avx2 {
ProductFn* FindBlockProduct(DType type, WeightLayout layout);
ProductFn* FindPlainProduct(DType type);
MultiplyFn Multiply;
AddTileFn AddTile;
TransposeFn Transpose;
AddPanelTileFn AddPanelTile;
ScorePanelTileFn ScorePanelTile;
BlendPanelTileFn BlendPanelTile;
}  // namespace avx2
namespace avx512 {
ProductFn* FindBlockProduct(DType type, WeightLayout layout);
ProductFn* FindPlainProduct(DType type);
MultiplyFn Multiply;
AddTileFn AddTile;
TransposeFn Transpose;
AddPanelTileFn AddPanelTile;
ScorePanelTileFn ScorePanelTile;
BlendPanelTileFn BlendPanelTile;
}  // namespace avx512
namespace amx {
ProductFn* FindBlockProduct(DType type, WeightLayout layout);
ProductFn* FindPlainProduct(DType type);
MultiplyFn Multiply;
AddTileFn AddTile;
TransposeFn Transpose;
AddPanelTileFn AddPanelTile;
ScorePanelTileFn ScorePanelTile;
BlendPanelTileFn BlendPanelTile;
}  // namespace amx

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

// The states that the system saves, or 0 if it does not tell (Intel 64 manual, XGETBV).
uint64_t SavedStates() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kOsxsave = 1u << 27;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsxsave) == 0) return 0;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (uint64_t{edx} << 32) | eax;
}

// Linux gives the large state of tiles only to processes that ask for it, once.
bool AskForTiles() {
  constexpr long kRequestState = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;          // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
}

bool HasAmx() {
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;  // leaf 7, EDX
  constexpr uint64_t kTileStates = uint64_t{3} << 17;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!HasAvx512() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & kTile) == 0 || (edx & kInt8) == 0) return false;
  return (SavedStates() & kTileStates) == kTileStates && AskForTiles();
}

constexpr InstructionSet kSets[] = {
    {"avx2", "AVX2", &HasAvx2, &avx2::FindBlockProduct, &avx2::FindPlainProduct, &avx2::Multiply,
     &avx2::AddTile, &avx2::Transpose, &avx2::AddPanelTile, &avx2::ScorePanelTile,
     &avx2::BlendPanelTile},
    {"avx512", "AVX-512 with VNNI", &HasAvx512, &avx512::FindBlockProduct,
     &avx512::FindPlainProduct, &avx512::Multiply, &avx512::AddTile, &avx512::Transpose,
     &avx512::AddPanelTile, &avx512::ScorePanelTile, &avx512::BlendPanelTile},
    {"amx", "AVX-512 with VNNI, AMX", &HasAmx, &amx::FindBlockProduct, &amx::FindPlainProduct,
     &amx::Multiply, &amx::AddTile, &amx::Transpose, &amx::AddPanelTile, &amx::ScorePanelTile,
     &amx::BlendPanelTile},
};

}  // namespace

std::span<const InstructionSet> InstructionSets() { return kSets; }

}  // namespace tandem::cpu
