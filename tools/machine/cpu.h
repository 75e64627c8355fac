// What this CPU is.
#pragma once

#include <cstdint>
#include <string>

namespace tandem {

struct CpuFeatures {
  bool avx2 = false;  // and FMA
  bool avx512 = false;
  bool avx512_vnni = false;
  bool amx_int8 = false, amx_bf16 = false;  // and the system lets this process use tiles
};

// What this CPU has, and the system saves when it changes threads.
CpuFeatures DetectCpuFeatures();

// As the CPU calls itself: "AMD EPYC 9655 96-Core Processor"; "unknown" if it does not.
std::string CpuModel();

// Threads that this process may run at once.
int CpuCores();

// Bytes of all caches of the last level together; 64 MiB if the system does not tell.
int64_t LastLevelCacheBytes();

}  // namespace tandem
