// Lets sessions on several threads share steps.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/page_pool.h"
#include "runtime/step_runner.h"

namespace tandem {

// A conversation as the engine sees it. `tokens` are those whose keys are in the cache, or will be
// when the request in work is done.
struct Sequence {
  std::vector<int32_t> pages;
  std::vector<int32_t> tokens;
  int64_t cached = 0;  // leading tokens that are in the cache
};

// Tokens of a sequence to be run: sequence.tokens from sequence.cached on.
struct StepRequest {
  Sequence* sequence = nullptr;
  LogitsWanted wanted = LogitsWanted::kLast;
  std::vector<float>* logits = nullptr;          // out: [wanted rows, vocabulary]
  const std::atomic<bool>* cancelled = nullptr;  // optional
};

// The batcher. There is no thread of its own: a session that finds no step running leads one, for
// itself and all that wait; the others sleep until their request is done.
class StepQueue {
 public:
  StepQueue(StepRunner& runner, const EngineOptions& options, int64_t vocab)
      : runner_(runner),
        micro_batch_(options.micro_batch),
        max_sequences_(options.max_sessions),
        vocab_(vocab),
        pool_(runner.pages()) {}

  // Blocks until all tokens of the request ran. Cancelled if `cancelled` became true between two
  // steps; ResourceExhausted if the cache has no pages left, or the host no memory for the logits.
  absl::Status Submit(const StepRequest& request) { return Submit(std::span(&request, 1)); }
  // The same with requests of different sequences, which share steps; the first of their errors.
  absl::Status Submit(std::span<const StepRequest> requests);
  // Gives the pages of a sequence back.
  void Release(Sequence& sequence);

 private:
  struct Pending {
    StepRequest request;
    bool done = false;
    absl::Status status;
  };
  struct Part {
    Pending* pending = nullptr;
    SequenceStep step;
  };
  // Chooses the parts of the next step: single tokens first, so that a long prompt does not hold up
  // those who generate, then prompts in the order of arrival. Drops cancelled requests.
  std::vector<Part> Compose();
  void AddPart(Pending& pending, int64_t room, std::vector<Part>& parts);
  void Lead(std::unique_lock<std::mutex>& lock);
  absl::Status RunParts(const std::vector<Part>& parts);
  void Finish(Pending& pending, absl::Status status);

  StepRunner& runner_;
  const int64_t micro_batch_, max_sequences_, vocab_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  std::deque<Pending*> waiting_;
  PagePool pool_;
};

}  // namespace tandem
