// Damaged model files end the tool with an error, in little time and memory, and never by a signal.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/damage.h"
#include "tests/runtime/temp_dir.h"
#include "tests/tools/run_tool.h"
#include "tests/tools/tiny_gguf.h"

namespace tandem {
namespace {

constexpr uint64_t kFiles = 200;

// Sanitizers reserve more addresses than any limit.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kAddressSpace = 0;
#else
constexpr int64_t kAddressSpace = int64_t{1} << 30;
#endif

const std::vector<std::vector<std::string>>& Commands() {
  static const std::vector<std::vector<std::string>> commands = {
      {"inspect"},
      {"run", "-n", "1", "-p", "the", "--ctx", "64", "--device", "reference", "--temp", "0"},
  };
  return commands;
}

TEST(DamagedModelTest, EndsWithAnErrorAtWorst) {
  const TempDir folder;
  const std::string sound = folder.Path("sound.gguf");
  WriteTinyGguf(sound);
  const std::string bytes = ReadFileBytes(sound);
  for (const std::vector<std::string>& command : Commands()) {
    std::vector<std::string> arguments = command;
    arguments.push_back(sound);
    const ToolRun run = {.address_space = kAddressSpace, .timeout_seconds = 10};
    const ToolResult baseline = RunTool(arguments, run);
    ASSERT_EQ(baseline.code, 0) << baseline.err;
    // Twice the file, and what two runs of the same file differ by.
    const int64_t most = baseline.peak_bytes + 2 * static_cast<int64_t>(bytes.size()) + (4 << 20);
    int refused = 0;
    for (uint64_t seed = 0; seed < kFiles; ++seed) {
      const std::vector<std::byte> damaged = Damage(std::as_bytes(std::span(bytes)), seed);
      arguments.back() = folder.Write(
          "damaged.gguf", {reinterpret_cast<const char*>(damaged.data()), damaged.size()});
      const ToolResult result = RunTool(arguments, run);
      SCOPED_TRACE(command[0] + ", seed " + std::to_string(seed) + ": " + result.err);
      EXPECT_TRUE(result.code == 0 || result.code == 1)
          << "code " << result.code << ", signal " << result.signal;
      EXPECT_LE(result.peak_bytes, most);
      EXPECT_EQ(result.err.find("out of memory"), std::string::npos);
      if (result.code != 1) continue;
      ++refused;
      EXPECT_TRUE(result.err.starts_with("tandem: ")) << result.err;
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 1);
    }
    EXPECT_GT(refused, static_cast<int>(kFiles / 4)) << command[0];
  }
}

}  // namespace
}  // namespace tandem
