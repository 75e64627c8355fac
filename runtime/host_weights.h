// Weights of a file in the process's own memory. A mapped file lies in pages of 4 KiB, and looking
// them up takes more than a third of the bandwidth when every token reads all of them; memory of
// our own can lie in huge pages.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "runtime/host_memory.h"
#include "runtime/weights.h"

namespace tandem {

class HostWeights {
 public:
  struct Entry {
    const Weight* weight = nullptr;             // in_place, in rows
    WeightLayout layout = WeightLayout::kRows;  // of the copy
  };
  using Weights = std::map<std::string, Entry, std::less<>>;  // by name

  static int64_t BytesFor(const Weights& weights);

  // Copies weights out of mapped files into their layouts, on as many threads (0: one for each
  // core), and lets the pages of the mapping go. `progress` is called with the part that is done,
  // from 0 to 1. ResourceExhausted if there is not enough memory; DataLoss if a file was cut since
  // it was mapped.
  static absl::StatusOr<std::unique_ptr<HostWeights>> Copy(
      const Weights& weights, int threads, const std::function<void(double)>& progress);

  // Null if it was not among the weights.
  std::byte* Find(std::string_view name) const;

 private:
  explicit HostWeights(std::shared_ptr<HostMemory> memory) : memory_(std::move(memory)) {}

  std::shared_ptr<HostMemory> memory_;
  std::map<std::string, std::byte*, std::less<>> place_of_;
};

}  // namespace tandem
