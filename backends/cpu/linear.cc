#include <algorithm>

#include "backends/cpu/activations.h"
#include "backends/cpu/decode.h"
#include "backends/cpu/kernel_set.h"
#include "backends/cpu/product.h"
#include "backends/cpu/split.h"
#include "backends/cpu/vector_loops.h"

namespace tandem::cpu {
namespace {

// Sizes of a product; the tensors are addressed as if they always had groups.
struct Sizes {
  int64_t tokens, groups, in, out;
  explicit Sizes(const LinearArgs& a)
      : tokens(a.x.dim(0)),
        groups(a.x.shape.rank == 3 ? a.x.dim(1) : 1),
        in(a.x.shape.back()),
        out(a.out.shape.back()) {}
};

const std::byte* WeightRow(const LinearArgs& a, int64_t group, int64_t row) {
  return a.x.shape.rank == 3 ? a.w.row(group, row) : a.w.row(row);
}

int64_t WeightStride(const LinearArgs& a) { return a.w.strides[a.w.shape.rank - 2]; }

bool QuantizesActivations(const LinearArgs& a) { return IsQuantized(a.w.dtype) && !a.transposed; }

// The rows of a few groups are quantised where they are used, by each block for itself.
constexpr int64_t kOwnRows = kFewTokens, kOwnSpans = 2;
bool QuantizesInBlocks(const LinearArgs& a) {
  const Sizes s(a);
  return QuantizesActivations(a) && s.groups > 1 && s.tokens <= kOwnRows &&
         s.in <= kOwnSpans * ActivationSpan::kElements;
}

// A product is cut into blocks of tokens, groups, and blocks of weight rows.
struct Blocks {
  int64_t tokens = 1, rows = 1;  // in a block
  int64_t row_blocks = 1;        // of a group
  int64_t most = 1;              // blocks, if all tokens are live
  int chunks = 1;

