#include "runtime/gguf_writer.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

std::vector<std::byte> Pattern(size_t size, int seed) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + seed);
  return bytes;
}

GgufHeader HeaderWithEveryType() {
  GgufHeader header;
  header.SetString("general.architecture", "llama");
  header.SetU32("general.alignment", 32);
  header.SetU8("u8", 255);
  header.SetI8("i8", -128);
  header.SetU16("u16", 65535);
  header.SetI16("i16", -32768);
  header.SetU32("u32", ~0u);
  header.SetI32("i32", INT32_MIN);
  header.SetU64("u64", ~0ull);
  header.SetI64("i64", INT64_MIN);
  header.SetF32("f32", 1.5f);
  header.SetF64("f64", 0.1);
  header.SetBool("yes", true);
  header.SetBool("no", false);
  header.SetString("empty", "");
  header.SetString("nul", std::string_view("a\0b", 3));
  header.SetU32Array("u32s", std::vector<uint32_t>{1, ~0u});
  header.SetI32Array("i32s", std::vector<int32_t>{-1, 7});
  header.SetF32Array("f32s", std::vector<float>{0.25f, -INFINITY});
  header.SetBoolArray("bools", {true, false, true});
  header.SetStringArray("strings", std::vector<std::string_view>{"", "two", "\xff"});
  header.SetStringArray("nothing", {});
  return header;
}

TEST(GgufWriterTest, EveryMetadataTypeComesBack) {
  const auto bytes = HeaderWithEveryType().Serialize();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  const auto file = GgufFile::Parse(*bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  const GgufMetadata& metadata = file->metadata();
  EXPECT_EQ(metadata.entries().size(), 22u);
  EXPECT_EQ(metadata.entries()[2].key, "u8");
  EXPECT_EQ(*metadata.GetU32("u8"), 255u);
  EXPECT_EQ(*metadata.GetI32("i8"), -128);
  EXPECT_EQ(*metadata.GetU32("u16"), 65535u);
  EXPECT_EQ(*metadata.GetI32("i16"), -32768);
  EXPECT_EQ(*metadata.GetU32("u32"), ~0u);
  EXPECT_EQ(*metadata.GetI32("i32"), INT32_MIN);
  EXPECT_EQ(*metadata.GetU64("u64"), ~0ull);
  EXPECT_EQ(*metadata.GetI64("i64"), INT64_MIN);
  EXPECT_EQ(*metadata.GetF32("f32"), 1.5f);
  EXPECT_EQ(*metadata.GetF32("f64"), 0.1f);
  EXPECT_EQ(metadata.Find("f64")->type, GgufType::kF64);
  EXPECT_TRUE(*metadata.GetBool("yes"));
  EXPECT_FALSE(*metadata.GetBool("no"));
  EXPECT_EQ(*metadata.GetString("empty"), "");
  EXPECT_EQ(*metadata.GetString("nul"), std::string_view("a\0b", 3));
  EXPECT_THAT(*metadata.GetU32Array("u32s"), ElementsAre(1, ~0u));
  EXPECT_THAT(*metadata.GetI32Array("i32s"), ElementsAre(-1, 7));
  EXPECT_THAT(*metadata.GetF32Array("f32s"), ElementsAre(0.25f, -INFINITY));
  EXPECT_THAT(*metadata.GetBoolArray("bools"), ElementsAre(true, false, true));
  EXPECT_THAT(*metadata.GetStringArray("strings"), ElementsAre("", "two", "\xff"));
  EXPECT_TRUE(metadata.GetStringArray("nothing")->empty());
}

TEST(GgufWriterTest, CopiedValuesAreTheSame) {
  const auto bytes = HeaderWithEveryType().Serialize();
  ASSERT_TRUE(bytes.ok());
  const auto file = GgufFile::Parse(*bytes);
  ASSERT_TRUE(file.ok());
  GgufHeader copy;
  for (const auto& [key, value] : file->metadata().entries()) copy.SetValue(key, value);
  const auto copied = copy.Serialize();
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(*copied, *bytes);
}

TEST(GgufWriterTest, TensorsOfEveryTypeComeBack) {
  const TempDir dir;
  const std::string path = dir.Path("model.gguf");
  GgufHeader header;
  header.SetString("general.architecture", "test");
  for (const DTypeInfo& info : AllDTypes()) {
    header.AddTensor(info.name, info.dtype, std::vector<int64_t>{3, 2, 2 * info.block_size});
  }
  header.AddTensor("vector", DType::kF32, std::vector<int64_t>{5});
  const auto bytes_of = [](const DTypeInfo& info) { return size_t(12 * info.block_bytes); };

  auto writer = GgufWriter::Create(path, header);
  ASSERT_TRUE(writer.ok()) << writer.status();
  for (const DTypeInfo& info : AllDTypes()) {
    const auto data = Pattern(bytes_of(info), static_cast<int>(info.dtype));
    const std::span<const std::byte> all = data;
    ASSERT_TRUE(writer->WriteTensor(info.name, all.first(7)).ok());  // in two parts
    ASSERT_TRUE(writer->WriteTensor(info.name, all.subspan(7)).ok());
  }
  ASSERT_TRUE(writer->WriteTensor("vector", Pattern(20, 99)).ok());
  ASSERT_TRUE(writer->Finish().ok());

  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), AllDTypes().size() + 1);
  for (const DTypeInfo& info : AllDTypes()) {
    const FileTensor* tensor = file->tensors().Find(info.name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->dtype, info.dtype);
    EXPECT_THAT(tensor->shape, ElementsAre(3, 2, 2 * info.block_size));
    EXPECT_THAT(tensor->data,
                ElementsAreArray(Pattern(bytes_of(info), static_cast<int>(info.dtype))));
    EXPECT_EQ(tensor->offset % 32, 0u);
  }
  EXPECT_THAT(file->tensors().Find("vector")->shape, ElementsAre(5));
  EXPECT_EQ(file->mapping()->bytes().size() % 32, 0u);
}

