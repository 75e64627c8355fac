// Files that a reader must refuse, each for its reason, and damage of all kinds.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/gguf.h"
#include "tests/damage.h"
#include "tests/runtime/raw_gguf.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;

struct Defect {
  std::string name;
  std::function<void(RawGguf&)> make;
  std::string message;  // a part of the error that names the cause
};

void PrintTo(const Defect& defect, std::ostream* os) { *os << defect.name; }

constexpr int64_t kMaxInt64 = INT64_MAX;

std::vector<Defect> HeaderDefects() {
  return {
      {"WrongMagic", [](RawGguf& g) { g.magic = "GGML"; }, "magic"},
      {"SwappedMagic", [](RawGguf& g) { g.magic = "FUGG"; }, "magic"},
      {"Version0", [](RawGguf& g) { g.version = 0; }, "big endian"},
      {"Version1", [](RawGguf& g) { g.version = 1; }, "version 1 "},
      {"Version4", [](RawGguf& g) { g.version = 4; }, "version 4 "},
      {"BigEndian", [](RawGguf& g) { g.version = 3u << 24; }, "big endian"},
      {"TensorCountHuge", [](RawGguf& g) { g.tensor_count = 1ull << 60; },
       "1152921504606846976 tensors"},
      {"TensorCountNegative", [](RawGguf& g) { g.tensor_count = ~0ull; }, "tensors"},
      {"TensorCountOneMore", [](RawGguf& g) { g.tensor_count = 3; }, "tensor"},
      {"EntryCountHuge", [](RawGguf& g) { g.entry_count = 1ull << 60; },
       "1152921504606846976 metadata keys"},
      {"EntryCountNegative", [](RawGguf& g) { g.entry_count = ~0ull; }, "metadata keys"},
      {"EntryCountOneMore", [](RawGguf& g) { g.entry_count = 7; }, "the file ends inside"},
      {"EntryCountOneLess", [](RawGguf& g) { g.entry_count = 5; }, "tensor"},
  };
}

std::vector<Defect> MetadataDefects() {
  const auto add = [](std::string entry) {
    return [entry](RawGguf& g) { g.entries.push_back(entry); };
  };
  return {
      {"EmptyKey", add(RawEntry("", 4, Raw<uint32_t>(1))), "empty key"},
      {"KeyTwice", add(RawEntry("llama.block_count", 4, Raw<uint32_t>(9))),
       "'llama.block_count' occurs twice"},
      {"KeyLengthHuge", add(Raw<uint64_t>(1ull << 60) + "key"), "inside metadata key 6 of 7"},
      {"KeyLengthMax", add(Raw<uint64_t>(~0ull) + "key"), "inside metadata key 6 of 7"},
      {"TypeUnknown", add(RawEntry("k", 13, Raw<uint32_t>(1))),
       "'k' has the unknown type number 13"},
      {"TypeNegative", add(RawEntry("k", ~0u, Raw<uint32_t>(1))), "'k' has the unknown type"},
      {"StringTooLong", add(RawEntry("k", 8, Raw<uint64_t>(1 << 20) + "x")), "inside a string"},
      {"StringLengthMax", add(RawEntry("k", 8, Raw<uint64_t>(~0ull) + "x")), "inside a string"},
      {"BoolTwo", add(RawEntry("k", 7, Raw<uint8_t>(2))), "'k' holds a bool of 2"},
      {"BoolArrayBad", add(RawArray("k", 7, 2, Raw<uint8_t>(1) + Raw<uint8_t>(255))),
       "'k' holds a bool of 255"},
      {"ArrayOfArrays", add(RawArray("k", 9, 1, Raw<uint32_t>(4) + Raw<uint64_t>(0))),
       "'k' is an array of arrays"},
      {"ArrayTypeUnknown", add(RawArray("k", 77, 1, "x")), "'k' has the unknown type number 77"},
      {"ArrayCountHuge", add(RawArray("k", 4, 1ull << 60, "xxxx")),
       "'k' holds 1152921504606846976"},
      {"ArrayCountOverflows", add(RawArray("k", 10, (1ull << 61) + 1, "xxxxxxxx")), "'k' holds"},
      {"ArrayCountMax", add(RawArray("k", 0, ~0ull, "x")), "'k' holds"},
      {"ArrayOfStringsHuge", add(RawArray("k", 8, 1ull << 60, RawText("x"))), "'k' holds"},
      {"ArrayStringTooLong", add(RawArray("k", 8, 2, RawText("x") + Raw<uint64_t>(1ull << 40))),
       "'k' the file ends inside a string"},
      {"AlignmentZero", add(RawEntry("general.alignment", 4, Raw<uint32_t>(0))),
       "'general.alignment' is 0"},
      {"AlignmentOdd", add(RawEntry("general.alignment", 4, Raw<uint32_t>(48))),
       "'general.alignment' is 48"},
      {"AlignmentU64", add(RawEntry("general.alignment", 10, Raw<uint64_t>(32))),
       "'general.alignment' must be u32"},
      {"AlignmentString", add(RawEntry("general.alignment", 8, RawText("32"))),
       "'general.alignment' must be u32"},
      {"AlignmentArray", add(RawArray("general.alignment", 4, 1, Raw<uint32_t>(32))),
       "'general.alignment' must be u32"},
      {"AlignmentTooWide", add(RawEntry("general.alignment", 4, Raw<uint32_t>(1u << 31))),
       "not a multiple of the alignment 2147483648"},
  };
}

