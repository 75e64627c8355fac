#include "backends/cuda/kernel_cache.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace tandem::cuda {
namespace {

namespace fs = std::filesystem;

class KernelCacheTest : public testing::Test {
 protected:
  // Tests run at the same time, each in a process of its own.
  KernelCacheTest()
      : folder_(fs::path(testing::TempDir()) /
                ("tandem_kernel_cache_" + std::to_string(getpid()))) {
    fs::remove_all(folder_);
  }
  ~KernelCacheTest() override { fs::remove_all(folder_); }

  std::string folder() const { return (folder_ / "inner").string(); }
  fs::path OnlyFile() const { return fs::directory_iterator(folder())->path(); }

  fs::path folder_;
  const KernelKey key_ = {"sm_90a", "13.0", {"a.cuh", "A<1>"}, 7};
  const KernelImage image_ = {"_Z1A", {'c', '\0', 'd'}};
};

TEST_F(KernelCacheTest, KeepsKernels) {
  const KernelCache cache(folder());
  EXPECT_FALSE(cache.Find(key_).has_value());
  ASSERT_TRUE(cache.Store(key_, image_).ok());
  const auto found = KernelCache(folder()).Find(key_);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->entry, image_.entry);
  EXPECT_EQ(found->code, image_.code);
}

TEST_F(KernelCacheTest, TellsKeysApart) {
  const KernelCache cache(folder());
  ASSERT_TRUE(cache.Store(key_, image_).ok());
  KernelKey other = key_;
  other.arch = "sm_80";
  EXPECT_FALSE(cache.Find(other).has_value());
  other = key_;
  other.compiler = "12.9";
  EXPECT_FALSE(cache.Find(other).has_value());
  other = key_;
  other.kernel.name = "A<2>";
  EXPECT_FALSE(cache.Find(other).has_value());
  other = key_;
  other.sources = 8;
  EXPECT_FALSE(cache.Find(other).has_value());
}

TEST_F(KernelCacheTest, WithoutACompilerAnyOneDoes) {
  const KernelCache cache(folder());
  ASSERT_TRUE(cache.Store(key_, image_).ok());
  KernelKey any = key_;
  any.compiler = "";
  EXPECT_TRUE(cache.Find(any).has_value());
  any.sources = 8;
  EXPECT_FALSE(cache.Find(any).has_value());
}

TEST_F(KernelCacheTest, DamagedFilesCountAsAbsentAndAreReplaced) {
  const KernelCache cache(folder());
  ASSERT_TRUE(cache.Store(key_, image_).ok());
  const auto size = fs::file_size(OnlyFile());
  for (uintmax_t at = 0; at < size; ++at) {
    std::fstream file(OnlyFile(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char c = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(c ^ 0x10));
    file.close();
    EXPECT_FALSE(cache.Find(key_).has_value()) << "byte " << at;
    ASSERT_TRUE(cache.Store(key_, image_).ok());
    EXPECT_TRUE(cache.Find(key_).has_value());
  }
  for (uintmax_t bytes = 0; bytes < size; ++bytes) {
    fs::resize_file(OnlyFile(), bytes);
    EXPECT_FALSE(cache.Find(key_).has_value()) << bytes << " bytes";
    ASSERT_TRUE(cache.Store(key_, image_).ok());
  }
}

TEST_F(KernelCacheTest, AFolderThatCannotBeMadeIsAnErrorThatNamesIt) {
  fs::create_directories(folder_);
  std::ofstream(folder()) << "a file where the folder should be";
  const KernelCache cache(folder());
  const absl::Status status = cache.Store(key_, image_);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find(folder()), std::string::npos) << status;
  EXPECT_FALSE(cache.Find(key_).has_value());
}

TEST_F(KernelCacheTest, WithoutAFolderNothingIsKept) {
  const KernelCache cache("");
  EXPECT_TRUE(cache.Store(key_, image_).ok());
  EXPECT_FALSE(cache.Find(key_).has_value());
}

}  // namespace
}  // namespace tandem::cuda
