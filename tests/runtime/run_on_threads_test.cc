#include "runtime/run_on_threads.h"

#include <atomic>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

TEST(RunOnThreadsTest, DoesEachPartOnce) {
  for (const int threads : {1, 2, 7}) {
    for (const int64_t count : {0, 1, 3, 100}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      RunOnThreads(threads, count, [&](int64_t i) { ++calls[static_cast<size_t>(i)]; });
      for (const auto& number : calls) EXPECT_EQ(number, 1);
    }
  }
}

TEST(RunOnThreadsTest, ThreadCountIsWithinBounds) {
  EXPECT_EQ(ThreadCount(3), 3);
  EXPECT_GE(ThreadCount(0), 1);
  EXPECT_EQ(ThreadCount(1 << 20), 1024);
}

}  // namespace
}  // namespace tandem
