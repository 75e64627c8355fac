#include "runtime/mapped_file.h"

#include <sys/stat.h>

#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::string Content(const MappedFile& file) {
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

TEST(MappedFileTest, MapsTheWholeFileAndMoves) {
  const TempDir dir;
  const std::string path = dir.Write("a", "hello");
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->path(), path);
  const auto* data = file->bytes().data();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_EQ(Content(moved), "hello");
  auto other = MappedFile::Open(dir.Write("b", "other"));
  ASSERT_TRUE(other.ok());
  moved = *std::move(other);
  EXPECT_EQ(Content(moved), "other");
}

TEST(MappedFileTest, EmptyFileGivesNoBytes) {
  const TempDir dir;
  const auto file = MappedFile::Open(dir.Write("empty", ""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->bytes().empty());
  file->Advise(FileAdvice::kWillNeed, 0, 100);
}

TEST(MappedFileTest, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  ASSERT_EQ(mkfifo(dir.Path("pipe").c_str(), 0600), 0);
  const std::pair<std::string, std::string> cases[] = {
      {dir.Path("."), "is a directory"},
      {dir.Path("pipe"), "is a pipe"},
      {"/dev/zero", "is a device"},
      {dir.Path("missing"), "No such file or directory"},
  };
  for (const auto& [path, message] : cases) {
    const auto file = MappedFile::Open(path);
    ASSERT_FALSE(file.ok()) << path;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(path));
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(message));
  }
  EXPECT_EQ(MappedFile::Open(dir.Path("missing")).status().code(), absl::StatusCode::kNotFound);
}

TEST(MappedFileTest, AdviceOnAnyRangeKeepsTheBytes) {
  const TempDir dir;
  std::string content(3 * 4096 + 100, 'x');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  const auto file = MappedFile::Open(dir.Write("a", content));
  ASSERT_TRUE(file.ok()) << file.status();
  for (const FileAdvice advice :
       {FileAdvice::kSequential, FileAdvice::kWillNeed, FileAdvice::kDontNeed}) {
    for (const uint64_t offset : {0ull, 1ull, 4096ull, 9000ull, 12388ull, 1ull << 40, ~0ull}) {
      for (const uint64_t length : {0ull, 1ull, 5000ull, 1ull << 40, ~0ull}) {
        file->Advise(advice, offset, length);
      }
    }
  }
  EXPECT_EQ(Content(*file), content);
}

}  // namespace
}  // namespace tandem
