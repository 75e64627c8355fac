#include "backends/device/tiles.h"

#include <cstring>
#include <vector>

#include "backends/device/layout.h"
#include "backends/device/quant_blocks.h"

namespace tandem {
namespace {

constexpr int kPairs = kTileRows / 2;  // of rows g, g + 8
constexpr int kTilesOfSuperBlock = kSuperBlock / kTileElements;

// Bits inside one byte of something.
struct Bits {
  int byte;
  int shift;
};

// A few bits of a block and their place in the unit, for one row of the panel.
struct Move {
  Bits block, unit;
  int count;
};
using Moves = std::vector<Move>;

// Where a code of `bits` bits of element k (0..31) of a tile is, relative to the tile's part.
Bits PlaceOfCode(int bits, NibbleOrder order, int row, int k) {
  const int lane = row % 8 * 4 + k % 16 / 4, half = k / 16, i = k % 4;
  const int slot = row / 8 + 2 * half;  // register
  switch (bits) {
    case 8:
      return {lane * 16 + slot * 4 + i, 0};
    case 4: {
      const int word = lane * 8 + row / 8 * 4;
      if (order == NibbleOrder::kSplit) return {word + i, 4 * half};
      return {word + half * 2 + i / 2, 4 * (i % 2)};
    }
    case 2:
      return {lane * 4 + i, 2 * slot};
    default:
      return {lane / 2 * 4 + i, slot + lane % 2 * 4};
  }
}

// Collects the moves of one row of a unit.
class Collector {
 public:
  Collector(const TileFormat& format, int row) : format_(format), row_(row) {}

  void Add(Bits block, Bits unit, int count) { moves_.push_back({block, unit, count}); }

  // An f16 number: `slot` counts the pairs of rows in an entry of `slots`.
  void AddHalf(size_t at, int slots, int slot) {
    const int unit = (row_ % 8 * slots + slot) * 4 + row_ / 8 * 2;
    for (int i = 0; i < 2; ++i) Add({static_cast<int>(at) + i, 0}, {unit + i, 0}, 8);
  }

  // place(k): where in the block the low or high bits of the code of element k are.
  template <class Place>
  void AddCodes(Place place) {
    AddPart(format_.codes, format_.code_bits, place);
  }
  template <class Place>
  void AddHighBits(Place place) {
    AddPart(format_.high, format_.high_bits, place);
  }

  // Value `v` (0..3) of an entry of bytes.
  void AddByteScale(Bits block, int entry, int v) {
    Add(block, {format_.scales + (entry * kPairs + row_ % 8) * 4 + v, 0}, 8);
  }
  // Value `v` (0..3) of one of `entries` entries of six bits: low four, high two.
  void AddSixBitScale(Bits low, Bits high, int entries, int entry, int v) {
    const int at = format_.scales + row_ % 8 * 4 + v, words = kPairs * 4;
    Add(low, {at + entry / 2 * words, entry % 2 * 4}, 4);
    Add(high, {at + (entries / 2 + entry / 4) * words, entry % 4 * 2}, 2);
  }

  int row() const { return row_; }
  int second() const { return row_ / 8; }  // 1 for row g + 8
  Moves Take() { return std::move(moves_); }

 private:
  template <class Place>
  void AddPart(int at, int bits, Place place) {
    const int tile_bytes = kTileRows * kTileElements * bits / 8;
    for (int k = 0; k < format_.tiles * kTileElements; ++k) {
      Bits unit = PlaceOfCode(bits, format_.nibbles, row_, k % kTileElements);
      unit.byte += at + k / kTileElements * tile_bytes;
      Add(place(k), unit, bits);
    }
  }

