#include "backends/cpu/isa/block_product.h"

#include "backends/cpu/isa/inner_loops.h"
#include "backends/cpu/isa/panel_k.h"
#include "backends/cpu/isa/tiles.h"

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
  ActivationSpan spans[kTokens] = {};
  SpanFactors factors[kTokens] = {};

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

// Up to kTileRows rows from `first_row`; with few columns one panel.
template <typename Format>
class Tile {
 public:
  Tile(const ProductTile& tile, int64_t first_row, int64_t rows)
      : tile_(tile), first_row_(first_row), panels_((rows + kLanes - 1) / kLanes) {}

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
      OneColumn<Format> to(*x, groups, sums_);
      return Format::Unpack(RowsOf(0, span, groups), to);
    }
#ifdef __AMX_INT8__
    if (tile_.count >= kLeastTokens) {
      for (int64_t p = 0; p < panels_; ++p) {
        PlainPanel to = {panel_[p]};
        Format::Unpack(RowsOf(p, span, groups), to);
      }
      return AddInTiles<Format>(SpanOf(0, span, groups), panels_, tokens_);
    }
#endif
    for (int64_t p = 0; p < panels_; ++p) {
      Format::Unpack(RowsOf(p, span, groups), panel_[p]);
    }
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

  SpanOfTile SpanOf(int64_t p, int64_t span, int groups) {
    return {&tile_, panel_ + p, span, groups, Sums(p), tile_.count * kLanes};
  }

  // Where the rows of a panel can be read as whole spans.
  Rows RowsOf(int64_t p, int64_t span, int groups) {
    const int64_t row = first_row_ + p * kLanes, count = Least(kLanes, tile_.rows - row);
    Rows rows = {tile_.weights + row * tile_.stride + span * Format::kSpanBytes, tile_.stride};
    // The rows after this tile are likely to be next, here or in the next tile of this thread.
    constexpr int64_t kBytes = kLanes * Format::kSpanBytes;
    Prefetch(tile_.weights + (row + panels_ * kLanes) * tile_.stride + span * kBytes, kBytes);
    // A span that is cut short reads on into the next rows, if there are enough.
    const int64_t bytes = groups * kGroup / Format::kBlock * Format::kBytes;
    const int64_t left = (tile_.rows - row - kLanes) * tile_.stride;
    if (left < Format::kSpanBytes - bytes) rows = copies_.Copy(rows, count, bytes);
    return rows;
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
  RowCopies<Format> copies_;
#ifdef __AMX_INT8__
  TokenCopies tokens_;
#endif
  alignas(64) float sums_[kTileColumns * kTileRows];
};

template <typename Format>
void RunTiles(const ProductTile& tile, int64_t step) {
  for (int64_t row = 0; row < tile.rows; row += step) {
    Tile<Format>(tile, row, Least(step, tile.rows - row)).Run();
  }
}

template <typename Format>
void BlockProduct(const ProductTile& tile) {
#ifdef __AMX_INT8__
  if (tile.count >= kLeastTokens) {
    const TileShapes<Format> shapes;
    return RunTiles<Format>(tile, kTileRows);
  }
#endif
  RunTiles<Format>(tile, tile.count <= kFewColumns ? kLanes : kTileRows);
}

template <typename Format>
bool Pick(DType type, ProductFn*& product) {
  if (type != Format::kType) return false;
  product = &BlockProduct<Format>;
  return true;
}

template <typename... Format>
ProductFn* FindAmong(DType type) {
  ProductFn* product = nullptr;
  (void)(Pick<Format>(type, product) || ...);
  return product;
}

}  // namespace

ProductFn* FindBlockProduct(DType type) {
  return FindAmong<Q4_0Panel, Q4_1Panel, Q5_0Panel, Q5_1Panel, Q8_0Panel, Q2_KPanel, Q3_KPanel,
                   Q4_KPanel, Q5_KPanel, Q6_KPanel, IQ4_NLPanel, IQ4_XSPanel, MXFP4Panel>(type);
}

}  // namespace tandem::cpu::TANDEM_CPU_ISA
