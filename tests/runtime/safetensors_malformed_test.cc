// Files that a reader must refuse, each for its reason, and damage of all kinds.
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/safetensors.h"
#include "tests/damage.h"
#include "tests/runtime/raw_gguf.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kGoodHeader =
    R"({"__metadata__":{"format":"pt"},)"
    R"("a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}})";
constexpr size_t kDataBytes = 22;

std::string File(std::string_view header, size_t data_bytes = kDataBytes) {
  return RawText(header) + std::string(data_bytes, '\x5a');
}

// The good header with its first `from` replaced.
std::string Patched(std::string_view from, std::string_view to) {
  std::string header(kGoodHeader);
  const size_t position = header.find(from);
  EXPECT_NE(position, std::string::npos) << from;
  return header.replace(position, from.size(), to);
}

struct Defect {
  std::string name;
  std::string bytes;
  std::string message;  // a part of the error that names the cause
};

void PrintTo(const Defect& defect, std::ostream* os) { *os << defect.name; }

std::vector<Defect> FrameDefects() {
  const std::string good(kGoodHeader);
  return {
      {"Empty", "", "inside the header's length"},
      {"LengthCut", std::string(7, '\1'), "inside the header's length"},
      {"LengthHuge", Raw<uint64_t>(1ull << 60) + good, "length is 1152921504606846976 bytes"},
      {"LengthMax", Raw<uint64_t>(~0ull) + good, "at most 100000000"},
      {"LengthOverLimit", Raw<uint64_t>(100'000'001) + good, "length is 100000001 bytes"},
      {"LengthBeyondFile", Raw<uint64_t>(5000) + good, "inside the header: 5000 bytes"},
      {"LengthZero", Raw<uint64_t>(0) + good, "does not begin with '{'"},
      {"LengthOneLess", Raw<uint64_t>(good.size() - 1) + good + "zz", "not valid JSON"},
      {"LengthOneMore", Raw<uint64_t>(good.size() + 1) + good + std::string(22, 'z'),
       "not valid JSON"},
      {"NoJson", File("hello"), "does not begin with '{'"},
      {"LeadingSpace", File(" " + good), "does not begin with '{'"},
      {"Gguf", RawGguf().Bytes(), "not a safetensors file"},
      {"CutJson", File(R"({"a":{"dtype":)"), "not valid JSON"},
      {"TwoObjects", File(good + "{}"), "not valid JSON"},
      {"BadUtf8", File("{\"\xff\":{}}"), "not valid JSON"},
      {"DeepNesting", File(R"({"a":)" + std::string(100000, '[')), "an array in an unexpected"},
      {"DeepObjects", File([] {
         std::string text;
         for (int i = 0; i < 100000; ++i) text += R"({"a":)";
         return text;
       }()),
       "'a' has the unknown field 'a'"},
      {"DataShort", File(good, 21), "cut short or damaged"},
      {"DataMissing", File(good, 0), "cut short or damaged"},
      {"DataLong", File(good, 23), "end at byte 22 of the data, but the file goes on to 23"},
  };
}

