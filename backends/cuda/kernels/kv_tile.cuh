// Tiles of the KV cache in shared memory: rows of keys (or values) as the cache has them, copied
// asynchronously, and the operands of the matrix instructions made from them.
//
// Operands are f16. Codes of block types become f16 numbers times the f16 scale, rounded once.
// bf16 numbers are divided by 16, so that up to 1e6 fits and what is lost of small ones is under
// 2^-21; results are multiplied with `kUnit`.
#pragma once

#include "base.cuh"
#include "kv_pages.cuh"
#include "ptx/convert.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/mma.cuh"

namespace tandem::cuda {

// kKeys rows of kWidth elements. Plain types: kWidth is a multiple of 8; block types: of 32.
template <Kv kTypeOf, int kWidthOf, int kKeysOf>
struct KvTile {
  static constexpr Kv kType = kTypeOf;
  static constexpr int kWidth = kWidthOf;
  static constexpr int kKeys = kKeysOf;
  static constexpr bool kBlocks = IsBlockType(kType);
  static constexpr int kRowBytes = CodeBytes(kType, kWidth);        // in the cache
  static constexpr int kPaddedBytes = TileRowBytes(kType, kWidth);  // here, zeros at the end
  static constexpr int kStride = TileStride(kType, kWidth);
  static constexpr int kScaleRow = ScaleBytes(kType, kWidth);
  static constexpr int kScalesAt = kKeys * kStride;
  static constexpr int kBytes = TileBytes(kType, kWidth, kKeys);
  static constexpr float kUnit = kType == Kv::kBF16 ? 16.0f : 1.0f;
  static_assert(kType != Kv::kF32 && kWidth % (kBlocks ? kKvBlock : 8) == 0);
  static_assert(kPageTokens % kKeys == 0 || kKeys % kPageTokens == 0);
};

// A cache as one KV head sees it.
struct KvHead {
  const u8* pages;
  i64 page_stride;
  i32 head, heads;
};

// The pages of kKeys keys from `first`, a multiple of kKeys; keys from `end` on have none.
template <int kKeys>
struct TilePages {
  i32 page[CeilDiv(kKeys, kPageTokens)];

