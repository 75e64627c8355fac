#include "backends/device/tiles.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/device/float16.h"
#include "backends/device/quant.h"
#include "backends/device/quant_blocks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

std::vector<std::byte> RandomBytes(int64_t count) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::vector<DType> BlockTypes() {
  std::vector<DType> types;
  for (const DTypeInfo& info : AllDTypes()) {
    if (info.block_size > 1) types.push_back(info.dtype);
  }
  return types;
}

class TilesTest : public testing::TestWithParam<DType> {
 protected:
  DType type() const { return GetParam(); }
  int64_t block_size() const { return GetDTypeInfo(type()).block_size; }
};

TEST_P(TilesTest, EveryBitHasAPlace) {
  for (const int64_t blocks : {1, 3, 44}) {
    for (const int64_t rows : {16, 48}) {
      const int64_t k = blocks * block_size();
      const auto file = RandomBytes(rows * RowBytes(type(), k));
      std::vector<std::byte> tiles(file.size()), back(file.size());
      ToTiles(type(), rows, k, file.data(), tiles.data());
      EXPECT_NE(tiles, file);
      FromTiles(type(), rows, k, tiles.data(), back.data());
      EXPECT_EQ(back, file);
    }
  }
}

TEST_P(TilesTest, PartsAreAlignedAndFillTheUnit) {
  const TileFormat f = GetTileFormat(type());
  const DTypeInfo& info = GetDTypeInfo(type());
  EXPECT_EQ(f.tiles * kTileElements, info.block_size);
  EXPECT_EQ(f.bytes, kTileRows * info.block_bytes);
  for (const int part : {f.bytes, f.scales, f.codes, f.high}) EXPECT_EQ(part % 16, 0);
  const int elements = kTileRows * info.block_size,
            codes_end = f.codes + elements * f.code_bits / 8;
  EXPECT_EQ(codes_end, f.high_bits > 0 ? f.high : f.bytes);
  if (f.high_bits > 0) {
    EXPECT_EQ(f.high + elements * f.high_bits / 8, f.bytes);
  }
}

// Reads an element of a unit as the comment of tiles.h says, in other words than the code does.
class Reader {
 public:
  Reader(DType type, const std::byte* unit, int row, int k)
      : type_(type),
        format_(GetTileFormat(type)),
        unit_(reinterpret_cast<const uint8_t*>(unit)),
        row_(row),
        k_(k),
        tile_(k / 32) {}

  float Value() const {
    const int q = Code();
    switch (type_) {
      case DType::kQ4_0:
        return Half(2, row_ / 8) * static_cast<float>(q - 8);
      case DType::kQ5_0:
        return Half(2, row_ / 8) * static_cast<float>(q - 16);
      case DType::kQ8_0:
        return Half(2, row_ / 8) * static_cast<float>(static_cast<int8_t>(q));
      case DType::kQ4_1:
      case DType::kQ5_1:
        return Half(4, row_ / 8) * static_cast<float>(q) + Half(4, 2 + row_ / 8);
      case DType::kIQ4_NL:
        return Half(2, row_ / 8) * kIQ4Values[q];
      case DType::kMXFP4:
        return MXFP4Scale(unit_[row_ % 8 * 2 + row_ / 8]) * kMXFP4Values[q];
      case DType::kQ2_K: {
        const int s = ByteScale();
        const float scale = Half(4, row_ / 8) * static_cast<float>(s & 15);
        return scale * static_cast<float>(q) - Half(4, 2 + row_ / 8) * static_cast<float>(s >> 4);
      }
      case DType::kQ3_K:
        return Half(2, row_ / 8) * static_cast<float>(SixBits(8, tile_, GroupOf16()) - 32) *
               static_cast<float>(q - 4);
      case DType::kQ4_K:
      case DType::kQ5_K: {
        const float scale = Half(4, row_ / 8) * static_cast<float>(SixBits(8, tile_, row_ / 8));
        const float min =
            Half(4, 2 + row_ / 8) * static_cast<float>(SixBits(8, tile_, 2 + row_ / 8));
        return scale * static_cast<float>(q) - min;
      }
      case DType::kQ6_K:
        return Half(2, row_ / 8) * static_cast<int8_t>(ByteScale()) * static_cast<float>(q - 32);
      case DType::kIQ4_XS:
        return Half(2, row_ / 8) *
               static_cast<float>(SixBits(4, tile_ / 2, tile_ % 2 * 2 + row_ / 8) - 32) *
               kIQ4Values[q];
      default:
        return 0;
    }
  }