TEST(GgufWriterTest, HeadersThatTheFormatForbidsAreRefused) {
  const auto message = [](auto change) {
    GgufHeader header;
    change(header);
    return std::string(header.Serialize().status().message());
  };
  using Shape = std::vector<int64_t>;
  const auto tensor = [&](std::string_view name, DType dtype, const Shape& shape) {
    return message([&](GgufHeader& h) { h.AddTensor(name, dtype, shape); });
  };
  EXPECT_THAT(message([](GgufHeader& h) { h.SetU8("", 1); }), HasSubstr("key is empty"));
  EXPECT_THAT(message([](GgufHeader& h) {
                h.SetU8("k", 1);
                h.SetBool("k", true);
              }),
              HasSubstr("'k' is set twice"));
  EXPECT_THAT(message([](GgufHeader& h) { h.SetU32("general.alignment", 64); }),
              HasSubstr("must be u32 32"));
  EXPECT_THAT(message([](GgufHeader& h) { h.SetU8("general.alignment", 32); }),
              HasSubstr("must be u32 32"));
  EXPECT_THAT(message([](GgufHeader& h) {
                h.AddTensor("t", DType::kF32, Shape{1});
                h.AddTensor("t", DType::kF32, Shape{1});
              }),
              HasSubstr("'t' is declared twice"));
  EXPECT_THAT(tensor("", DType::kF32, {1}), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(tensor(std::string(64, 'x'), DType::kF32, {1}), HasSubstr("1 to 63 bytes"));
  EXPECT_THAT(tensor("t", DType::kF32, {}), HasSubstr("0 dimensions"));
  EXPECT_THAT(tensor("t", DType::kF32, {1, 1, 1, 1, 1}), HasSubstr("5 dimensions"));
  EXPECT_THAT(tensor("t", DType::kF32, {0, 4}), HasSubstr("[0, 4]"));
  EXPECT_THAT(tensor("t", DType::kF32, {-1}), HasSubstr("[-1]"));
  EXPECT_THAT(tensor("t", DType::kF32, {1ll << 40, 1ll << 40}), HasSubstr("too large"));
  EXPECT_THAT(tensor("t", DType::kQ4_0, {2, 33}), HasSubstr("rows of 33"));
  EXPECT_THAT(message([](GgufHeader& h) {
                for (const char* name : {"a", "b", "c"}) {
                  h.AddTensor(name, DType::kF32, Shape{(1ll << 60) - 1});
                }
              }),
              HasSubstr("more bytes than a file can hold"));
}

class GgufWriterMisuseTest : public ::testing::Test {
 protected:
  absl::StatusOr<GgufWriter> Create() {
    GgufHeader header;
    header.AddTensor("a", DType::kF32, std::vector<int64_t>{4});
    header.AddTensor("b", DType::kF32, std::vector<int64_t>{4});
    return GgufWriter::Create(path_, header);
  }
  const TempDir dir_;
  const std::string path_ = dir_.Write("out.gguf", "old");
};

TEST_F(GgufWriterMisuseTest, WrongOrderSizeAndCountAreRefused) {
  auto writer = Create();
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_THAT(std::string(writer->WriteTensor("b", Pattern(16, 0)).message()),
              HasSubstr("'b' comes where 'a' is expected"));
  EXPECT_THAT(std::string(writer->WriteTensor("a", Pattern(17, 0)).message()),
              HasSubstr("is given 17 bytes; it has 16"));
  ASSERT_TRUE(writer->WriteTensor("a", Pattern(16, 0)).ok());
  ASSERT_TRUE(writer->WriteTensor("b", Pattern(15, 0)).ok());
  EXPECT_THAT(std::string(writer->Finish().message()), HasSubstr("'b' has 15 of 16 bytes"));
  ASSERT_TRUE(writer->WriteTensor("b", Pattern(1, 0)).ok());
  EXPECT_THAT(std::string(writer->WriteTensor("c", {}).message()), HasSubstr("after the last"));
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_TRUE(GgufFile::Open(path_).ok());
}

TEST_F(GgufWriterMisuseTest, AnUnfinishedFileLeavesTheOldOne) {
  {
    auto writer = Create();
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE(writer->WriteTensor("a", Pattern(16, 0)).ok());
  }
  EXPECT_EQ(ReadFileBytes(path_), "old");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
}

}  // namespace
}  // namespace tandem