std::vector<Defect> HeaderDefects() {
  const auto patched = [](std::string_view from, std::string_view to) {
    return File(Patched(from, to));
  };
  return {
      {"EntryNull", patched(R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})", "null"),
       "has null in an unexpected place"},
      {"EntryText", patched(R"({"dtype":"F32","shape":[2,2],"data_offsets":[0,16]})", "\"x\""),
       "has a text in an unexpected place"},
      {"DtypeMissing", patched(R"("dtype":"F32",)", ""), "'a' has no field 'dtype'"},
      {"ShapeMissing", patched(R"("shape":[2,2],)", ""), "'a' has no field 'shape'"},
      {"OffsetsMissing", patched(R"(,"data_offsets":[0,16])", ""),
       "'a' has no field 'data_offsets'"},
      {"DtypeNumber", patched(R"("F32")", "32"), "'a' has a number in an unexpected place"},
      {"DtypeBool", patched(R"("F32")", "true"), "'a' has a boolean in an unexpected place"},
      {"DtypeTwice", patched(R"("shape":[2,2])", R"("dtype":"F32","shape":[2,2])"),
       "'a' has the field 'dtype' twice"},
      {"ShapeTwice", patched(R"("shape":[2,2])", R"("shape":[2,2],"shape":[4])"),
       "'a' has the field 'shape' twice"},
      {"FieldUnknown", patched(R"("shape":[2,2])", R"("shape":[2,2],"strides":[2,1])"),
       "'a' has the unknown field 'strides'"},
      {"TensorTwice", patched(R"("b":)", R"("a":)"), "'a' occurs twice"},
      {"NameEmpty", patched(R"("b":)", R"("":)"), "has an empty name"},
      {"ShapeNegative", patched("[2,2]", "[-2,2]"), "'a' has the negative number -2"},
      {"ShapeFraction", patched("[2,2]", "[2.0,2]"), "'a' has '2.0' where a whole number"},
      {"ShapeText", patched("[2,2]", R"(["2",2])"), "'a' has a text in an unexpected place"},
      {"ShapeNested", patched("[2,2]", "[[2,2]]"), "'a' has an array in an unexpected place"},
      {"ShapeNumber", patched("[2,2]", "4"), "'a' has a number in an unexpected place"},
      {"ShapeTooLarge", patched("[2,2]", "[9223372036854775808,2]"),
       "'a' has the number 9223372036854775808, which is too large"},
      {"ShapeOver64Bits", patched("[2,2]", "[99999999999999999999999,2]"), "where a whole number"},
      {"ShapeOverflows", patched("[2,2]", "[4294967296,4294967296]"), "more elements than 64 bits"},
      {"ShapeOverflowsBesideZero", patched("[2,2]", "[0,4294967296,4294967296]"),
       "more elements than 64 bits"},
      {"BitsOverflow", patched("[2,2]", "[9223372036854775807]"), "more bits than 64 bits"},
      {"ShapeMismatch", patched("[2,2]", "[2,3]"),
       "has 16 bytes at data_offsets [0, 16], but 24 are needed for shape [2, 3] of F32"},
      {"DtypeMismatch", patched("F32", "F16"), "but 8 are needed"},
      {"HalfByte", patched(R"("F32","shape":[2,2])", R"("F4","shape":[31])"),
       "'a' of shape [31] does not end at a whole byte"},
      {"OffsetsOne", patched("[0,16]", "[16]"), "'a' has 1 data_offsets"},
      {"OffsetsThree", patched("[0,16]", "[0,8,16]"), "'a' has more than two data_offsets"},
      {"OffsetsReversed", patched("[0,16]", "[16,0]"), "'a' has data_offsets [16, 0]"},
      {"OffsetsNegative", patched("[0,16]", "[-16,0]"), "'a' has the negative number -16"},
      {"OffsetsBeyondData", patched("[16,22]", "[160,166]"), "'b' has data_offsets [160, 166]"},
      {"OffsetsHuge", patched("[16,22]", "[9223372036854775801,9223372036854775807]"),
       "'b' has data_offsets"},
      {"Overlap", patched("[16,22]", "[12,18]"), "'b' begins at byte 12 of the data, inside"},
      {"SameData", patched("[16,22]", "[0,6]"), "inside the tensor before"},
      {"Gap", File(Patched("[16,22]", "[18,24]"), 24), "leaving a gap"},
      {"GapInFront", File(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
       "leaving a gap"},
      {"MetadataNumber", patched(R"("pt")", "1"), "'__metadata__' has a number"},
      {"MetadataNested", patched(R"("pt")", "{}"), "'__metadata__' has an object"},
      {"MetadataArray", patched(R"({"format":"pt"})", "[]"), "has an array in an unexpected place"},
      {"MetadataKeyTwice", patched(R"("format":"pt")", R"("format":"pt","format":"np")"),
       "'__metadata__' has the key 'format' twice"},
      {"MetadataTwice", patched(R"("a":)", R"("__metadata__":{},"a":)"),
       "has '__metadata__' twice"},
  };
}

std::vector<Defect> AllDefects() {
  std::vector<Defect> all = FrameDefects();
  for (Defect& defect : HeaderDefects()) all.push_back(std::move(defect));
  return all;
}

class SafetensorsDefectTest : public ::testing::TestWithParam<Defect> {};

TEST_P(SafetensorsDefectTest, IsRefusedWithItsCause) {
  const auto file = SafetensorsFile::Parse(AsBytes(GetParam().bytes));
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(, SafetensorsDefectTest, ::testing::ValuesIn(AllDefects()),
                         [](const auto& info) { return info.param.name; });

TEST(SafetensorsDamageTest, EveryCutIsRefused) {
  const std::string bytes = File(kGoodHeader);
  ASSERT_TRUE(SafetensorsFile::Parse(AsBytes(bytes)).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);  // a copy of its own, so that ASan sees its end
    EXPECT_FALSE(SafetensorsFile::Parse(AsBytes(cut)).ok()) << size;
  }
}

TEST(SafetensorsDamageTest, DamagedFilesAreRefusedOrReadWithinTheirBounds) {
  const std::string good = File(kGoodHeader);
  int refused = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    const std::vector<std::byte> bytes = Damage(AsBytes(good), seed);
    const auto file = SafetensorsFile::Parse(bytes);
    if (!file.ok()) {
      ++refused;
      EXPECT_FALSE(file.status().message().empty());
      continue;
    }
    for (const FileTensor& tensor : file->tensors()) {
      EXPECT_GE(tensor.data.data(), bytes.data());
      EXPECT_LE(tensor.data.data() + tensor.data.size(), bytes.data() + bytes.size());
      EXPECT_EQ(file->tensors().Find(tensor.name), &tensor);
    }
  }
  EXPECT_GT(refused, 2000);
  EXPECT_LT(refused, 4000);
}

}  // namespace
}  // namespace tandem
