#include "tools/machine/measure.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "backends/device/status.h"
#include "tools/machine/cpu.h"
#include "tools/machine/loops.h"
#include "tools/machine/team.h"

namespace tandem {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kLeastBytes = int64_t{256} << 20;

// Memory in huge pages where the system has them, written once so that it is there.
class Slice {
 public:
  static std::shared_ptr<Slice> Create(size_t bytes) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
    madvise(data, bytes, MADV_HUGEPAGE);  // slower without, but not wrong
    std::memset(data, 1, bytes);
    return std::shared_ptr<Slice>(new Slice(data, bytes));
  }
  ~Slice() { munmap(data_, bytes_); }
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;

  const void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Slice(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

// Makes the compiler believe that the value is used.
template <typename T>
void Use(T value) {
  asm volatile("" : : "g"(value) : "memory");
}

// A loop of loops.h.
struct MultiplyLoop {
  const char* type;
  const char* instructions;
  float (*run)(int64_t turns);
  int operations;  // of one turn
  bool present;
};

std::vector<MultiplyLoop> MultiplyLoops(const CpuFeatures& cpu) {
  using namespace machine;
  std::vector<MultiplyLoop> loops = {
      {"int8", "AVX2", &Int8Avx2, kInt8Avx2Operations, cpu.avx2},
      {"int8", "AVX-512 VNNI", &Int8Avx512Vnni, kInt8Avx512VnniOperations, cpu.avx512_vnni},
      {"int8", "AMX", &Int8Amx, kInt8AmxOperations, cpu.amx_int8},
      {"bf16", "AMX", &Bf16Amx, kBf16AmxOperations, cpu.amx_bf16},
      {"f32", "AVX2", &F32Avx2, kF32Avx2Operations, cpu.avx2},
      {"f32", "AVX-512", &F32Avx512, kF32Avx512Operations, cpu.avx512},
  };
  std::erase_if(loops, [](const MultiplyLoop& loop) { return !loop.present; });
  return loops;
}

absl::StatusOr<Rate> MeasureMultiply(const MultiplyLoop& loop, int threads,
                                     const Repetitions& repetitions) {
  constexpr int64_t kLoopsOfATurn = 1000;
  TimedWork work;
  work.units_per_turn = static_cast<double>(threads) * kLoopsOfATurn * loop.operations;
  work.prepare = [run = loop.run](int) -> absl::StatusOr<ThreadWork> {
    return ThreadWork{[run](int64_t turns) { Use(run(turns * kLoopsOfATurn)); }};
  };
  return MeasureRate(threads, work, repetitions);
}

// Bytes that all threads read together in one turn: too many for any cache, if there is memory.
int64_t BytesToRead() {
  const int64_t memory = int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return std::min(std::max(4 * LastLevelCacheBytes(), kLeastBytes),
                  std::max(memory / 2, kHugePage));
}

absl::StatusOr<Rate> MeasureRead(const CpuFeatures& cpu, int threads,
                                 const Repetitions& repetitions) {
  const int64_t slice = (BytesToRead() / threads + kHugePage - 1) / kHugePage * kHugePage;
  const auto read = cpu.avx512 ? &machine::ReadAvx512 : &machine::ReadAvx2;
  TimedWork work;
  work.units_per_turn = static_cast<double>(threads) * static_cast<double>(slice);
  work.prepare = [slice, read](int) -> absl::StatusOr<ThreadWork> {
    auto memory = Slice::Create(static_cast<size_t>(slice));
    if (memory == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory of ", slice, " bytes to read"));
    }
    return ThreadWork{[memory, read](int64_t turns) {
      for (int64_t i = 0; i < turns; ++i) Use(read(memory->data(), memory->bytes()));
    }};
  };
  return MeasureRate(threads, work, repetitions);
}

std::set<int> ThreadCounts(const std::vector<int>& wanted, int cores) {
  std::set<int> counts = {1, cores};
  for (const int threads : wanted) counts.insert(std::clamp(threads, 1, cores));
  for (int threads = 2; wanted.empty() && threads < cores; threads *= 2) counts.insert(threads);
  return counts;
}

}  // namespace

absl::StatusOr<Processor> MeasureCpu(const MeasureOptions& options) {
  const CpuFeatures features = DetectCpuFeatures();
  if (!features.avx2) {
    return absl::UnimplementedError("this processor lacks AVX2 or FMA, which the loops need");
  }
  const Repetitions repetitions = options.quick ? Repetitions{3, 0.02} : Repetitions{5, 0.05};
  Processor cpu = {.device = "cpu", .model = CpuModel(), .cores = CpuCores()};
  for (const int threads : ThreadCounts(options.threads, cpu.cores)) {
    TANDEM_ASSIGN_OR_RETURN(const Rate rate, MeasureRead(features, threads, repetitions));
    cpu.read.push_back({threads, rate});
  }
  for (const MultiplyLoop& loop : MultiplyLoops(features)) {
    for (const int threads : std::set<int>{1, cpu.cores}) {
      TANDEM_ASSIGN_OR_RETURN(const Rate rate, MeasureMultiply(loop, threads, repetitions));
      cpu.multiply.push_back({loop.type, loop.instructions, threads, rate});
    }
  }
  return cpu;
}

}  // namespace tandem
