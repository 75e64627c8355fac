#include "runtime/safetensors.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/safetensors_writer.h"
#include "tests/runtime/raw_gguf.h"
#include "tests/runtime/temp_dir.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

std::string File(std::string_view header, size_t data_bytes) {
  return RawText(header) + std::string(data_bytes, '\x5a');
}

TEST(SafetensorsTest, ReadsEveryKindOfTensor) {
  const std::string bytes = File(R"({"__metadata__":{"format":"pt","n":"1"},)"
                                 R"("w":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
                                 R"("f":{"data_offsets":[0,16],"shape":[4],"dtype":"F32"},)"
                                 R"("scalar":{"dtype":"F16","shape":[],"data_offsets":[28,30]},)"
                                 R"("none":{"dtype":"I32","shape":[0,7],"data_offsets":[30,30]},)"
                                 R"("long":{"dtype":"I64","shape":[1],"data_offsets":[30,38]},)"
                                 R"("f8":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[38,41]},)"
                                 R"("new":{"dtype":"F3_X","shape":[9],"data_offsets":[41,42]}}  )",
                                 42);
  const auto file = SafetensorsFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("format", "pt"), Pair("n", "1")));
  ASSERT_EQ(file->tensors().size(), 7u);
  EXPECT_EQ(file->tensors()[0].name, "f");
  const FileTensor* w = file->tensors().Find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->dtype, DType::kBF16);
  EXPECT_THAT(w->shape, ElementsAre(2, 3));
  EXPECT_EQ(w->data.data(), AsBytes(bytes).data() + bytes.size() - 42 + 16);
  EXPECT_EQ(w->offset, bytes.size() - 42 + 16);
  EXPECT_EQ(w->data.size(), 12u);
  EXPECT_THAT(file->tensors().Find("scalar")->shape, IsEmpty());
  EXPECT_EQ(NumElements(*file->tensors().Find("scalar")), 1);
  EXPECT_EQ(NumElements(*file->tensors().Find("none")), 0);
  for (const char* name : {"long", "f8", "new"}) {
    const FileTensor* tensor = file->tensors().Find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->dtype, std::nullopt);
    EXPECT_THAT(std::string(SupportedDType(*tensor).status().message()),
                AllOf(HasSubstr(name), HasSubstr(tensor->type_name)));
  }
}

TEST(SafetensorsTest, NamesMayBeEscaped) {
  const std::string bytes =
      File(R"({"a\u00e9\"\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const auto file = SafetensorsFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors()[0].name, "a\xc3\xa9\"\n");
}

TEST(SafetensorsTest, NamesLiveThroughMoves) {
  const std::string bytes = File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  auto parsed = SafetensorsFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  std::vector<SafetensorsFile> files;
  files.push_back(*std::move(parsed));
  files.reserve(100);
  EXPECT_EQ(files[0].tensors()[0].name, "a");
  EXPECT_NE(files[0].tensors().Find("a"), nullptr);
}

TEST(SafetensorsTest, EmptyFileOfTensors) {
  EXPECT_TRUE(SafetensorsFile::Parse(AsBytes(File("{}", 0))).ok());
}

TEST(SafetensorsWriterTest, WhatIsWrittenComesBackAligned) {
  const TempDir dir;
  const std::string path = dir.Path("out.safetensors");
  std::vector<float> floats(6);
  std::iota(floats.begin(), floats.end(), -2.5f);
  floats[5] = INFINITY;
  const std::vector<int32_t> ints = {1, -2, 3};
  const std::vector<std::byte> halves(6, std::byte{0x3c});
  const std::vector<SafetensorsTensor> tensors = {
      {"half", DType::kF16, {3}, halves},
      {"bf", DType::kBF16, {3, 1}, halves},
      MakeSafetensorsTensor("floats \"\xc3\xa9", {2, 3}, floats),
      MakeSafetensorsTensor("ints", {3}, ints),
      MakeSafetensorsTensor("none", {0, 3}, std::span<const float>()),
      MakeSafetensorsTensor("one", {}, std::span<const float>(floats).first(1)),
  };
  ASSERT_TRUE(WriteSafetensors(path, tensors, {{"made by", "test"}}).ok());
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("made by", "test")));
  ASSERT_EQ(file->tensors().size(), tensors.size());
  for (const SafetensorsTensor& tensor : tensors) {
    const FileTensor* read = file->tensors().Find(tensor.name);
    ASSERT_NE(read, nullptr) << tensor.name;
    EXPECT_EQ(read->dtype, tensor.dtype);
    EXPECT_THAT(read->shape, ElementsAreArray(tensor.shape));
    EXPECT_THAT(read->data, ElementsAreArray(tensor.data));
    EXPECT_EQ(read->offset % GetDTypeInfo(tensor.dtype).block_bytes, 0u) << tensor.name;
  }
}

TEST(SafetensorsWriterTest, WrongTensorsAreRefusedAndTheOldFileStays) {
  const TempDir dir;
  const std::string path = dir.Write("out", "old");
  const std::vector<float> one = {1.0f};
  const auto error = [&](const std::vector<SafetensorsTensor>& tensors) {
    return std::string(WriteSafetensors(path, tensors).message());
  };
  const auto f32 = [&](std::string_view name, std::vector<int64_t> shape) {
    return MakeSafetensorsTensor(name, std::move(shape), one);
  };
  EXPECT_THAT(error({f32("a", {2})}), HasSubstr("'a' of shape [2] and type f32 is given 4 bytes"));
  EXPECT_THAT(error({f32("a", {-1, -1})}), HasSubstr("[-1, -1]"));
  EXPECT_THAT(error({f32("a", {1ll << 62, 4})}), HasSubstr("is given 4 bytes"));
  EXPECT_THAT(error({f32("a", {1}), f32("a", {1})}), HasSubstr("'a' occurs twice"));
  EXPECT_THAT(error({f32("", {1})}), HasSubstr("does not allow"));
  EXPECT_THAT(error({f32("__metadata__", {1})}), HasSubstr("does not allow"));
  EXPECT_THAT(error({f32("\xff", {1})}), HasSubstr("not UTF-8"));
  EXPECT_THAT(error({{"q", DType::kQ8_0, {32}, {}}}), HasSubstr("type q8_0"));
  EXPECT_FALSE(WriteSafetensors(path, {}, {{"\xff", ""}}).ok());
  EXPECT_FALSE(WriteSafetensors(dir.Path("no/dir"), {}).ok());
  EXPECT_EQ(ReadFileBytes(path), "old");
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
}

