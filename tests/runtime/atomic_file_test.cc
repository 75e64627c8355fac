#include "runtime/atomic_file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// While it lives, no file of this process grows beyond `bytes`: a write is cut short there, and the
// next one fails, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    old_handler_ = signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {bytes, old_limit_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_;
  sighandler_t old_handler_;
};

TEST(AtomicFileTest, AppearsWithItsContentOnCommit) {
  const TempDir dir;
  const std::string path = dir.Write("out", "old");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Reserve(10).ok());
  ASSERT_TRUE(file->Write(AsBytes("hello ")).ok());
  ASSERT_TRUE(file->Write(AsBytes("world")).ok());
  EXPECT_EQ(file->size(), 11u);
  EXPECT_EQ(ReadFileBytes(path), "old");
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(ReadFileBytes(path), "hello world");
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  EXPECT_EQ(file->Write(AsBytes("x")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(file->Commit().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(AtomicFileTest, WithoutCommitNothingIsLeft) {
  const TempDir dir;
  const std::string path = dir.Write("out", "old");
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write(AsBytes("new")).ok());
    const AtomicFile moved = *std::move(file);
    EXPECT_TRUE(std::filesystem::exists(path + ".tmp"));
  }
  EXPECT_EQ(ReadFileBytes(path), "old");
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

TEST(AtomicFileTest, ShortWritesAndAFullDiskGiveAStatus) {
  const TempDir dir;
  const std::string path = dir.Write("out", "old");
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  const FileSizeLimit limit(1000);
  const std::vector<std::byte> data(600);
  EXPECT_TRUE(file->Write(data).ok());
  const absl::Status status = file->Write(data);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("after 1000 bytes cannot write"), HasSubstr(path)));
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  EXPECT_FALSE(file->Commit().ok());
  EXPECT_EQ(ReadFileBytes(path), "old");
}

TEST(AtomicFileTest, RoomThatIsNotThereIsFoundOutFirst) {
  const TempDir dir;
  auto file = AtomicFile::Create(dir.Path("out"));
  ASSERT_TRUE(file.ok());
  const absl::Status status = file->Reserve(1ull << 62);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("4611686018427387904 bytes"));
  EXPECT_FALSE(std::filesystem::exists(dir.Path("out.tmp")));
}

TEST(AtomicFileTest, PlacesThatCannotBeWrittenAreRefused) {
  const TempDir dir;
  EXPECT_EQ(AtomicFile::Create(dir.Path("no/such/out")).status().code(),
            absl::StatusCode::kNotFound);
  // A link under the temporary name must not be followed.
  const std::string victim = dir.Write("victim", "precious");
  ASSERT_EQ(symlink(victim.c_str(), dir.Path("out.tmp").c_str()), 0);
  EXPECT_FALSE(AtomicFile::Create(dir.Path("out")).ok());
  EXPECT_EQ(ReadFileBytes(victim), "precious");
  // Renaming onto a directory fails after all was written.
  std::filesystem::create_directory(dir.Path("taken"));
  auto file = AtomicFile::Create(dir.Path("taken"));
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->Commit().ok());
  EXPECT_FALSE(std::filesystem::exists(dir.Path("taken.tmp")));
}

}  // namespace
}  // namespace tandem
