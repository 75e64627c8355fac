#include "runtime/host_weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "backends/device/layout.h"
#include "backends/device/status.h"
#include "runtime/run_on_threads.h"

namespace tandem {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kPartBytes = int64_t{8} << 20;
constexpr size_t kPartsAtATime = 32;  // between two calls of progress
// Reads pages in and reports a lost file as an error instead of a signal; Linux 5.14. The C library
// may be older than the system.
constexpr int kPopulateRead = 22;

int64_t AlignUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

struct Part {
  const std::byte* from;
  std::byte* to;
  int64_t bytes;
  DType type;
  int64_t row_bytes;
  WeightLayout layout;
};

// Bytes that are copied at a time; of interleaved weights whole panels.
int64_t PartBytes(WeightLayout layout, int64_t row_bytes) {
  if (layout == WeightLayout::kRows) return kPartBytes;
  const int64_t panel = kPanelRows * row_bytes;
  return std::max<int64_t>(kPartBytes / panel, 1) * panel;
}

void CopyInto(const Part& part) {
  if (part.layout != WeightLayout::kRows) {
    return Arrange(part.layout, part.type, part.row_bytes, part.bytes / part.row_bytes, part.from,
                   part.to);
  }
  std::memcpy(part.to, part.from, static_cast<size_t>(part.bytes));
}

// The whole pages that a range touches, or those that lie within it.
struct Pages {
  void* first;
  size_t bytes;

  Pages(const Part& part, bool within) {
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    auto begin = reinterpret_cast<uintptr_t>(part.from);
    uintptr_t end = begin + static_cast<uintptr_t>(part.bytes);
    begin = (within ? begin + page - 1 : begin) / page * page;
    end = (within ? end : end + page - 1) / page * page;
    first = reinterpret_cast<void*>(begin);
    bytes = end > begin ? end - begin : 0;
  }
};

// False if the pages are not in the file any more.
bool CopyPart(const Part& part) {
  const Pages touched(part, false), within(part, true);
  if (madvise(touched.first, touched.bytes, kPopulateRead) != 0 && errno == EFAULT) return false;
  CopyInto(part);
  if (within.bytes > 0) madvise(within.first, within.bytes, MADV_DONTNEED);
  return true;
}

absl::Status CopyParts(const std::vector<Part>& parts, int threads,
                       const std::function<void(double)>& progress) {
  std::atomic<bool> lost = false;
  for (size_t first = 0; first < parts.size(); first += kPartsAtATime) {
    const size_t count = std::min(kPartsAtATime, parts.size() - first);
    RunOnThreads(threads, static_cast<int64_t>(count), [&](int64_t i) {
      if (!CopyPart(parts[first + static_cast<size_t>(i)])) lost.store(true);
    });
    if (lost.load())
      return absl::DataLossError("the file of the weights was cut while it was open");
    if (progress) progress(static_cast<double>(first + count) / static_cast<double>(parts.size()));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t HostWeights::BytesFor(const Weights& weights) {
  int64_t bytes = 0;
  for (const auto& [name, entry] : weights) bytes += AlignUp(entry.weight->bytes());
  return bytes;
}

absl::StatusOr<std::unique_ptr<HostWeights>> HostWeights::Copy(
    const Weights& weights, int threads, const std::function<void(double)>& progress) {
  TANDEM_ASSIGN_OR_RETURN(auto memory, HostMemory::Allocate(BytesFor(weights)));
  auto copies = std::unique_ptr<HostWeights>(new HostWeights(std::move(memory)));
  std::byte* to = copies->memory_->bytes().data();
  std::vector<Part> parts;
  for (const auto& [name, entry] : weights) {
    const Weight& weight = *entry.weight;
    copies->place_of_.emplace(name, to);
    const std::byte* from = weight.parts[0].data();
    const int64_t row_bytes = RowBytes(weight.dtype, weight.shape.back());
    const int64_t step = PartBytes(entry.layout, row_bytes);
    for (int64_t at = 0; at < weight.bytes(); at += step) {
      parts.push_back({from + at, to + at, std::min(step, weight.bytes() - at), weight.dtype,
                       row_bytes, entry.layout});
    }
    to += AlignUp(weight.bytes());
  }
  TANDEM_RETURN_IF_ERROR(CopyParts(parts, ThreadCount(threads), progress));
  return copies;
}

std::byte* HostWeights::Find(std::string_view name) const {
  const auto it = place_of_.find(name);
  return it == place_of_.end() ? nullptr : it->second;
}

}  // namespace tandem