  explicit Blocks(const LinearArgs& a) {
    const Sizes s(a);
    tokens = std::clamp<int64_t>(s.tokens, 1, kTileColumns);
    if (s.tokens <= kFewTokens) {
      // A product takes so many rows at a time.
      const int64_t step = IsQuantized(a.w.dtype) ? kTileRows / 2 : kTileRows / 8;
      rows = CeilDiv(s.out, CeilDiv(std::max<int64_t>(s.out, 1) * WeightStride(a), kChunkBytes));
      rows = std::min(std::max((rows + step / 2) / step, int64_t{1}) * step, s.out);
    } else {
      // Few rows would not pay for reading the activations.
      rows = std::clamp(kChunkWork / (s.in * tokens), std::min(kTileRows, s.out), s.out);
      rows = std::min(CeilDiv(rows, kTileRows) * kTileRows, s.out);
    }
    row_blocks = CeilDiv(s.out, rows);
    most = row_blocks * s.groups * CeilDiv(s.tokens, tokens);
    const int64_t enough =
        s.tokens <= kFewTokens ? kUsualChunks : ChunksFor(s.tokens * s.groups * s.in * s.out);
    chunks = static_cast<int>(std::clamp<int64_t>(most, 1, enough));
  }
};

// What a product costs, per chunk.
int64_t ChunkCost(const LinearArgs& a, int chunks) {
  const Sizes s(a);
  const int64_t weights = s.groups * s.in * s.out;
  const int64_t bytes =
      a.w.shape.rank == 3 ? s.groups * a.w.strides[0] : a.w.dim(0) * WeightStride(a);
  return CostOf(weights * s.tokens, bytes) / chunks;
}

// Bytes that a block reads of the weights.
Stretch WeightsOf(const LinearArgs& a, const Blocks& blocks, int64_t item) {
  const Sizes s(a);
  const int64_t row = item % blocks.row_blocks * blocks.rows;
  return {WeightRow(a, item / blocks.row_blocks % s.groups, row),
          std::min(blocks.rows, s.out - row) * WeightStride(a)};
}

void RunBlock(const LinearArgs& a, const Blocks& blocks, ProductFn* product,
              const std::byte* quantized, int64_t item) {
  const Sizes s(a);
  const int64_t row = item % blocks.row_blocks * blocks.rows;
  const int64_t group = item / blocks.row_blocks % s.groups;
  const int64_t token = item / blocks.row_blocks / s.groups * blocks.tokens;
  const std::byte* columns[kTileColumns];
  float* out[kTileColumns];
  ProductTile tile = {.weights = WeightRow(a, group, row),
                      .stride = WeightStride(a),
                      .rows = std::min(blocks.rows, s.out - row),
                      .in = s.in,
                      .columns = columns,
                      .out = out,
                      .count = std::min(blocks.tokens, LiveRows(a.live_rows, s.tokens) - token)};
  alignas(ActivationSpan) std::byte own[kOwnRows * kOwnSpans * sizeof(ActivationSpan)];
  for (int64_t c = 0; c < tile.count; ++c) {
    if (QuantizesInBlocks(a)) {
      std::byte* to = own + c * ActivationBytes(s.in);
      QuantizeActivations(a.x.row<float>(token + c, group), s.in, to);
      columns[c] = to;
    } else if (quantized == nullptr) {
      columns[c] = a.x.row(token + c, group);
    } else {
      columns[c] = quantized + ((token + c) * s.groups + group) * ActivationBytes(s.in);
    }
    out[c] = a.out.row<float>(token + c, group) + row;
  }
  product(tile);
  if (!a.bias.present()) return;
  const float* bias = static_cast<const float*>(a.bias.data) + row;
  for (int64_t c = 0; c < tile.count; ++c) {
    for (int64_t r = 0; r < tile.rows; ++r) out[c][r] += bias[r];
  }
}

// Sums of rows: outputs are taken in blocks of a span, so that block formats can be decoded there.
constexpr int64_t kOutputs = 256;
constexpr int64_t kTokens = 8;

struct RowSums {
  alignas(32) float of[kTokens][kOutputs];
};

void RunTransposedBlock(const LinearArgs& a, DecodeFn* decode, int64_t item) {
  const Sizes s(a);
  const int64_t blocks = CeilDiv(s.out, kOutputs);
  const int64_t first = item % blocks * kOutputs;
  const int64_t group = item / blocks % s.groups;
  const int64_t token = item / blocks / s.groups * kTokens;
  const int64_t count = std::min(kTokens, LiveRows(a.live_rows, s.tokens) - token);
  const int64_t width = std::min(kOutputs, s.out - first);
  const int64_t padded = CeilDiv(width, 8) * 8;
  RowSums sums;
  for (int64_t c = 0; c < count; ++c) std::fill_n(sums.of[c], padded, 0.0f);
  alignas(32) float row[kOutputs] = {};
  for (int64_t n = 0; n < s.in; ++n) {
    decode(WeightRow(a, group, n), first, width, row);
    for (int64_t c = 0; c < count; ++c) {
      AddScaled(row, a.x.row<float>(token + c, group)[n], padded, sums.of[c]);
    }
  }
  for (int64_t c = 0; c < count; ++c) {
    float* out = a.out.row<float>(token + c, group) + first;
    std::copy_n(sums.of[c], width, out);
    if (!a.bias.present()) continue;
    const float* bias = static_cast<const float*>(a.bias.data) + first;
    for (int64_t i = 0; i < width; ++i) out[i] += bias[i];
  }
}

void PlanTransposed(const LinearArgs& a, std::vector<Phase>& phases) {
  const Sizes s(a);
  const int64_t blocks = CeilDiv(s.out, kOutputs), per_block = blocks * s.groups;
  const int64_t most = per_block * CeilDiv(s.tokens, kTokens);
  const bool few = s.tokens <= kFewTokens;
  const int64_t enough = few ? kUsualChunks : ChunksFor(s.tokens * s.groups * s.in * s.out);
  const auto chunks = static_cast<int>(std::clamp<int64_t>(most, 1, enough));
  Phase phase = ItemPhase(
      chunks,
      [a, s, per_block] { return per_block * CeilDiv(LiveRows(a.live_rows, s.tokens), kTokens); },
      [a, decode = FindDecoder(a.w.dtype)](int64_t item) { RunTransposedBlock(a, decode, item); });
  phase.work = ChunkCost(a, chunks);
  // The blocks of a group read all of its rows: each fetches some of them.
  if (few) {
    phase.reads = ReadsOf(chunks, most, [a, s, blocks](int64_t item) -> Stretch {
      const int64_t block = item % blocks, first = block * s.in / blocks;
      return {WeightRow(a, item / blocks, first),
              ((block + 1) * s.in / blocks - first) * WeightStride(a)};
    });
  }
  phases.push_back(std::move(phase));
}

Phase QuantizePhase(const LinearArgs& a, std::byte* rows) {
  const Sizes s(a);
  return RowPhase(s.tokens, s.groups * s.in, a.live_rows, [a, s, rows](int64_t t) {
    for (int64_t g = 0; g < s.groups; ++g) {
      QuantizeActivations(a.x.row<float>(t, g), s.in,
                          rows + (t * s.groups + g) * ActivationBytes(s.in));
    }
  });
}

}  // namespace

std::byte* SharedActivations::Find(const TensorView& x, LiveCount live, std::byte* rows) {
  for (const Entry& e : entries_) {
    const bool same = e.x.data == x.data && e.x.shape == x.shape && e.x.strides == x.strides;
    if (same && e.live == live) return e.rows;
  }
  entries_.push_back({x, live, rows});
  return nullptr;
}

int64_t WorkspaceBytesOf(const LinearArgs& a) {
  const Sizes s(a);
  const bool ahead = QuantizesActivations(a) && !QuantizesInBlocks(a);
  return ahead ? s.tokens * s.groups * ActivationBytes(s.in) : 0;
}

void Plan(const LinearArgs& a, const PlanContext& context, std::vector<Phase>& phases) {
  if (a.transposed) return PlanTransposed(a, phases);
  const Sizes s(a);
  std::byte* quantized = nullptr;
  if (QuantizesActivations(a) && !QuantizesInBlocks(a)) {
    quantized = static_cast<std::byte*>(context.workspace.data);
    std::byte* shared = context.activations.Find(a.x, a.live_rows, quantized);
    phases.push_back(shared != nullptr ? NoPhase() : QuantizePhase(a, quantized));
    if (shared != nullptr) quantized = shared;
  }
  ProductFn* product = context.instructions.FindProduct(a.w.dtype, a.w.layout);
  const Blocks blocks(a);
  const int64_t per_block = blocks.row_blocks * s.groups;
  Phase phase = ItemPhase(
      blocks.chunks,
      [a, s, blocks, per_block] {
        return per_block * CeilDiv(LiveRows(a.live_rows, s.tokens), blocks.tokens);
      },
      [a, blocks, product, quantized](int64_t item) {
        RunBlock(a, blocks, product, quantized, item);
      });
  phase.work = ChunkCost(a, blocks.chunks);
  if (s.tokens <= kFewTokens) {
    phase.reads = ReadsOf(blocks.chunks, blocks.most,
                          [a, blocks](int64_t item) { return WeightsOf(a, blocks, item); });
  }
  phases.push_back(std::move(phase));
}

}  // namespace tandem::cpu
