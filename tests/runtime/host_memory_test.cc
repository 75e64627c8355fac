#include "runtime/host_memory.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

// A made-up /, with the files of the kernel that a test writes.
class AvailableMemoryTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, std::string_view content) {
    std::filesystem::create_directories(std::filesystem::path(folder_.Path(name)).parent_path());
    folder_.Write(name, content);
  }
  int64_t Available() const { return AvailableMemory(folder_.Path("")); }

 private:
  TempDir folder_;
};

constexpr char kMemInfo[] = "MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable:  1000 kB\n";

TEST_F(AvailableMemoryTest, IsWhatTheSystemSays) {
  EXPECT_EQ(Available(), std::numeric_limits<int64_t>::max());
  Write("proc/meminfo", kMemInfo);
  EXPECT_EQ(Available(), 1000 * 1024);
  Write("sys/fs/cgroup/memory.max", "max\n");
  Write("sys/fs/cgroup/memory.current", "5000\n");
  EXPECT_EQ(Available(), 1000 * 1024);
}

TEST_F(AvailableMemoryTest, IsWhatAContainerLeaves) {
  Write("proc/meminfo", kMemInfo);
  Write("sys/fs/cgroup/memory.max", "50000\n");
  Write("sys/fs/cgroup/memory.current", "30000\n");
  EXPECT_EQ(Available(), 20000);
  Write("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 12000\nactive_file 3\n");
  EXPECT_EQ(Available(), 32000);
  Write("sys/fs/cgroup/memory.current", "70000\n");
  EXPECT_EQ(Available(), 0);
}

TEST_F(AvailableMemoryTest, KnowsTheFirstVersionOfControlGroups) {
  Write("proc/meminfo", kMemInfo);
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "50000\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "40000\n");
  EXPECT_EQ(Available(), 10000);
}

TEST(HostMemoryTest, IsZeroedAlignedAndWritable) {
  for (const int64_t bytes : {int64_t{0}, int64_t{100}, int64_t{5} << 20}) {
    const auto memory = HostMemory::Allocate(bytes);
    ASSERT_TRUE(memory.ok()) << memory.status();
    const auto span = (*memory)->bytes();
    EXPECT_GE(static_cast<int64_t>(span.size()), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(span.data()) % 4096, 0u);
    EXPECT_TRUE(std::ranges::all_of(span, [](std::byte b) { return b == std::byte{0}; }));
    std::ranges::fill(span, std::byte{1});
  }
}

TEST(HostMemoryTest, RefusesMoreThanThereIs) {
  const auto memory = HostMemory::Allocate(int64_t{1} << 50);
  EXPECT_TRUE(absl::IsResourceExhausted(memory.status())) << memory.status();
  EXPECT_THAT(memory.status().ToString(), HasSubstr("1073741824 MiB"));
}

}  // namespace
}  // namespace tandem