// Two shards, "a" in the first and "b" in the second, and an index.
class SafetensorsModelTest : public ::testing::Test {
 protected:
  void WriteShard(std::string_view name, const std::vector<std::string>& tensors) {
    std::vector<SafetensorsTensor> all;
    for (const auto& t : tensors) all.push_back(MakeSafetensorsTensor(t, {1}, value_));
    ASSERT_TRUE(WriteSafetensors(dir_.Path(name), all).ok());
  }
  void SetUp() override {
    WriteShard("m-1.safetensors", {"a"});
    WriteShard("m-2.safetensors", {"b"});
    WriteIndex(R"({"metadata":{"total_size":8,"more":[{"weight_map":[null]}]},)"
               R"("weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})");
  }
  void WriteIndex(std::string_view text) { dir_.Write("model.safetensors.index.json", text); }
  std::string Error() const {
    return std::string(SafetensorsModel::Open(dir_.Path("")).status().message());
  }

  const std::vector<float> value_ = {7.0f};
  const TempDir dir_;
};

TEST_F(SafetensorsModelTest, OpensFromADirectoryAnIndexOrAFile) {
  for (const char* name : {"", "model.safetensors.index.json"}) {
    const auto model = SafetensorsModel::Open(dir_.Path(name));
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->shards().size(), 2u);
    EXPECT_EQ(model->tensors().size(), 2u);
    EXPECT_EQ((*model->tensors().Get("b"))->shard, 1);
  }
  const auto one = SafetensorsModel::Open(dir_.Path("m-2.safetensors"));
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->tensors().size(), 1u);
  std::filesystem::remove(dir_.Path("model.safetensors.index.json"));
  WriteShard("model.safetensors", {"x", "y"});
  const auto whole = SafetensorsModel::Open(dir_.Path(""));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->tensors().size(), 2u);
}

TEST_F(SafetensorsModelTest, NothingThere) {
  const TempDir empty;
  EXPECT_THAT(std::string(SafetensorsModel::Open(empty.Path("")).status().message()),
              HasSubstr("model.safetensors"));
}

TEST_F(SafetensorsModelTest, ShardMissing) {
  std::filesystem::remove(dir_.Path("m-2.safetensors"));
  EXPECT_THAT(Error(), HasSubstr("m-2.safetensors"));
}

TEST_F(SafetensorsModelTest, TensorNotWhereTheIndexPutsIt) {
  WriteShard("m-2.safetensors", {"c"});
  EXPECT_THAT(Error(), HasSubstr("'b' is not in 'm-2.safetensors'"));
}

TEST_F(SafetensorsModelTest, TensorInTwoShards) {
  WriteShard("m-2.safetensors", {"a", "b"});
  EXPECT_THAT(Error(), HasSubstr("'a' occurs twice"));
}

TEST_F(SafetensorsModelTest, NamesThatLeaveTheDirectory) {
  for (const std::string name :
       {"../m-1.safetensors", "/etc/x.safetensors", "sub/m.safetensors", "..", "",
        "..\\\\m.safetensors", ".safetensors", "m-1.bin", "m\\u0000.safetensors"}) {
    WriteIndex(R"({"weight_map":{"a":")" + name + R"("}})");
    EXPECT_THAT(Error(), HasSubstr("must be a plain name")) << name;
  }
}

TEST_F(SafetensorsModelTest, IndexOfTheWrongForm) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"7", "no object 'weight_map'"},
      {"[]", "no object 'weight_map'"},
      {"{}", "no object 'weight_map'"},
      {R"({"weight_map":[]})", "no object 'weight_map'"},
      {R"({"weight_map":{}})", "is empty"},
      {R"({"weight_map":{"a":1}})", "'a' in the index is not a text"},
      {R"({"weight_map":"a"})", "no object 'weight_map'"},
      {R"({"x":{"weight_map":{"a":"m-1.safetensors"}}})", "no object 'weight_map'"},
      {R"({"weight_map":{"a":{}}})", "'a' in the index is not a text"},
      {R"({"weight_map":{"a":["b"]}})", "'a' in the index is not a text"},
      {R"({"weight_map":{},"weight_map":{}})", "'weight_map' twice"},
      {R"({"weight_map":{"a":"m-1.safetensors","a":"m-1.safetensors"}})",
       "'a' is twice in the index"},
      {R"({"weight_map":{"a":null}})", "'a' in the index is not a text"},
  };
  for (const auto& [text, message] : cases) {
    WriteIndex(text);
    EXPECT_THAT(Error(), HasSubstr(std::string(message))) << text;
  }
  WriteIndex(std::string(1 << 20, '['));
  EXPECT_THAT(Error(), HasSubstr("no object 'weight_map'"));
  WriteIndex(R"({"x":)" + std::string(1 << 20, '['));
  EXPECT_THAT(Error(), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace tandem
