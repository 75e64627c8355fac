#include "runtime/importance.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf_writer.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string Entry(std::string_view name, int32_t calls, std::vector<float> values) {
  std::string bytes = Bytes(static_cast<int32_t>(name.size())) + std::string(name) + Bytes(calls) +
                      Bytes(static_cast<int32_t>(values.size()));
  for (const float value : values) bytes += Bytes(value);
  return bytes;
}

absl::StatusOr<ImportanceMatrix> Parse(std::string_view text) {
  return ImportanceMatrix::Parse(std::as_bytes(std::span(text.data(), text.size())));
}

TEST(ImportanceTest, OldFormatHoldsSumsOverCalls) {
  const std::string text = Bytes(int32_t{2}) + Entry("a.weight", 4, {4.0f, 0.0f}) +
                           Entry("b.weight", 0, {3.0f}) + Bytes(int32_t{7}) + Bytes(int32_t{0});
  const auto matrix = Parse(text);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->size(), 2u);
  EXPECT_THAT(matrix->Find("a.weight"), ElementsAre(1.0f, 0.0f));
  EXPECT_THAT(matrix->Find("b.weight"), ElementsAre(3.0f));
  EXPECT_THAT(matrix->Find("c.weight"), IsEmpty());
}

TEST(ImportanceTest, EveryCutOfAFileIsRefused) {
  const std::string text = Bytes(int32_t{1}) + Entry("a.weight", 4, {4.0f, 0.0f});
  ASSERT_TRUE(Parse(text).ok());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(Parse(std::string_view(text).substr(0, size)).ok()) << size;
  }
}

TEST(ImportanceTest, RefusesValuesAndLengthsThatMakeNoSense) {
  EXPECT_FALSE(Parse(Bytes(int32_t{-1})).ok());
  EXPECT_FALSE(Parse(Bytes(int32_t{1}) + Bytes(int32_t{-5})).ok());
  EXPECT_FALSE(Parse(Bytes(int32_t{1}) + Entry("a", 1, {})).ok());
  for (const float bad : {-1.0f, NAN, INFINITY}) {
    const auto matrix = Parse(Bytes(int32_t{1}) + Entry("a.weight", 1, {bad}));
    EXPECT_THAT(std::string(matrix.status().message()), HasSubstr("a.weight"));
  }
  const std::string twice = Bytes(int32_t{2}) + Entry("a", 1, {1.0f}) + Entry("a", 1, {1.0f});
  EXPECT_THAT(std::string(Parse(twice).status().message()), HasSubstr("twice"));
}

class GgufImportanceTest : public testing::Test {
 protected:
  absl::StatusOr<ImportanceMatrix> Open(std::vector<int64_t> shape, std::vector<float> sums,
                                        std::vector<float> counts) {
    GgufHeader header;
    header.SetString("general.type", "imatrix");
    header.AddTensor("w.weight.in_sum2", DType::kF32, shape);
    const auto count = static_cast<int64_t>(counts.size());
    header.AddTensor("w.weight.counts", DType::kF32, std::vector<int64_t>{count, 1});
    const std::string path = temp_.Path("imatrix.gguf");
    auto writer = GgufWriter::Create(path, header);
    EXPECT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE(writer->WriteTensor("w.weight.in_sum2", std::as_bytes(std::span(sums))).ok());
    EXPECT_TRUE(writer->WriteTensor("w.weight.counts", std::as_bytes(std::span(counts))).ok());
    EXPECT_TRUE(writer->Finish().ok());
    return ImportanceMatrix::Open(path);
  }

  TempDir temp_;
};

TEST_F(GgufImportanceTest, EachExpertHasItsCount) {
  const auto matrix = Open({2, 3}, {2, 4, 6, 5, 5, 5}, {2, 0});
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  // The second expert was never used.
  EXPECT_THAT(matrix->Find("w.weight"), ElementsAre(1, 2, 3, 0, 0, 0));
}

TEST_F(GgufImportanceTest, RefusesCountsThatDoNotFit) {
  const auto matrix = Open({3}, {2, 4, 6}, {2, 1});
  EXPECT_THAT(std::string(matrix.status().message()), HasSubstr("3 sums and 2 counts"));
}

}  // namespace
}  // namespace tandem
