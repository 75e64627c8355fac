// What a step's plan reads from the host: ids, positions, and where keys lie.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tandem {

enum class LogitsWanted { kNone, kLast, kAll };

// The part of a step that belongs to one sequence.
struct SequenceStep {
  std::span<const int32_t> tokens;  // new ones
  int64_t position = 0;             // of the first; the keys before it are in the cache
  std::span<const int32_t> pages;   // of the sequence, enough for all tokens
  LogitsWanted wanted = LogitsWanted::kNone;
  float* logits = nullptr;  // out: the wanted rows, [rows, vocabulary]
};

// Rows of logits that the sequence wants of a step.
int64_t CountRows(const SequenceStep& sequence);

// The inputs of one step. They stay where they are until the next Fill, since a device may copy
// them any time before the step is done.
class StepInputs {
 public:
  // `pages_per_sequence` is the width of the page table; each sequence has at most as many pages.
  void Fill(std::span<const SequenceStep> sequences, int64_t pages_per_sequence);

  // Each input of the plan (namespace port) with its values.
  std::vector<std::pair<std::string_view, std::span<const int32_t>>> All() const;

 private:
  void Append(const SequenceStep& sequence);

  std::vector<int32_t> tokens_, positions_, slots_, starts_, lengths_, rows_, table_;
  int32_t num_tokens_ = 0, num_sequences_ = 0, num_outputs_ = 0;
};

}  // namespace tandem
