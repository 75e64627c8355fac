#include "backends/cpu/isa/block_product.h"

#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/panel_k.h"
#include "backends/cpu/isa/tiles.h"
#include "backends/device/layout.h"

namespace tandem::cpu::TANDEM_CPU_ISA {
namespace {

constexpr int kPanels = kTileRows / kLanes;  // side by side, so that columns are read once for all
constexpr int64_t kFewColumns = 8;  // up to which reading the weights takes longer than using them
constexpr int64_t kLine = 64;

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// Copies of rows that cannot be read as whole spans: the last one is taken again and again where
// there are fewer than kLanes, and spans that are cut short end with whatever was here before.
template <typename Format>
struct RowCopies {
  alignas(64) std::byte bytes[kLanes][Format::kSpanBytes];

  Rows Copy(Rows rows, int64_t count, int64_t span_bytes) {
    for (int64_t r = 0; r < kLanes; ++r) {
      std::memcpy(bytes[r], rows.at(r < count ? r : count - 1), static_cast<size_t>(span_bytes));
    }
    return {bytes[0], Format::kSpanBytes};
  }
};

// Asks for the bytes that a later panel will need at the same place, in the order of memory.
inline void Prefetch(const std::byte* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kLine) _mm_prefetch(from + i, _MM_HINT_T0);
}

// What the products of a span are made of.
struct SpanOfTile {
  const ProductTile* tile;
  const Panel* panels;
  int64_t span;
  int groups;
  float* sums;     // of the first panel
  int64_t stride;  // floats from the sums of a panel to those of the next
};

template <typename Format, int kP, int kC>
void AddTo(const SpanOfTile& s, int64_t first) {
  Columns<kC> x;
  for (int c = 0; c < kC; ++c) {
    x.at[c] = reinterpret_cast<const ActivationSpan*>(s.tile->columns[first + c]) + s.span;
  }
  AddColumns<Format, kP, kC>(s.panels, s.groups, x, s.sums + first * kLanes, s.stride);
}

// Columns [first, last) of kP panels, kC at a time, then half as many, down to one.
template <typename Format, int kP, int kC>
void AddBlocks(const SpanOfTile& s, int64_t first, int64_t last) {
  for (; first + kC <= last; first += kC) AddTo<Format, kP, kC>(s, first);
  if constexpr (kC > 1) {
    if (first < last) AddBlocks<Format, kP, kC / 2>(s, first, last);
  }
}

#ifdef __AMX_INT8__
constexpr int64_t kLeastTokens = 6;  // for fewer columns tiles do not pay

// 16 columns as tiles want them: at equal distances. Where they are not, or are fewer, they are
// copied; those that are missing stay as they are and their results are not used.
struct TokenCopies {
  ActivationSpan spans[kTokens];
  SpanFactors factors[kTokens];

  Tokens Gather(const std::byte* const* columns, int count, int64_t span) {
    auto at = [&](int c) { return reinterpret_cast<const ActivationSpan*>(columns[c]) + span; };
    bool even = count == kTokens;
    for (int c = 2; even && c < count; ++c) {
      even = columns[c] - columns[c - 1] == columns[1] - columns[0];
    }
    for (int c = 0; c < count; ++c) {
      std::memcpy(&factors[c], at(c)->scales, sizeof(SpanFactors));
    }
    if (even) return {at(0), columns[1] - columns[0], factors};
    for (int c = 0; c < count; ++c) spans[c] = *at(c);
    return {spans, sizeof(ActivationSpan), factors};
  }
};

template <typename Format>
void AddInTiles(const SpanOfTile& s, int64_t panels, TokenCopies& copies) {
  for (int64_t c = 0; c < s.tile->count; c += kTokens) {
    const int count = static_cast<int>(Least(kTokens, s.tile->count - c));
    const Tokens x = copies.Gather(s.tile->columns + c, count, s.span);
    for (int64_t p = 0; p < panels; ++p) {
      AddTokens<Format>(s.panels[p], s.groups, x, count, s.sums + p * s.stride + c * kLanes);
    }
  }
}
#endif

// Rows of a matrix as spans of kLanes of them.
template <typename Format>
class RowReader {
 public:
  static constexpr int64_t kStep = kLanes;  // rows that are read together for few columns

