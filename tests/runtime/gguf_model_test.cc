#include "runtime/gguf_model.h"

#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf_writer.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

struct ShardKeys {
  int number;
  int count;
  int tensors;
};

// Three shards "m-0000k-of-00003.gguf": the first without tensors, then "a", then "b" and "c".
class GgufModelTest : public ::testing::Test {
 protected:
  std::string Path(int number) const {
    return dir_.Path("m-0000" + std::to_string(number) + "-of-00003.gguf");
  }

  void WriteShard(const std::string& path, const ShardKeys& keys,
                  const std::vector<std::string>& tensors) {
    GgufHeader header;
    if (keys.number == 0) header.SetString("general.architecture", "llama");
    header.SetU16("split.no", static_cast<uint16_t>(keys.number));
    header.SetU16("split.count", static_cast<uint16_t>(keys.count));
    header.SetI32("split.tensors.count", keys.tensors);
    for (const auto& name : tensors) header.AddTensor(name, DType::kF32, std::vector<int64_t>{1});
    auto writer = GgufWriter::Create(path, header);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (const auto& name : tensors) {
      const float value = name[0];
      ASSERT_TRUE(writer->WriteTensor(name, std::as_bytes(std::span(&value, 1))).ok());
    }
    ASSERT_TRUE(writer->Finish().ok());
  }

  void SetUp() override {
    WriteShard(Path(1), {0, 3, 3}, {});
    WriteShard(Path(2), {1, 3, 3}, {"a"});
    WriteShard(Path(3), {2, 3, 3}, {"b", "c"});
  }

  std::string Error(const std::string& path) const {
    return std::string(GgufModel::Open(path).status().message());
  }

  const TempDir dir_;
};

TEST_F(GgufModelTest, AnyShardLeadsToTheWholeModel) {
  for (int number = 1; number <= 3; ++number) {
    const auto model = GgufModel::Open(Path(number));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->shards().size(), 3u);
    EXPECT_EQ(*model->metadata().GetString("general.architecture"), "llama");
    ASSERT_EQ(model->tensors().size(), 3u);
    const FileTensor* c = model->tensors().Find("c");
    ASSERT_NE(c, nullptr);
    EXPECT_EQ(c->shard, 2);
    const auto file = model->shards()[2].mapping()->bytes();
    EXPECT_EQ(c->data.data(), file.data() + c->offset);
    float value = 0;
    std::memcpy(&value, c->data.data(), sizeof(value));
    EXPECT_EQ(value, 'c');
  }
}

TEST_F(GgufModelTest, AFileAloneIsAModel) {
  WriteShard(dir_.Path("alone.gguf"), {0, 1, 1}, {"a"});
  const auto model = GgufModel::Open(dir_.Path("alone.gguf"));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->tensors().size(), 1u);
  EXPECT_EQ(model->shards().size(), 1u);
}

TEST_F(GgufModelTest, MissingShard) {
  std::filesystem::remove(Path(2));
  EXPECT_THAT(Error(Path(1)), AllOf(HasSubstr("shard 2 of 3"), HasSubstr(Path(2))));
}

TEST_F(GgufModelTest, ShardsInTheWrongOrder) {
  WriteShard(Path(2), {2, 3, 3}, {"a"});
  EXPECT_THAT(Error(Path(1)), AllOf(HasSubstr(Path(2)), HasSubstr("'split.no' is 2 where 1")));
}

TEST_F(GgufModelTest, ShardOfAnotherModel) {
  WriteShard(Path(2), {1, 4, 3}, {"a"});
  EXPECT_THAT(Error(Path(1)), AllOf(HasSubstr(Path(2)), HasSubstr("'split.count' is 4 where 3")));
}

TEST_F(GgufModelTest, ShardWithoutItsKeys) {
  GgufHeader header;
  header.AddTensor("a", DType::kF32, std::vector<int64_t>{1});
  auto writer = GgufWriter::Create(Path(2), header);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->WriteTensor("a", std::vector<std::byte>(4)).ok());
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_THAT(Error(Path(1)), HasSubstr("'split.no' is missing"));
}

TEST_F(GgufModelTest, TensorInTwoShards) {
  WriteShard(Path(2), {1, 3, 3}, {"b"});
  EXPECT_THAT(Error(Path(1)), HasSubstr("'b' occurs twice"));
}

TEST_F(GgufModelTest, WrongTotal) {
  WriteShard(Path(2), {1, 3, 3}, {"a", "d"});
  EXPECT_THAT(Error(Path(1)), HasSubstr("'split.tensors.count' is 3 where 4 is expected"));
}

TEST_F(GgufModelTest, NegativeTotal) {
  WriteShard(Path(1), {0, 3, -1}, {});
  EXPECT_THAT(Error(Path(1)), HasSubstr("'split.tensors.count' is -1"));
}

TEST_F(GgufModelTest, DamagedShard) {
  std::filesystem::resize_file(Path(3), 100);
  EXPECT_THAT(Error(Path(1)), HasSubstr("shard 3 of 3"));
}

TEST_F(GgufModelTest, NameThatLeadsNowhere) {
  for (const char* name :
       {"renamed.gguf", "m-00001-of-00004.gguf", "m-0001-of-0003.gguf", "m-00001-of-00003.ggml",
        "m-00001_of_00003.gguf", "m-000a1-of-00003.gguf"}) {
    std::filesystem::copy_file(Path(1), dir_.Path(name));
    EXPECT_THAT(Error(dir_.Path(name)), HasSubstr("the others cannot be found")) << name;
  }
}

}  // namespace
}  // namespace tandem