  TileFormat format_;
  int row_;
  Moves moves_;
};

// Where the parts of a block are, see quant_blocks.h.
template <class Block>
auto SmallNibble() {
  return [](int k) { return Bits{static_cast<int>(offsetof(Block, qs)) + k % 16, k / 16 * 4}; };
}
template <class Block>
auto SmallFifthBit() {
  return [](int k) { return Bits{static_cast<int>(offsetof(Block, qh)) + k / 8, k % 8}; };
}
template <class Block>
auto PairsOf32() {  // nibbles
  return [](int k) {
    return Bits{static_cast<int>(offsetof(Block, qs)) + k / 64 * 32 + k % 32, k / 32 % 2 * 4};
  };
}
auto QuartersOf128(size_t at) {  // 2 bits
  return [at](int k) { return Bits{static_cast<int>(at) + k / 128 * 32 + k % 32, k / 32 % 4 * 2}; };
}
auto EighthsOf256(size_t at) {  // 1 bit
  return [at](int k) { return Bits{static_cast<int>(at) + k % 32, k / 32}; };
}

void AddBlock(std::type_identity<BlockQ4_0>, Collector& c) {
  c.AddHalf(offsetof(BlockQ4_0, d), 1, 0);
  c.AddCodes(SmallNibble<BlockQ4_0>());
}

void AddBlock(std::type_identity<BlockIQ4_NL>, Collector& c) {
  c.AddHalf(offsetof(BlockIQ4_NL, d), 1, 0);
  c.AddCodes(SmallNibble<BlockIQ4_NL>());
}

void AddBlock(std::type_identity<BlockQ4_1>, Collector& c) {
  c.AddHalf(offsetof(BlockQ4_1, d), 2, 0);
  c.AddHalf(offsetof(BlockQ4_1, m), 2, 1);
  c.AddCodes(SmallNibble<BlockQ4_1>());
}

void AddBlock(std::type_identity<BlockQ5_0>, Collector& c) {
  c.AddHalf(offsetof(BlockQ5_0, d), 1, 0);
  c.AddCodes(SmallNibble<BlockQ5_0>());
  c.AddHighBits(SmallFifthBit<BlockQ5_0>());
}

void AddBlock(std::type_identity<BlockQ5_1>, Collector& c) {
  c.AddHalf(offsetof(BlockQ5_1, d), 2, 0);
  c.AddHalf(offsetof(BlockQ5_1, m), 2, 1);
  c.AddCodes(SmallNibble<BlockQ5_1>());
  c.AddHighBits(SmallFifthBit<BlockQ5_1>());
}

void AddBlock(std::type_identity<BlockQ8_0>, Collector& c) {
  c.AddHalf(offsetof(BlockQ8_0, d), 1, 0);
  c.AddCodes([](int k) { return Bits{static_cast<int>(offsetof(BlockQ8_0, qs)) + k, 0}; });
}

void AddBlock(std::type_identity<BlockMXFP4>, Collector& c) {
  c.Add({offsetof(BlockMXFP4, e), 0}, {c.row() % 8 * 2 + c.second(), 0}, 8);
  c.AddCodes(SmallNibble<BlockMXFP4>());
}

void AddBlock(std::type_identity<BlockQ2_K>, Collector& c) {
  c.AddHalf(offsetof(BlockQ2_K, d), 2, 0);
  c.AddHalf(offsetof(BlockQ2_K, dmin), 2, 1);
  for (int i = 0; i < 16; ++i) {
    c.AddByteScale({static_cast<int>(offsetof(BlockQ2_K, scales)) + i, 0}, i / 2,
                   i % 2 * 2 + c.second());
  }
  c.AddCodes(QuartersOf128(offsetof(BlockQ2_K, qs)));
}

void AddBlock(std::type_identity<BlockQ3_K>, Collector& c) {
  c.AddHalf(offsetof(BlockQ3_K, d), 1, 0);
  constexpr int at = offsetof(BlockQ3_K, scales);
  for (int i = 0; i < 16; ++i) {
    c.AddSixBitScale({at + i % 8, i / 8 * 4}, {at + 8 + i % 4, i / 4 * 2}, kTilesOfSuperBlock,
                     i / 2, i % 2 * 2 + c.second());
  }
  c.AddCodes(QuartersOf128(offsetof(BlockQ3_K, qs)));
  c.AddHighBits(EighthsOf256(offsetof(BlockQ3_K, hmask)));
}

// The scales and mins of Q4_K and Q5_K, whose bits UnpackScaleMin puts together.
template <class Block>
void AddScalesAndMins(Collector& c) {
  c.AddHalf(offsetof(Block, d), 2, 0);
  c.AddHalf(offsetof(Block, dmin), 2, 1);
  constexpr int at = offsetof(Block, scales);
  for (int i = 0; i < 4; ++i) {
    const int scale = c.second(), min = 2 + c.second();
    c.AddSixBitScale({at + i, 0}, {at + i, 4}, kTilesOfSuperBlock, i, scale);
    c.AddSixBitScale({at + i + 4, 0}, {at + i + 4, 4}, kTilesOfSuperBlock, i, min);
    c.AddSixBitScale({at + i + 8, 0}, {at + i, 6}, kTilesOfSuperBlock, i + 4, scale);
    c.AddSixBitScale({at + i + 8, 4}, {at + i + 4, 6}, kTilesOfSuperBlock, i + 4, min);
  }
}

void AddBlock(std::type_identity<BlockQ4_K>, Collector& c) {
  AddScalesAndMins<BlockQ4_K>(c);
  c.AddCodes(PairsOf32<BlockQ4_K>());
}

void AddBlock(std::type_identity<BlockQ5_K>, Collector& c) {
  AddScalesAndMins<BlockQ5_K>(c);
  c.AddCodes(PairsOf32<BlockQ5_K>());
  c.AddHighBits(EighthsOf256(offsetof(BlockQ5_K, qh)));
}

void AddBlock(std::type_identity<BlockQ6_K>, Collector& c) {
  c.AddHalf(offsetof(BlockQ6_K, d), 1, 0);
  for (int i = 0; i < 16; ++i) {
    c.AddByteScale({static_cast<int>(offsetof(BlockQ6_K, scales)) + i, 0}, i / 2,
                   i % 2 * 2 + c.second());
  }
  c.AddCodes([](int k) {
    return Bits{static_cast<int>(offsetof(BlockQ6_K, ql)) + k / 128 * 64 + k % 64, k / 64 % 2 * 4};
  });
  c.AddHighBits(QuartersOf128(offsetof(BlockQ6_K, qh)));
}

void AddBlock(std::type_identity<BlockIQ4_XS>, Collector& c) {
  c.AddHalf(offsetof(BlockIQ4_XS, d), 1, 0);
  constexpr int low = offsetof(BlockIQ4_XS, scales_l), high = offsetof(BlockIQ4_XS, scales_h);
  for (int i = 0; i < kTilesOfSuperBlock; ++i) {
    c.AddSixBitScale({low + i / 2, i % 2 * 4}, {high + i / 4, i % 4 * 2}, kTilesOfSuperBlock / 2,
                     i / 2, i % 2 * 2 + c.second());
  }
  c.AddCodes([](int k) {
    return Bits{static_cast<int>(offsetof(BlockIQ4_XS, qs)) + k / 32 * 16 + k % 16, k / 16 % 2 * 4};
  });
}

std::vector<Moves> MovesOfRows(DType type) {
  std::vector<Moves> rows;
  for (int row = 0; row < kTileRows; ++row) {
    Collector collector(GetTileFormat(type), row);
    VisitBlockType(type, [&](auto block) { AddBlock(block, collector); });
    rows.push_back(collector.Take());
  }
  return rows;
}

void CopyBits(const std::byte* from, Bits source, std::byte* to, Bits target, int count) {
  const auto mask = static_cast<std::byte>((1 << count) - 1);
  to[target.byte] |= (from[source.byte] >> source.shift & mask) << target.shift;
}

// each(offset of the row's block in files, offset of the unit, row) for each block.
template <class Each>
void ForEachBlock(DType type, int64_t rows, int64_t k, Each each) {
  const int64_t block = GetDTypeInfo(type).block_bytes, row_bytes = RowBytes(type, k);
  for (int64_t first = 0; first < rows; first += kTileRows) {
    for (int64_t b = 0; b < row_bytes / block; ++b) {
      for (int row = 0; row < kTileRows; ++row) {
        each((first + row) * row_bytes + b * block, first * row_bytes + b * kTileRows * block, row);
      }
    }
  }
}

}  // namespace

TileFormat GetTileFormat(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {1, 288, 0, 32, 4, 0, 0};
    case DType::kQ4_1:
      return {1, 320, 0, 64, 4, 0, 0};
    case DType::kQ5_0:
      return {1, 352, 0, 32, 4, 288, 1};
    case DType::kQ5_1:
      return {1, 384, 0, 64, 4, 320, 1};
    case DType::kQ8_0:
      return {1, 544, 0, 32, 8, 0, 0};
    case DType::kIQ4_NL:
      return {1, 288, 0, 32, 4, 0, 0, NibbleOrder::kStraight};
    case DType::kMXFP4:
      return {1, 272, 0, 16, 4, 0, 0, NibbleOrder::kStraight};
    case DType::kQ2_K:
      return {8, 1344, 64, 320, 2, 0, 0};
    case DType::kQ3_K:
      return {8, 1760, 32, 224, 2, 1248, 1};
    case DType::kQ4_K:
      return {8, 2304, 64, 256, 4, 0, 0};
    case DType::kQ5_K:
      return {8, 2816, 64, 256, 4, 2304, 1};
    case DType::kQ6_K:
      return {8, 3360, 32, 288, 4, 2336, 2};
    case DType::kIQ4_XS:
      return {8, 2176, 32, 128, 4, 0, 0, NibbleOrder::kStraight};
    default:
      return {};
  }
}

bool CanTile(const TensorView& weight) { return CanInterleave(weight); }

void ToTiles(DType type, int64_t rows, int64_t k, const std::byte* from, std::byte* to) {
  std::memset(to, 0, static_cast<size_t>(rows * RowBytes(type, k)));
  const std::vector<Moves> moves = MovesOfRows(type);
  ForEachBlock(type, rows, k, [&](int64_t block, int64_t unit, int row) {
    for (const Move& m : moves[row]) CopyBits(from + block, m.block, to + unit, m.unit, m.count);
  });
}

void FromTiles(DType type, int64_t rows, int64_t k, const std::byte* from, std::byte* to) {
  std::memset(to, 0, static_cast<size_t>(rows * RowBytes(type, k)));
  const std::vector<Moves> moves = MovesOfRows(type);
  ForEachBlock(type, rows, k, [&](int64_t block, int64_t unit, int row) {
    for (const Move& m : moves[row]) CopyBits(from + unit, m.unit, to + block, m.block, m.count);
  });
}

}  // namespace tandem