std::vector<Defect> TensorDefects() {
  return {
      {"NameEmpty", [](RawGguf& g) { g.tensors[1].name = ""; }, "tensor 1 has an empty name"},
      {"NameTwice", [](RawGguf& g) { g.tensors[1].name = g.tensors[0].name; },
       "'token_embd.weight' occurs twice"},
      {"NameTooLong", [](RawGguf& g) { g.tensors[0].name = std::string(64, 'n'); },
       "longer than 63 bytes"},
      {"NameUnprintable",
       [](RawGguf& g) {
         g.tensors[0] = {"\x1b[2J", {0}, 0, 0, {}};
       },
       "'\\x1b[2J' has size 0"},
      {"RankZero", [](RawGguf& g) { g.tensors[0].sizes = {}; }, "has 0 dimensions"},
      {"RankFive",
       [](RawGguf& g) {
         g.tensors[0].sizes = {8, 1, 1, 1, 1};
       },
       "has 5 dimensions"},
      {"RankHuge", [](RawGguf& g) { g.tensors[0].rank = ~0u; }, "has 4294967295 dimensions"},
      {"SizeZero",
       [](RawGguf& g) {
         g.tensors[0].sizes = {8, 0};
       },
       "'token_embd.weight' has size 0 in dimension 1"},
      {"SizeZeroFirst",
       [](RawGguf& g) {
         g.tensors[0].sizes = {0, 3};
       },
       "size 0 in dimension 0"},
      {"SizeNegative",
       [](RawGguf& g) {
         g.tensors[0].sizes = {8, -3};
       },
       "size -3 in dimension 1"},
      {"SizeMin", [](RawGguf& g) { g.tensors[0].sizes = {INT64_MIN}; },
       "has size -9223372036854775808"},
      {"ElementsOverflow",
       [](RawGguf& g) {
         g.tensors[0].sizes = {1 << 30, 1 << 30, 1 << 30};
       },
       "has too many elements"},
      {"ElementsWrapToZero",
       [](RawGguf& g) {
         g.tensors[0].sizes = {1ll << 32, 1ll << 32};
       },
       "has too many elements"},
      {"BytesOverflow", [](RawGguf& g) { g.tensors[0].sizes = {kMaxInt64}; },
       "more bytes than 64 bits"},
      {"BytesOverflowByRow",
       [](RawGguf& g) {
         g.tensors[0].sizes = {256, kMaxInt64 / 256};
         g.tensors[0].type = 15;
       },
       "more bytes than 64 bits"},
      {"TypeUnknown", [](RawGguf& g) { g.tensors[0].type = 1000; }, "unknown type number 1000"},
      {"TypeNegative", [](RawGguf& g) { g.tensors[0].type = ~0u; }, "unknown type number"},
      {"TypeWithdrawn4", [](RawGguf& g) { g.tensors[0].type = 4; }, "unknown type number 4"},
      {"TypeWithdrawn33", [](RawGguf& g) { g.tensors[0].type = 33; }, "unknown type number 33"},
      {"TypeWithdrawn36", [](RawGguf& g) { g.tensors[0].type = 36; }, "unknown type number 36"},
      {"RowNotWholeBlocks",
       [](RawGguf& g) {
         g.tensors[1].sizes = {48, 2};
       },
       "rows of 48 elements, not a multiple of the 32"},
      {"RowShorterThanBlock",
       [](RawGguf& g) {
         g.tensors[1] = {"t", {64, 2}, 12, 96, {}};
       },
       "rows of 64 elements, not a multiple of the 256"},
      {"OffsetUnaligned", [](RawGguf& g) { g.tensors[1].offset = 100; },
       "not a multiple of the alignment 32"},
      {"OffsetHuge", [](RawGguf& g) { g.tensors[1].offset = ~31ull; }, "cut short or damaged"},
      {"OffsetBehindEnd", [](RawGguf& g) { g.tensors[1].offset = 256; }, "cut short or damaged"},
      {"TensorsOverlap", [](RawGguf& g) { g.tensors[1].offset = 64; },
       "'token_embd.weight' and 'blk.0.ffn_up.weight' overlap"},
      {"TensorsAtOnePlace", [](RawGguf& g) { g.tensors[1].offset = 0; }, "overlap at offset 0"},
      {"DataMissing", [](RawGguf& g) { g.data_bytes = 0; }, "cut short or damaged"},
      {"DataOneByteShort", [](RawGguf& g) { g.data_bytes = 96 + 135; },
       "needs 136 bytes at offset 96 of the data, which ends at 231"},
  };
}

