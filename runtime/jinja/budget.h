// What one rendering may cost: a hostile template ends in a status, never in a hang.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "runtime/chat_template.h"

namespace tandem::jinja {

// Counts steps, bytes and depth against the limits. Every evaluation of a node is a step, and work
// that is linear in some size charges steps in proportion, so steps bound the time.
class Budget {
 public:
  explicit Budget(const ChatTemplateLimits& limits) : limits_(limits) {}

  const ChatTemplateLimits& limits() const { return limits_; }

  absl::Status Step(uint64_t count = 1) {
    steps_ += count;
    return steps_ <= limits_.max_steps ? absl::OkStatus() : TooManySteps();
  }

  // Charges `bytes` that are about to be allocated. What is freed again is not given back.
  absl::Status Allocate(size_t bytes) {
    allocated_ += bytes;
    if (allocated_ > limits_.max_allocated_bytes) return TooMuchMemory();
    return Step(bytes / kBytesPerStep);
  }

  // Charges a pass over `bytes` that exist already.
  absl::Status Read(size_t bytes) { return Step(bytes / kBytesPerStep); }

  // One more level of nested evaluation; pair it with Leave() also when it fails.
  absl::Status Enter() { return ++depth_ <= limits_.max_depth ? absl::OkStatus() : TooDeep(); }
  void Leave() { --depth_; }

 private:
  // About the bytes that a string operation handles in the time of one interpreted step.
  static constexpr size_t kBytesPerStep = 256;

  absl::Status TooManySteps() const;
  absl::Status TooMuchMemory() const;
  absl::Status TooDeep() const;

  ChatTemplateLimits limits_;
  uint64_t steps_ = 0;
  uint64_t allocated_ = 0;
  int depth_ = 0;
};

// Enters a level for the life of the object.
class DepthGuard {
 public:
  explicit DepthGuard(Budget& budget) : budget_(budget), status_(budget.Enter()) {}
  ~DepthGuard() { budget_.Leave(); }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

  const absl::Status& status() const { return status_; }

 private:
  Budget& budget_;
  absl::Status status_;
};

}  // namespace tandem::jinja
