#include "runtime/gguf.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/runtime/raw_gguf.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(GgufTest, ReadsMetadataInPlace) {
  const std::string bytes = RawGguf().Bytes();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->alignment(), 32u);
  EXPECT_EQ(file->mapping(), nullptr);
  const GgufMetadata& metadata = file->metadata();
  EXPECT_EQ(metadata.entries().size(), 6u);
  const auto architecture = metadata.GetString("general.architecture");
  ASSERT_TRUE(architecture.ok());
  EXPECT_EQ(*architecture, "llama");
  EXPECT_GE(architecture->data(), bytes.data());
  EXPECT_LT(architecture->data(), bytes.data() + bytes.size());
  EXPECT_EQ(*metadata.GetU32("llama.block_count"), 2u);
  EXPECT_EQ(*metadata.GetF32("llama.rope.freq_base"), 10000.0f);
  EXPECT_EQ(*metadata.GetBool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_THAT(*metadata.GetStringArray("tokenizer.ggml.tokens"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(*metadata.GetF32Array("tokenizer.ggml.scores"), ElementsAre(-1.0f, -2.0f, 0.5f));
}

TEST(GgufTest, ReadsTensorsRowMajor) {
  const std::string bytes = RawGguf().Bytes();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 2u);
  const auto up = file->tensors().Get("blk.0.ffn_up.weight");
  ASSERT_TRUE(up.ok());
  EXPECT_THAT((*up)->shape, ElementsAre(2, 64));
  EXPECT_EQ((*up)->dtype, DType::kQ8_0);
  EXPECT_EQ((*up)->type_name, "q8_0");
  EXPECT_EQ(NumElements(**up), 128);
  EXPECT_EQ((*up)->data.size(), 136u);
  EXPECT_EQ((*up)->data.data(), AsBytes(bytes).data() + (*up)->offset);
  EXPECT_EQ((*up)->offset, bytes.size() - 160);
  EXPECT_EQ((*up)->data[0], std::byte(static_cast<uint8_t>(96 * 37 + 11)));
  EXPECT_EQ(file->tensors().Find("blk.0"), nullptr);
  EXPECT_THAT(std::string(file->tensors().Get("blk.0").status().message()),
              HasSubstr("'blk.0' is missing"));
}

TEST(GgufTest, Version2AndOtherAlignmentsAreRead) {
  RawGguf raw;
  raw.version = 2;
  raw.alignment = 64;
  raw.entries.push_back(RawEntry("general.alignment", 4, Raw<uint32_t>(64)));
  raw.tensors[1].offset = 128;
  raw.data_bytes = 128 + 136;
  const std::string bytes = raw.Bytes();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->version(), 2u);
  EXPECT_EQ(file->alignment(), 64u);
  EXPECT_EQ(file->tensors()[0].offset % 64, 0u);
}

TEST(GgufTest, FileWithoutTensorsMayEndBeforeItsPadding) {
  RawGguf raw;
  raw.tensors.clear();
  raw.data_bytes = 0;
  raw.alignment = 1;
  const auto file = GgufFile::Parse(AsBytes(raw.Bytes()));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->tensors().empty());
}

TEST(GgufTest, TensorsInAnotherOrderOrWithGapsAreRead) {
  RawGguf raw;
  raw.tensors[0].offset = 192;
  raw.tensors[1].offset = 0;
  raw.data_bytes = 192 + 96;
  EXPECT_TRUE(GgufFile::Parse(AsBytes(raw.Bytes())).ok());
}

TEST(GgufTest, UnsupportedTypesAreListedAndRefusedWhenUsed) {
  RawGguf raw;
  raw.tensors = {{"iq2", {256, 2}, 16, 0, {}}, {"ks", {512}, 144, 160, {}}};
  raw.data_bytes = 160 + 4 + 2 * 136;
  const std::string bytes = raw.Bytes();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors()[0].dtype, std::nullopt);
  EXPECT_EQ(file->tensors()[0].type_name, "iq2_xxs");
  EXPECT_EQ(file->tensors()[0].data.size(), 132u);
  EXPECT_EQ(file->tensors()[1].data.size(), 276u);  // one row of two blocks after 4 bytes
  const auto dtype = SupportedDType(file->tensors()[0]);
  EXPECT_EQ(dtype.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(dtype.status().message()),
              AllOf(HasSubstr("'iq2'"), HasSubstr("'iq2_xxs'")));
}

class GgufMetadataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    raw_.entries = {
        RawEntry("u8", 0, Raw<uint8_t>(200)),
        RawEntry("i16", 3, Raw<int16_t>(-7)),
        RawEntry("i64", 11, Raw<int64_t>(1ll << 40)),
        RawEntry("u64", 10, Raw<uint64_t>(~0ull)),
        RawEntry("f64", 12, Raw<double>(1e300)),
        RawEntry("half", 12, Raw<double>(0.5)),
        RawEntry("bool", 7, Raw<uint8_t>(0)),
        RawEntry("text", 8, RawText("a\"b\n")),
        RawArray("i8s", 1, 3, Raw<int8_t>(1) + Raw<int8_t>(-2) + Raw<int8_t>(3)),
        RawArray("u16s", 2, 2, Raw<uint16_t>(65535) + Raw<uint16_t>(0)),
        RawArray("bools", 7, 3, std::string("\1\0\1", 3)),
        RawArray("none", 8, 0, ""),
        RawArray("texts", 8, 2, RawText("x") + RawText("y")),
    };
    bytes_ = raw_.Bytes();
    auto file = GgufFile::Parse(AsBytes(bytes_));
    ASSERT_TRUE(file.ok()) << file.status();
    metadata_ = file->metadata();
  }

  RawGguf raw_;
  std::string bytes_;
  GgufMetadata metadata_;
};

TEST_F(GgufMetadataTest, AnyIntegerTypeIsTakenIfTheValueFits) {
  EXPECT_EQ(*metadata_.GetU32("u8"), 200u);
  EXPECT_EQ(*metadata_.GetI32("i16"), -7);
  EXPECT_EQ(*metadata_.GetU64("u64"), ~0ull);
  EXPECT_EQ(*metadata_.GetI64("i64"), 1ll << 40);
  EXPECT_EQ(*metadata_.GetF32("half"), 0.5f);
  EXPECT_THAT(*metadata_.GetI32Array("i8s"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*metadata_.GetU32Array("u16s"), ElementsAre(65535, 0));
  EXPECT_THAT(*metadata_.GetBoolArray("bools"), ElementsAre(true, false, true));
  EXPECT_TRUE(metadata_.GetStringArray("none")->empty());
}

TEST_F(GgufMetadataTest, OutOfRangeIsRefusedWithTheValue) {
  for (const absl::Status& status :
       {metadata_.GetU32("i16").status(), metadata_.GetI32("i64").status(),
        metadata_.GetI64("u64").status(), metadata_.GetF32("f64").status(),
        metadata_.GetU32Array("i8s").status(), metadata_.FindU32("i16").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  }
  EXPECT_THAT(std::string(metadata_.GetU32("i16").status().message()),
              HasSubstr("'i16' is -7, which is out of range"));
}

TEST_F(GgufMetadataTest, WrongTypesAreRefused) {
  for (const absl::Status& status :
       {metadata_.GetU32("text").status(), metadata_.GetU32("half").status(),
        metadata_.GetU32("bool").status(), metadata_.GetBool("u8").status(),
        metadata_.GetF32("u8").status(), metadata_.GetString("u8").status(),
        metadata_.GetString("texts").status(), metadata_.GetStringArray("text").status(),
        metadata_.GetF32Array("i8s").status(), metadata_.GetI32Array("texts").status(),
        metadata_.GetStringArray("bools").status(), metadata_.GetBoolArray("i8s").status(),
        metadata_.FindF32("text").status(), metadata_.FindString("u8").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  EXPECT_THAT(std::string(metadata_.GetU32("text").status().message()),
              HasSubstr("'text' is of type string, not integer"));
  EXPECT_THAT(std::string(metadata_.GetF32Array("i8s").status().message()),
              HasSubstr("'i8s' is an array of i8, not float"));
}

TEST_F(GgufMetadataTest, MissingKeysAreNotFoundOrNothing) {
  EXPECT_EQ(metadata_.GetU32("nope").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(metadata_.GetU32("nope").status().message()), HasSubstr("'nope'"));
  const auto found = metadata_.FindU32("nope");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, std::nullopt);
  EXPECT_EQ(**metadata_.FindU32("u8"), 200u);
  EXPECT_THAT(**metadata_.FindStringArray("texts"), ElementsAre("x", "y"));
}

TEST_F(GgufMetadataTest, ValuesPrint) {
  const auto print = [this](std::string_view key) { return ToString(*metadata_.Find(key), 2); };
  EXPECT_EQ(print("u64"), "18446744073709551615");
  EXPECT_EQ(print("i16"), "-7");
  EXPECT_EQ(print("half"), "0.5");
  EXPECT_EQ(print("bool"), "false");
  EXPECT_EQ(print("text"), "\"a\\\"b\\n\"");
  EXPECT_EQ(print("i8s"), "[1, -2, ... 3 in all]");
  EXPECT_EQ(print("texts"), "[\"x\", \"y\"]");
  EXPECT_EQ(print("none"), "[]");
  EXPECT_EQ(ToString(*metadata_.Find("i8s"), 0), "[... 3 in all]");
}

}  // namespace
}  // namespace tandem