  explicit RowReader(const ProductTile& tile) : tile_(tile) {}

  // `next`: the row that is likely to be the first of the next tile, here or of this thread.
  RowSpan<Format> Read(int64_t row, int64_t span, int groups, int64_t next) {
    const int64_t count = Least(kLanes, tile_.rows - row);
    Rows rows = {tile_.weights + row * tile_.stride + span * Format::kSpanBytes, tile_.stride};
    constexpr int64_t kBytes = kLanes * Format::kSpanBytes;
    Prefetch(tile_.weights + next * tile_.stride + span * kBytes, kBytes);
    // A span that is cut short reads on into the next rows, if there are enough.
    const int64_t bytes = groups * kGroup / Format::kBlock * Format::kBytes;
    const int64_t left = (tile_.rows - row - kLanes) * tile_.stride;
    if (left < Format::kSpanBytes - bytes) rows = copies_.Copy(rows, count, bytes);
    return RowSpan<Format>(rows);
  }

 private:
  const ProductTile& tile_;
  RowCopies<Format> copies_;
};

// The same of an interleaved matrix.
template <typename Format>
class PanelReader {
 public:
  static constexpr int64_t kStep = kPanelRows;

  explicit PanelReader(const ProductTile& tile)
      : tile_(tile),
        blocks_(tile.in / Format::kBlock),
        end_(tile.weights + tile.rows * tile.stride),
        next_(tile.next != nullptr ? tile.next : end_) {}

  InterleavedSpan<Format> Read(int64_t row, int64_t span, int, int64_t) {
    const int64_t lane = row % kPanelRows;
    const std::byte* panel = tile_.weights + (row - lane) * tile_.stride;
    const int64_t block = span * kBlocks, first = block / kPanelBlocks * kPanelBlocks;
    const std::byte* heads = panel + first * (kHeadBytes + kWordBytes);
    const std::byte* words =
        heads + Least(kPanelBlocks, blocks_ - first) * kHeadBytes + (block - first) * kWordBytes;
    heads += (block - first) * kHeadBytes;
    if (lane == 0) {
      const std::byte* ahead = words + kAhead;
      Prefetch(ahead < end_ ? ahead : next_ + (ahead - end_), kBlocks * (kHeadBytes + kWordBytes));
    }
    return {heads + lane * HeadOf(Format::kType).bytes, words + lane * 4};
  }

 private:
  static constexpr int64_t kBlocks = ActivationSpan::kElements / Format::kBlock;
  // Of a block of all rows.
  static constexpr int64_t kHeadBytes = HeadOf(Format::kType).bytes * kPanelRows;
  static constexpr int64_t kWordBytes = Format::kBytes * kPanelRows - kHeadBytes;
  static constexpr int64_t kAhead = 2048;  // bytes that are asked for before they are needed

  const ProductTile& tile_;
  const int64_t blocks_;  // of a row
  const std::byte* end_;
  const std::byte* next_;
};

// Up to kTileRows rows from `first_row`; with few columns Reader::kStep.
template <typename Format, typename Reader>
class Tile {
 public:
  Tile(const ProductTile& tile, int64_t first_row, int64_t rows)
      : tile_(tile), first_row_(first_row), panels_((rows + kLanes - 1) / kLanes), reader_(tile) {
#ifdef __AMX_INT8__
    if (tile.count >= kLeastTokens) tokens_ = {};
#endif
  }

  void Run() {
    for (int64_t i = 0; i < panels_ * tile_.count; ++i) Store(sums_ + i * kLanes, ZeroFloats());
    for (int64_t i = 0, span = 0; i < tile_.in; i += ActivationSpan::kElements, ++span) {
      AddSpan(span, static_cast<int>(Least(tile_.in - i, ActivationSpan::kElements)) / kGroup);
    }
    StoreSums();
  }

