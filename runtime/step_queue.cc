#include "runtime/step_queue.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "backends/device/status.h"

namespace tandem {
namespace {

int64_t Remaining(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.tokens.size()) - sequence.cached;
}

// Makes room for the logits that a request asks for.
absl::Status ReserveLogits(const StepRequest& request, int64_t vocab) {
  if (request.logits == nullptr) return absl::OkStatus();
  const int64_t rows = request.wanted == LogitsWanted::kAll    ? Remaining(*request.sequence)
                       : request.wanted == LogitsWanted::kLast ? 1
                                                               : 0;
  const auto out_of_memory = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", rows, " rows of ", vocab, " logits"));
  };
  try {
    request.logits->resize(static_cast<size_t>(rows * vocab));
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::length_error&) {
    return out_of_memory();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StepQueue::Submit(std::span<const StepRequest> requests) {
  std::vector<Pending> pending;
  for (const StepRequest& request : requests) {
    TANDEM_RETURN_IF_ERROR(ReserveLogits(request, vocab_));
    pending.push_back({request, false, absl::OkStatus()});
  }
  std::unique_lock lock(mutex_);
  for (const StepRequest& request : requests) {
    Sequence& sequence = *request.sequence;
    if (pool_.Grow(sequence.pages, PagesFor(static_cast<int64_t>(sequence.tokens.size()))))
      continue;
    return absl::ResourceExhaustedError(
        absl::StrCat("the KV cache has no room for ", sequence.tokens.size(), " tokens"));
  }
  for (Pending& p : pending) waiting_.push_back(&p);
  while (!std::ranges::all_of(pending, &Pending::done)) {
    if (running_) {
      changed_.wait(lock);
    } else {
      Lead(lock);
    }
  }
  for (const Pending& p : pending) TANDEM_RETURN_IF_ERROR(p.status);
  return absl::OkStatus();
}

void StepQueue::Release(Sequence& sequence) {
  const std::lock_guard lock(mutex_);
  pool_.Release(sequence.pages);
  sequence.tokens.clear();
  sequence.cached = 0;
}

void StepQueue::Finish(Pending& pending, absl::Status status) {
  pending.done = true;
  pending.status = std::move(status);
  std::erase(waiting_, &pending);
}

void StepQueue::AddPart(Pending& pending, int64_t room, std::vector<Part>& parts) {
  Sequence& sequence = *pending.request.sequence;
  const int64_t remaining = Remaining(sequence);
  const int64_t count = std::min(remaining, room);
  SequenceStep step;
  step.tokens = std::span<const int32_t>(sequence.tokens)
                    .subspan(static_cast<size_t>(sequence.cached), static_cast<size_t>(count));
  step.position = sequence.cached;
  step.pages = sequence.pages;
  const bool all = pending.request.wanted == LogitsWanted::kAll;
  const bool last = pending.request.wanted == LogitsWanted::kLast && count == remaining;
  step.wanted = all ? LogitsWanted::kAll : last ? LogitsWanted::kLast : LogitsWanted::kNone;
  if (pending.request.logits != nullptr) {
    // With all rows wanted, those of earlier steps of this request come before.
    const int64_t rows = static_cast<int64_t>(pending.request.logits->size()) / vocab_;
    const int64_t row = all ? rows - remaining : 0;
    step.logits = pending.request.logits->data() + row * vocab_;
  }
  parts.push_back({&pending, step});
}

std::vector<StepQueue::Part> StepQueue::Compose() {
  const std::vector<Pending*> waiting(waiting_.begin(), waiting_.end());
  for (Pending* pending : waiting) {
    const auto* cancelled = pending->request.cancelled;
    if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) {
      Finish(*pending, absl::CancelledError("cancelled"));
    }
  }
  std::vector<Part> parts;
  int64_t room = micro_batch_;
  for (const bool single : {true, false}) {
    for (Pending* pending : waiting_) {
      if (room == 0 || static_cast<int64_t>(parts.size()) == max_sequences_) return parts;
      if ((Remaining(*pending->request.sequence) == 1) != single) continue;
      AddPart(*pending, room, parts);
      room -= static_cast<int64_t>(parts.back().step.tokens.size());
    }
  }
  return parts;
}

// An exception here would leave the others waiting for ever.
absl::Status StepQueue::RunParts(const std::vector<Part>& parts) {
  try {
    std::vector<SequenceStep> steps;
    for (const Part& part : parts) steps.push_back(part.step);
    return runner_.Run(steps);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory on the host for the inputs of a step");
  }
}

void StepQueue::Lead(std::unique_lock<std::mutex>& lock) {
  std::vector<Part> parts = Compose();
  if (parts.empty()) {
    changed_.notify_all();
    return;
  }
  running_ = true;
  lock.unlock();
  const absl::Status status = RunParts(parts);
  lock.lock();
  running_ = false;
  for (const Part& part : parts) {
    Sequence& sequence = *part.pending->request.sequence;
    if (status.ok()) sequence.cached += static_cast<int64_t>(part.step.tokens.size());
    if (!status.ok() || Remaining(sequence) == 0) Finish(*part.pending, status);
  }
  changed_.notify_all();
}

}  // namespace tandem