  __device__ __forceinline__ TilePages(const i32* table, int first, int end) {
#pragma unroll
    for (int i = 0; i < CeilDiv(kKeys, kPageTokens); ++i) {
      const int key = first + i * kPageTokens;
      page[i] = key < end ? table[key / kPageTokens] : 0;
    }
  }
  // Of row `row` of the tile.
  __device__ __forceinline__ i32 Of(int row) const {
    i32 found = page[0];
#pragma unroll
    for (int i = 1; i < CeilDiv(kKeys, kPageTokens); ++i) {
      found = row / kPageTokens == i ? page[i] : found;
    }
    return found;
  }
};

// As many neighbouring lanes copy a row together.
__host__ __device__ constexpr int LanesOfRow(int chunks) {
  int lanes = 1;
  while (lanes < chunks && lanes < kWarp) lanes *= 2;
  return lanes;
}

template <class Tile, int kThreads>
__device__ __forceinline__ void CopyCodes(u8* tile, const KvHead& from,
                                          const TilePages<Tile::kKeys>& pages, int first, int end) {
  constexpr int kChunks = Tile::kPaddedBytes / 16, kLanes = LanesOfRow(kChunks);
  constexpr int kRows = kThreads / kLanes;  // at once
  const int lane = threadIdx.x % kLanes;
#pragma unroll
  for (int i = 0; i < CeilDiv(Tile::kKeys, kRows); ++i) {
    const int row = threadIdx.x / kLanes + i * kRows, key = first + row;
    if (Tile::kKeys % kRows != 0 && row >= Tile::kKeys) break;
    const bool valid = key < end;
    const u8* source = from.pages + pages.Of(row) * from.page_stride +
                       (key % kPageTokens * from.heads + from.head) * Tile::kRowBytes + lane * 16;
    source = valid ? source : from.pages;
    const u32 target = SharedAddress(tile) + row * Tile::kStride + lane * 16;
#pragma unroll
    for (int c = 0; c < kChunks; c += kLanes) {
      if (c + kLanes > kChunks && lane + c >= kChunks) break;
      const bool inside = Tile::kRowBytes == Tile::kPaddedBytes || lane + c < Tile::kRowBytes / 16;
      CopyAsync16OrZero(target + 16 * c, source + 16 * c, valid && inside);
    }
  }
}

template <class Tile, int kThreads>
__device__ __forceinline__ void CopyScales(u8* tile, const KvHead& from,
                                           const TilePages<Tile::kKeys>& pages, int first,
                                           int end) {
  constexpr int kRow = Tile::kScaleRow;
  constexpr int kPiece = kRow % 8 == 0 ? 8 : kRow % 4 == 0 ? 4 : 2;
  constexpr int kPieces = kRow / kPiece;
  u8* scales = tile + Tile::kScalesAt;
  for (int i = threadIdx.x; i < Tile::kKeys * kPieces; i += kThreads) {
    const int row = i / kPieces, at = i % kPieces * kPiece, key = first + row;
    const bool valid = key < end;
    const u8* source = from.pages + pages.Of(row) * from.page_stride +
                       static_cast<i64>(kPageTokens) * from.heads * Tile::kRowBytes +
                       (key % kPageTokens * from.heads + from.head) * kRow + at;
    if constexpr (kPiece == 2) {
      *reinterpret_cast<u16*>(scales + row * kRow + at) =
          valid ? *reinterpret_cast<const u16*>(source) : u16{0};
    } else {
      CopyAsyncSmallOrZero<kPiece>(SharedAddress(scales + row * kRow + at),
                                   valid ? source : from.pages, valid);
    }
  }
}

// Starts the copy of keys [first, first + kKeys); those from `end` on become zeros.
template <class Tile, int kThreads>
__device__ __forceinline__ void CopyTile(u8* tile, const KvHead& from,
                                         const TilePages<Tile::kKeys>& pages, int first, int end) {
  CopyCodes<Tile, kThreads>(tile, from, pages, first, end);
  if constexpr (Tile::kBlocks) CopyScales<Tile, kThreads>(tile, from, pages, first, end);
}

// Of two bf16 numbers, divided by kUnit.
__device__ __forceinline__ u32 BF16ToOperand(u32 pair) {
  return F32ToF16x2(LowBF16ToF32(pair) * 0.0625f, HighBF16ToF32(pair) * 0.0625f);
}

template <Kv kType>
__device__ __forceinline__ u32 PlainOperand(u32 pair) {
  return kType == Kv::kBF16 ? BF16ToOperand(pair) : pair;
}

// Codes as bytes c become the f16 numbers c - kOffset, exactly: c in the lower bits of the mantissa
// of 1024.
inline constexpr u32 kThousand = 0x64646464u;

__device__ __forceinline__ u32 SignedCodes(u32 bytes) { return bytes ^ 0x80808080u; }
inline constexpr u32 kSignedOffset = 0x64806480u;  // 1152
inline constexpr u32 kNibbleOffset = 0x64086408u;  // 1032

// Bytes 2i and 2i + 1 as f16 numbers.
template <int i>
__device__ __forceinline__ u32 CodePair(u32 bytes, u32 offset, u32 scale) {
  const u32 raised = Permute(bytes, kThousand, i == 0 ? 0x4140 : 0x4342);
  return MulF16x2(SubF16x2(raised, offset), scale);
}

__device__ __forceinline__ u32 LoadWord(const u8* p) { return *reinterpret_cast<const u32*>(p); }

// f16 bits of the scale of a block of row `row`, in both halves.
template <class Tile>
__device__ __forceinline__ u32 LoadScale(const u8* tile, int row, int block) {
  const u32 d =
      *reinterpret_cast<const u16*>(tile + Tile::kScalesAt + row * Tile::kScaleRow + 2 * block);
  return Permute(d, d, 0x1010);
}

template <class Tile>
__device__ __forceinline__ u32 LoadScales(const u8* tile, int row, int next, int block) {
  const u8* scales = tile + Tile::kScalesAt + 2 * block;
  return PackHalves(*reinterpret_cast<const u16*>(scales + row * Tile::kScaleRow),
                    *reinterpret_cast<const u16*>(scales + next * Tile::kScaleRow));
}

// The place of element e of 16 in the k dimension of an instruction, as the loads below give it:
// with block types a lane's four numbers are neighbours.
template <Kv kType>
__host__ __device__ constexpr int OperandPlace(int e) {
  if (!IsBlockType(kType)) return e;
  const int lane = e / 4, j = e % 4;
  return 2 * lane + (j & 1) + 8 * (j >> 1);
}

// The B operands of 8 keys, from row `key` of the tile on, for 32 elements of a row: two steps.
struct KeyOperands {
  u32 b[2][2];
};

template <class Tile>
__device__ __forceinline__ KeyOperands LoadBlockKeys(const u8* tile, int key, int block) {
  const int g = LaneIndex() / 4, t = LaneIndex() % 4;
  const u8* row = tile + (key + g) * Tile::kStride;
  const u32 scale = LoadScale<Tile>(tile, key + g, block);
  KeyOperands k;
  if constexpr (Tile::kType == Kv::kQ8_0) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const u32 codes = SignedCodes(LoadWord(row + 32 * block + 16 * i + 4 * t));
      k.b[i][0] = CodePair<0>(codes, kSignedOffset, scale);
      k.b[i][1] = CodePair<1>(codes, kSignedOffset, scale);
    }
  } else {
    const u32 word = LoadWord(row + 16 * block + 4 * t);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const u32 codes = word >> (4 * i) & 0x0F0F0F0Fu;
      k.b[i][0] = CodePair<0>(codes, kNibbleOffset, scale);
      k.b[i][1] = CodePair<1>(codes, kNibbleOffset, scale);
    }
  }
  return k;
}

