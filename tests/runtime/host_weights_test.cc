#include "runtime/host_weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "backends/device/layout.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine.h"
#include "runtime/mapped_file.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string RandomBytes(size_t count) {
  std::mt19937 random(5);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// f32 weights that lie in a mapped file, one after the other.
class HostWeightsTest : public ::testing::Test {
 protected:
  // A file with room for these numbers of elements.
  void Map(const std::vector<int64_t>& sizes) {
    int64_t elements = 0;
    for (const int64_t size : sizes) elements += size;
    content_ = RandomBytes(static_cast<size_t>(4 * elements));
    auto file = MappedFile::Open(folder_.Write("weights", content_));
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = std::make_unique<MappedFile>(*std::move(file));
    size_t at = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto bytes = static_cast<size_t>(4 * sizes[i]);
      weights_[std::to_string(i)] = {.shape = {sizes[i]},
                                     .parts = {file_->bytes().subspan(at, bytes)}};
      at += bytes;
    }
  }
  void Cut(uintmax_t bytes) { std::filesystem::resize_file(folder_.Path("weights"), bytes); }

  absl::StatusOr<std::unique_ptr<HostWeights>> Copy(
      int threads, const std::function<void(double)>& progress = nullptr) {
    HostWeights::Weights list;
    for (const auto& [name, weight] : weights_) list[name] = {&weight, weight.layout};
    return HostWeights::Copy(list, threads, progress);
  }
  void ExpectEqual(const HostWeights& copies) {
    size_t at = 0;
    for (const auto& [name, weight] : weights_) {
      const std::byte* copy = copies.Find(name);
      const auto bytes = static_cast<size_t>(weight.bytes());
      ASSERT_NE(copy, nullptr) << name;
      EXPECT_NE(copy, weight.parts[0].data());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(copy) % 64, 0u) << name;
      EXPECT_EQ(std::memcmp(copy, content_.data() + at, bytes), 0) << name;
      at += bytes;
    }
  }

  TempDir folder_;
  std::string content_;
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, Weight> weights_;
};

TEST_F(HostWeightsTest, CopiesHaveTheBytesOfTheMapping) {
  // Less than a page, odd borders within pages, and more than the part that is copied at a time.
  Map({1, 1000, 1025, 3, 5 << 20, 77});
  for (const int threads : {1, 3}) {
    const auto copies = Copy(threads);
    ASSERT_TRUE(copies.ok()) << copies.status();
    ExpectEqual(**copies);
    EXPECT_EQ((*copies)->Find("6"), nullptr);
    EXPECT_EQ((*copies)->Find(""), nullptr);
  }
  // The mapping, whose pages were let go, still has them.
  EXPECT_EQ(std::memcmp(file_->bytes().data(), content_.data(), content_.size()), 0);
}

TEST_F(HostWeightsTest, CopiesLieAsAskedFor) {
  // 18 bytes a block: rows of 64 elements, enough of them for several parts.
  const int64_t rows = 16 * 20000, row_bytes = 36;
  Map({rows * row_bytes / 4});
  Weight& weight = weights_["0"];
  weight.dtype = DType::kQ4_0;
  weight.shape = {rows, 64};
  const auto copies = HostWeights::Copy({{"0", {&weight, WeightLayout::kInterleaved}}}, 2, nullptr);
  ASSERT_TRUE(copies.ok()) << copies.status();
  std::string expected(content_.size(), '\0');
  Interleave(DType::kQ4_0, row_bytes, rows, reinterpret_cast<const std::byte*>(content_.data()),
             reinterpret_cast<std::byte*>(expected.data()));
  EXPECT_EQ(std::memcmp((*copies)->Find("0"), expected.data(), expected.size()), 0);
}

TEST_F(HostWeightsTest, ProgressEndsWithAll) {
  Map(std::vector<int64_t>(100, 10));
  std::vector<double> parts;
  ASSERT_TRUE(Copy(2, [&parts](double part) { parts.push_back(part); }).ok());
  EXPECT_THAT(parts, ElementsAre(0.32, 0.64, 0.96, 1.0));
}

TEST_F(HostWeightsTest, NoWeightsAreCopiedAtOnce) {
  const auto copies = HostWeights::Copy({}, 2, nullptr);
  ASSERT_TRUE(copies.ok()) << copies.status();
  EXPECT_EQ((*copies)->Find("0"), nullptr);
  EXPECT_EQ(HostWeights::BytesFor({}), 0);
}

TEST_F(HostWeightsTest, MoreThanThereIsIsRefused) {
  Map({16});
  weights_["0"].shape = {int64_t{1} << 24, int64_t{1} << 24};
  const auto copies = Copy(1);
  EXPECT_EQ(copies.status().code(), absl::StatusCode::kResourceExhausted) << copies.status();
  EXPECT_THAT(std::string(copies.status().message()), HasSubstr("1073741824 MiB"));
}

// Whether the system can read pages in without a signal (Linux 5.14).
bool CanPopulate() {
  constexpr int kPopulateRead = 22;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  const bool can = madvise(memory, page, kPopulateRead) == 0;
  munmap(memory, page);
  return can;
}

TEST_F(HostWeightsTest, AFileThatWasCutIsAnErrorAndNoSignal) {
  if (!CanPopulate()) GTEST_SKIP() << "this system cannot read pages in";
  Map({2 << 20, 3 << 20});
  Cut(size_t{9} << 20);
  for (const int threads : {1, 2}) {
    const auto copies = Copy(threads);
    EXPECT_EQ(copies.status().code(), absl::StatusCode::kDataLoss) << copies.status();
  }
  weights_.erase("1");  // the other one is still whole
  const auto copies = Copy(1);
  ASSERT_TRUE(copies.ok()) << copies.status();
  EXPECT_EQ(std::memcmp((*copies)->Find("0"), content_.data(), size_t{8} << 20), 0);
}

TEST(HostWeightsEngineTest, AModelThatWasCutIsRefusedByName) {
  if (!CanPopulate()) GTEST_SKIP() << "this system cannot read pages in";
  const TempDir folder;
  const std::string path = folder.Path("model.gguf");
  std::filesystem::copy_file(TANDEM_SOURCE_DIR "/models/stories-iq4_nl.gguf", path);
  auto model = Model::Open(path);
  ASSERT_TRUE(model.ok()) << model.status();
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  const auto engine = Engine::Open(*std::move(model), {});
  EXPECT_EQ(engine.status().code(), absl::StatusCode::kDataLoss) << engine.status();
  EXPECT_THAT(std::string(engine.status().message()), HasSubstr(path));
}

}  // namespace
}  // namespace tandem