 private:
  void AddSpan(int64_t span, int groups) {
    if (tile_.count == 1) {
      const auto* x = reinterpret_cast<const ActivationSpan*>(tile_.columns[0]) + span;
      for (int64_t p = 0; p < panels_; ++p) {
        OneColumn<Format> to(*x, groups, Sums(p));
        Unpack(p, span, groups, to);
      }
      return;
    }
#ifdef __AMX_INT8__
    if (tile_.count >= kLeastTokens) {
      for (int64_t p = 0; p < panels_; ++p) {
        PlainPanel to = {panel_[p]};
        Unpack(p, span, groups, to);
      }
      return AddInTiles<Format>(SpanOf(0, span, groups), panels_, tokens_);
    }
#endif
    for (int64_t p = 0; p < panels_; ++p) Unpack(p, span, groups, panel_[p]);
    for (int64_t c = 0; c < tile_.count; c += kMostColumns) {
      const int64_t last = Least(c + kMostColumns, tile_.count);
      int64_t p = 0;
      for (; p + kPanelsAtOnce <= panels_; p += kPanelsAtOnce) {
        AddBlocks<Format, kPanelsAtOnce, kMostColumns>(SpanOf(p, span, groups), c, last);
      }
      for (; p < panels_; ++p) {
        AddBlocks<Format, 1, kMostColumns>(SpanOf(p, span, groups), c, last);
      }
    }
  }

  template <typename To>
  void Unpack(int64_t p, int64_t span, int groups, To& to) {
    const int64_t row = first_row_ + p * kLanes;
    Format::Unpack(reader_.Read(row, span, groups, row + panels_ * kLanes), groups, to);
  }

  SpanOfTile SpanOf(int64_t p, int64_t span, int groups) {
    return {&tile_, panel_ + p, span, groups, Sums(p), tile_.count * kLanes};
  }

  void StoreSums() {
    for (int64_t p = 0; p < panels_; ++p) {
      const int64_t row = first_row_ + p * kLanes;
      const auto bytes = static_cast<size_t>(Least(kLanes, tile_.rows - row)) * sizeof(float);
      for (int64_t c = 0; c < tile_.count; ++c) {
        std::memcpy(tile_.out[c] + row, Sums(p) + c * kLanes, bytes);
      }
    }
  }

  float* Sums(int64_t p) { return sums_ + p * tile_.count * kLanes; }

  const ProductTile& tile_;
  const int64_t first_row_, panels_;
  Panel panel_[kPanels];
  Reader reader_;
#ifdef __AMX_INT8__
  TokenCopies tokens_;
#endif
  alignas(64) float sums_[kTileColumns * kTileRows];
};

template <typename Format, typename Reader>
void RunTiles(const ProductTile& tile, int64_t step) {
  for (int64_t row = 0; row < tile.rows; row += step) {
    Tile<Format, Reader>(tile, row, Least(step, tile.rows - row)).Run();
  }
}

template <typename Format, typename Reader>
void BlockProduct(const ProductTile& tile) {
#ifdef __AMX_INT8__
  if (tile.count >= kLeastTokens) {
    const TileShapes<Format> shapes;
    return RunTiles<Format, Reader>(tile, kTileRows);
  }
#endif
  RunTiles<Format, Reader>(tile, tile.count <= kFewColumns ? Reader::kStep : kTileRows);
}

template <typename Format>
bool Pick(DType type, WeightLayout layout, ProductFn*& product) {
  if (type != Format::kType) return false;
  product = layout == WeightLayout::kInterleaved ? &BlockProduct<Format, PanelReader<Format>>
                                                 : &BlockProduct<Format, RowReader<Format>>;
  return true;
}

template <typename... Format>
ProductFn* FindAmong(DType type, WeightLayout layout) {
  ProductFn* product = nullptr;
  (void)(Pick<Format>(type, layout, product) || ...);
  return product;
}

}  // namespace

ProductFn* FindBlockProduct(DType type, WeightLayout layout) {
  return FindAmong<Q4_0Panel, Q4_1Panel, Q5_0Panel, Q5_1Panel, Q8_0Panel, Q2_KPanel, Q3_KPanel,
                   Q4_KPanel, Q5_KPanel, Q6_KPanel, IQ4_NLPanel, IQ4_XSPanel, MXFP4Panel>(type,
                                                                                          layout);
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
