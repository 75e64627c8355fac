#include "tools/machine/cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>
#include <thread>
#include <utility>

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kUnknownCache = int64_t{64} << 20;

// The states that the system saves, or 0 if it does not tell (Intel 64 manual, XGETBV).
uint64_t SavedStates() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kOsxsave = 1u << 27;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kOsxsave) == 0) return 0;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (uint64_t{edx} << 32) | eax;
}

// Linux gives the large state of tiles only to those who ask for it.
bool AskForTiles() {
  constexpr long kRequestState = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;          // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestState, kTileData) == 0;
}

void DetectAmx(CpuFeatures& features) {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;  // leaf 7, EDX
  constexpr uint64_t kTileStates = uint64_t{3} << 17;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & kTile) == 0) return;
  if ((SavedStates() & kTileStates) != kTileStates || !AskForTiles()) return;
  features.amx_int8 = (edx & kInt8) != 0;
  features.amx_bf16 = (edx & kBf16) != 0;
}

std::string FirstLine(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// "32768K" or "1M" in bytes; 0 for anything else.
int64_t ParseSize(const std::string& text) {
  char* end = nullptr;
  const int64_t number = std::strtoll(text.c_str(), &end, 10);
  if (number <= 0) return 0;
  return *end == 'K' ? number << 10 : *end == 'M' ? number << 20 : number;
}

}  // namespace

CpuFeatures DetectCpuFeatures() {
  CpuFeatures features;
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  features.avx512 = __builtin_cpu_supports("avx512f");
  features.avx512_vnni = features.avx512 && __builtin_cpu_supports("avx512vnni");
  DetectAmx(features);
  return features;
}

std::string CpuModel() {
  constexpr unsigned kFirst = 0x80000002, kLast = 0x80000004;
  char name[49] = {};
  if (__get_cpuid_max(0x80000000, nullptr) < kLast) return "unknown";
  for (unsigned leaf = kFirst; leaf <= kLast; ++leaf) {
    unsigned words[4] = {};
    __get_cpuid(leaf, &words[0], &words[1], &words[2], &words[3]);
    std::memcpy(name + 16 * (leaf - kFirst), words, sizeof(words));
  }
  std::string_view text(name);
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  return text.empty() ? "unknown" : std::string(text);
}

int CpuCores() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

int64_t LastLevelCacheBytes() {
  // By level and the CPUs that share it, as each of them lists the same cache.
  std::map<std::pair<int64_t, std::string>, int64_t> caches;
  std::error_code error;
  for (const auto& cpu : fs::directory_iterator("/sys/devices/system/cpu", error)) {
    for (const auto& index : fs::directory_iterator(cpu.path() / "cache", error)) {
      const int64_t level = ParseSize(FirstLine(index.path() / "level"));
      if (level == 0) continue;
      caches[{level, FirstLine(index.path() / "shared_cpu_list")}] =
          ParseSize(FirstLine(index.path() / "size"));
    }
  }
  int64_t bytes = 0;
  for (const auto& [key, size] : caches) {
    if (key.first == caches.rbegin()->first.first) bytes += size;
  }
  return bytes > 0 ? bytes : kUnknownCache;
}

}  // namespace tandem