// The column of V, within a unit, that column `j` of its tile `i` stands for.
template <Kv kType>
__host__ __device__ constexpr int ValueColumn(int i, int j) {
  if (kType == Kv::kQ8_0) return 4 * j + i;
  if (kType == Kv::kQ4_0) return 32 * (j / 4) + 16 * (i / 4) + 4 * (j % 4) + i % 4;
  return 8 * i + j;
}

// The B operands of 16 values, from row `key` on, for the unit of columns that starts at `column`.
template <class Tile>
struct ValueOperands {
  static constexpr int kTiles = ValueUnit(Tile::kType) / 8;
  u32 b[kTiles][2];

  __device__ __forceinline__ ValueOperands(const u8* tile, int key, int column) {
    if constexpr (!Tile::kBlocks) {
      LoadPlain(tile, key, column);
    } else {
      LoadBlocks(tile, key, column);
    }
  }

 private:
  __device__ __forceinline__ void LoadPlain(const u8* tile, int key, int column) {
    const int lane = LaneIndex();
    u32 r[4];
    LoadMatrix4Transposed(
        r, SharedAddress(tile) + (key + lane % 16) * Tile::kStride + 2 * (column + lane / 16 * 8));
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i / 2][i % 2] = PlainOperand<Tile::kType>(r[i]);
  }

  // Rows 2t, 2t + 1 and those + 8, word g of each.
  __device__ __forceinline__ void LoadBlocks(const u8* tile, int key, int column) {
    const int g = LaneIndex() / 4, t = LaneIndex() % 4;
    constexpr bool kNibbles = Tile::kType == Kv::kQ4_0;
    const int block = column / kKvBlock + (kNibbles ? g / 4 : 0);
    const int at = CodeBytes(Tile::kType, column) + 4 * g;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = key + 2 * t + 8 * half;
      const u32 scales = LoadScales<Tile>(tile, row, row + 1, block);
      const u32 first = LoadWord(tile + row * Tile::kStride + at);
      const u32 second = LoadWord(tile + (row + 1) * Tile::kStride + at);
      if constexpr (kNibbles) {
        Pair<0>(first & 0x0F0F0F0Fu, second & 0x0F0F0F0Fu, half, kNibbleOffset, scales);
        Pair<4>(first >> 4 & 0x0F0F0F0Fu, second >> 4 & 0x0F0F0F0Fu, half, kNibbleOffset, scales);
      } else {
        Pair<0>(SignedCodes(first), SignedCodes(second), half, kSignedOffset, scales);
      }
    }
  }

  // Four columns of two rows.
  template <int kFirst>
  __device__ __forceinline__ void Pair(u32 row, u32 next, int half, u32 offset, u32 scales) {
    const u32 low = Permute(row, next, 0x5140), high = Permute(row, next, 0x7362);
    b[kFirst][half] = CodePair<0>(low, offset, scales);
    b[kFirst + 1][half] = CodePair<1>(low, offset, scales);
    b[kFirst + 2][half] = CodePair<0>(high, offset, scales);
    b[kFirst + 3][half] = CodePair<1>(high, offset, scales);
  }
};

}  // namespace tandem::cuda
