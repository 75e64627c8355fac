#include "runtime/run_on_threads.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace tandem {
namespace {

constexpr int kMaxThreads = 1024;

}  // namespace

int ThreadCount(int asked) {
  const int count = asked > 0 ? asked : static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(count, 1, kMaxThreads);
}

void RunOnThreads(int threads, int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  const auto loop = [&] {
    for (int64_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::jthread> helpers;
  const int64_t wanted = std::min<int64_t>(threads, count) - 1;
  try {
    while (static_cast<int64_t>(helpers.size()) < wanted) helpers.emplace_back(loop);
  } catch (const std::system_error&) {
    // The system gives no more threads: those that run do all the work.
  }
  loop();
}

}  // namespace tandem
