// Runs a function on several threads, again and again, and takes the time.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "tools/machine/machine.h"

namespace tandem {

// Work of one thread; made, run and destroyed by it, so that memory it allocates is near.
struct ThreadWork {
  // Does `turns` turns. Must not throw.
  std::function<void(int64_t turns)> run;
};

struct TimedWork {
  // Called on each thread with its number. ResourceExhausted ends the measurement.
  std::function<absl::StatusOr<ThreadWork>(int thread)> prepare;
  double units_per_turn = 0;  // of all threads together
};

struct Repetitions {
  int count = 5;
  double seconds = 0.05;  // least time of one
};

// Units a second of `threads` threads that start together, until the last is done.
absl::StatusOr<Rate> MeasureRate(int threads, const TimedWork& work,
                                 const Repetitions& repetitions);

}  // namespace tandem
