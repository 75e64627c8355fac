#include "tools/machine/team.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "backends/device/status.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The threads of one measurement. Thread 0 is the caller: it decides the turns of each round.
class Team {
 public:
  Team(int threads, const TimedWork& work, const Repetitions& repetitions)
      : work_(work), repetitions_(repetitions), threads_(threads), barrier_(threads) {}

  absl::StatusOr<Rate> Run() {
    const absl::Status started = Start();
    if (started.ok()) Lead();
    for (std::thread& thread : helpers_) thread.join();
    TANDEM_RETURN_IF_ERROR(started);
    TANDEM_RETURN_IF_ERROR(status_);
    std::ranges::sort(seconds_);
    const double units = work_.units_per_turn * static_cast<double>(turns_of_rates_);
    return Rate{units / seconds_.front(), units / seconds_[seconds_.size() / 2]};
  }

 private:
  enum Gate { kClosed, kOpen, kCancelled };

  // Helpers wait at a gate until all of them are there.
  absl::Status Start() {
    try {
      for (int i = 1; i < threads_; ++i) helpers_.emplace_back([this, i] { Help(i); });
    } catch (const std::system_error&) {
      OpenGate(kCancelled);
      return absl::ResourceExhaustedError(
          absl::StrCat("no ", threads_, " threads to measure with"));
    }
    OpenGate(kOpen);
    return absl::OkStatus();
  }

  void OpenGate(Gate gate) {
    gate_.store(gate);
    gate_.notify_all();
  }

  std::optional<ThreadWork> Prepare(int thread) {
    auto work = work_.prepare(thread);
    const std::lock_guard lock(mutex_);
    if (!work.ok()) status_ = work.status();
    return work.ok() ? std::optional<ThreadWork>(*std::move(work)) : std::nullopt;
  }

  void Help(int thread) {
    gate_.wait(kClosed);
    if (gate_.load() == kCancelled) return;
    const auto work = Prepare(thread);
    barrier_.arrive_and_wait();
    if (!status_.ok()) return;
    for (;;) {
      barrier_.arrive_and_wait();
      if (turns_ == 0) return;
      work->run(turns_);
      barrier_.arrive_and_wait();
    }
  }

  void Lead() {
    const auto work = Prepare(0);
    barrier_.arrive_and_wait();
    if (!status_.ok()) return;
    const int64_t turns = EnoughTurns(*work);
    for (int i = 0; i < repetitions_.count; ++i) seconds_.push_back(Round(*work, turns));
    turns_of_rates_ = turns;
    turns_ = 0;
    barrier_.arrive_and_wait();
  }

  // Turns that take the time of a repetition, by what fewer of them took.
  int64_t EnoughTurns(const ThreadWork& work) {
    constexpr int64_t kMost = int64_t{1} << 32;
    int64_t turns = 1;
    double seconds = Round(work, turns);
    while (seconds < repetitions_.seconds / 4 && turns < kMost) {
      turns *= 2;
      seconds = Round(work, turns);
    }
    const double times = repetitions_.seconds / seconds;
    return times > 1 ? static_cast<int64_t>(static_cast<double>(turns) * times) + 1 : turns;
  }

  double Round(const ThreadWork& work, int64_t turns) {
    turns_ = turns;
    barrier_.arrive_and_wait();
    const Clock::time_point start = Clock::now();
    work.run(turns);
    barrier_.arrive_and_wait();
    return SecondsSince(start);
  }

  const TimedWork& work_;
  const Repetitions repetitions_;
  const int threads_;
  std::barrier<> barrier_;
  std::atomic<Gate> gate_ = kClosed;
  std::mutex mutex_;
  absl::Status status_;  // guarded by mutex_ until all have prepared, then constant
  int64_t turns_ = 0;    // written by the leader between two barriers
  int64_t turns_of_rates_ = 0;
  std::vector<double> seconds_;
  std::vector<std::thread> helpers_;
};

}  // namespace

absl::StatusOr<Rate> MeasureRate(int threads, const TimedWork& work,
                                 const Repetitions& repetitions) {
  return Team(threads, work, repetitions).Run();
}

}  // namespace tandem
