#include "runtime/step_inputs.h"

#include <algorithm>

#include "backends/device/kernels.h"
#include "runtime/families/step_graph.h"

namespace tandem {

int64_t CountRows(const SequenceStep& sequence) {
  switch (sequence.wanted) {
    case LogitsWanted::kNone:
      return 0;
    case LogitsWanted::kLast:
      return 1;
    case LogitsWanted::kAll:
      return static_cast<int64_t>(sequence.tokens.size());
  }
  return 0;
}

void StepInputs::Append(const SequenceStep& sequence) {
  const auto count = static_cast<int64_t>(sequence.tokens.size());
  const auto first = static_cast<int64_t>(tokens_.size());
  for (int64_t row = count - CountRows(sequence); row < count; ++row) {
    rows_.push_back(static_cast<int32_t>(first + row));
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t position = sequence.position + i;
    const int32_t page = sequence.pages[static_cast<size_t>(position / kPageTokens)];
    positions_.push_back(static_cast<int32_t>(position));
    slots_.push_back(static_cast<int32_t>(page * kPageTokens + position % kPageTokens));
  }
  tokens_.insert(tokens_.end(), sequence.tokens.begin(), sequence.tokens.end());
  starts_.push_back(static_cast<int32_t>(tokens_.size()));
  lengths_.push_back(static_cast<int32_t>(sequence.position + count));
}

void StepInputs::Fill(std::span<const SequenceStep> sequences, int64_t pages_per_sequence) {
  for (auto* list : {&tokens_, &positions_, &slots_, &starts_, &lengths_, &rows_}) list->clear();
  const auto width = static_cast<size_t>(pages_per_sequence);
  table_.assign(sequences.size() * width, 0);
  starts_.push_back(0);
  for (size_t s = 0; s < sequences.size(); ++s) {
    Append(sequences[s]);
    std::ranges::copy(sequences[s].pages, table_.begin() + static_cast<std::ptrdiff_t>(s * width));
  }
  num_tokens_ = static_cast<int32_t>(tokens_.size());
  num_sequences_ = static_cast<int32_t>(lengths_.size());
  num_outputs_ = static_cast<int32_t>(rows_.size());
}

std::vector<std::pair<std::string_view, std::span<const int32_t>>> StepInputs::All() const {
  const auto one = [](const int32_t& value) { return std::span<const int32_t>(&value, 1); };
  return {{port::kTokens, tokens_},   {port::kPositions, positions_},
          {port::kSlots, slots_},     {port::kNumTokens, one(num_tokens_)},
          {port::kSeqStart, starts_}, {port::kKvLen, lengths_},
          {port::kPageTable, table_}, {port::kNumSequences, one(num_sequences_)},
          {port::kOutputRows, rows_}, {port::kNumOutputs, one(num_outputs_)}};
}

}  // namespace tandem