std::vector<Defect> AllDefects() {
  std::vector<Defect> all = HeaderDefects();
  for (auto more : {MetadataDefects(), TensorDefects()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

class GgufDefectTest : public ::testing::TestWithParam<Defect> {};

TEST_P(GgufDefectTest, IsRefusedWithItsCause) {
  RawGguf raw;
  ASSERT_TRUE(GgufFile::Parse(AsBytes(raw.Bytes())).ok());
  GetParam().make(raw);
  const std::string bytes = raw.Bytes();
  const auto file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(, GgufDefectTest, ::testing::ValuesIn(AllDefects()), [](const auto& info) {
  return info.param.name + std::to_string(info.index);
});

TEST(GgufDamageTest, EveryCutIsRefused) {
  RawGguf raw;
  raw.data_bytes = 96 + 136;  // no padding after the last tensor, whose loss would be harmless
  const std::string bytes = raw.Bytes();
  ASSERT_TRUE(GgufFile::Parse(AsBytes(bytes)).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);  // a copy of its own, so that ASan sees its end
    EXPECT_FALSE(GgufFile::Parse(AsBytes(cut)).ok()) << size;
  }
}

bool Contains(std::span<const std::byte> whole, std::span<const std::byte> part) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

// Everything that an opened file offers lies within its bytes and can be read.
void ExpectSound(const GgufFile& file, std::span<const std::byte> bytes) {
  for (const auto& [key, value] : file.metadata().entries()) {
    EXPECT_TRUE(Contains(bytes, AsBytes(key)));
    EXPECT_TRUE(Contains(bytes, value.bytes));
    EXPECT_EQ(ToString(value).empty(), false);
    EXPECT_EQ(file.metadata().GetStringArray(key).ok(),
              value.is_array && value.type == GgufType::kString);
  }
  for (const FileTensor& tensor : file.tensors()) {
    EXPECT_TRUE(Contains(bytes, tensor.data));
    EXPECT_EQ(tensor.data.empty(), false);
    EXPECT_EQ(file.tensors().Find(tensor.name), &tensor);
  }
}

TEST(GgufDamageTest, DamagedFilesAreRefusedOrReadWithinTheirBounds) {
  const std::string good = RawGguf().Bytes();
  int refused = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    const std::vector<std::byte> bytes = Damage(AsBytes(good), seed);
    const auto file = GgufFile::Parse(bytes);
    if (file.ok()) {
      ExpectSound(*file, bytes);
    } else {
      ++refused;
      EXPECT_FALSE(file.status().message().empty());
    }
  }
  EXPECT_GT(refused, 2000);
  EXPECT_LT(refused, 4000);
}

TEST(GgufDamageTest, EveryByteFlippedNeverReadsOutside) {
  const std::string good = RawGguf().Bytes();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(bytes[i] ^ mask);
      const auto file = GgufFile::Parse(AsBytes(bytes));
      if (file.ok()) ExpectSound(*file, AsBytes(bytes));
    }
  }
}

}  // namespace
}  // namespace tandem