 private:
  int lane() const { return row_ % 8 * 4 + k_ % 16 / 4; }
  int second() const { return k_ % 32 / 16; }  // half of the tile
  int slot() const { return row_ / 8 + 2 * second(); }
  int GroupOf16() const { return second() * 2 + row_ / 8; }

  uint32_t Word(int at) const {
    uint32_t word;
    std::memcpy(&word, unit_ + at, sizeof(word));
    return word;
  }
  float Half(int numbers, int i) const {
    uint16_t bits;
    std::memcpy(&bits, unit_ + (row_ % 8 * numbers + i) * 2, sizeof(bits));
    return F16ToF32(bits);
  }
  int ByteScale() const { return unit_[format_.scales + tile_ * 32 + row_ % 8 * 4 + GroupOf16()]; }
  int SixBits(int entries, int entry, int v) const {
    const uint32_t low = Word(format_.scales + entry / 2 * 32 + row_ % 8 * 4);
    const uint32_t high = Word(format_.scales + entries / 2 * 32 + entry / 4 * 32 + row_ % 8 * 4);
    return static_cast<int>((low >> (8 * v + entry % 2 * 4) & 15) |
                            (high >> (8 * v + entry % 4 * 2) & 3) << 4);
  }
  int Bits(int at, int bits) const {
    const int i = k_ % 4;
    if (bits == 8) return unit_[at + tile_ * 512 + lane() * 16 + slot() * 4 + i];
    if (bits == 2) {
      return static_cast<int>(Word(at + tile_ * 128 + lane() * 4) >> (8 * i + 2 * slot()) & 3);
    }
    if (bits == 1) {
      return static_cast<int>(
          Word(at + tile_ * 64 + lane() / 2 * 4) >> (8 * i + slot() + lane() % 2 * 4) & 1);
    }
    const uint32_t word = Word(at + tile_ * 256 + lane() * 8 + row_ / 8 * 4);
    const bool straight = format_.nibbles == NibbleOrder::kStraight;
    const int shift = straight ? 4 * (i + 4 * second()) : 8 * i + 4 * second();
    return static_cast<int>(word >> shift & 15);
  }
  int Code() const {
    const int low = Bits(format_.codes, format_.code_bits);
    return format_.high_bits == 0
               ? low
               : low | Bits(format_.high, format_.high_bits) << format_.code_bits;
  }

  DType type_;
  TileFormat format_;
  const uint8_t* unit_;
  int row_, k_, tile_;
};

TEST_P(TilesTest, UnitsAreAsDocumented) {
  constexpr int64_t kRows = 32;
  const int64_t k = 3 * block_size(), row_bytes = RowBytes(type(), k);
  const auto file = RandomBytes(kRows * row_bytes);
  std::vector<std::byte> tiles(file.size());
  ToTiles(type(), kRows, k, file.data(), tiles.data());
  const TileFormat format = GetTileFormat(type());
  std::vector<float> expected(k), found(k);
  for (int64_t row = 0; row < kRows; ++row) {
    DequantizeRow(type(), file.data() + row * row_bytes, expected.data(), k);
    for (int64_t i = 0; i < k; ++i) {
      const int64_t unit = row / 16 * 16 * row_bytes + i / block_size() * format.bytes;
      found[i] = Reader(type(), tiles.data() + unit, row % 16, i % block_size()).Value();
    }
    // By bits, as random scales can be NaN.
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), k * sizeof(float)), 0) << "row " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TilesTest, testing::ValuesIn(BlockTypes()),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

TEST(CanTileTest, TakesPanelsOfWholeMatrices) {
  EXPECT_TRUE(CanTile(MakeView(nullptr, DType::kQ4_0, {32, 64})));
  EXPECT_TRUE(CanTile(MakeView(nullptr, DType::kQ6_K, {3, 16, 256})));
  EXPECT_FALSE(CanTile(MakeView(nullptr, DType::kQ4_0, {33, 64})));
  EXPECT_FALSE(CanTile(MakeView(nullptr, DType::kQ4_0, {3, 8, 64})));
  EXPECT_FALSE(CanTile(MakeView(nullptr, DType::kF16, {32, 64})));
}

}  // namespace
}  // namespace tandem
