// The KV cache and the attention over it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backends/device/quant.h"
#include "backends/reference/reference_kernels.h"
#include "backends/reference/rows.h"

namespace tandem {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kChunkKeys = 256;  // decoded together
constexpr int64_t kQueryRows = 32;   // that share the decoded keys

void StoreKv(const StoreKvArgs& args) {
  const TensorView& cache = args.cache;
  for (int64_t t = 0; t < LiveRows(args.live_rows, args.x.dim(0)); ++t) {
    const int64_t slot = args.slots.row<int32_t>()[t];
    if (slot < 0 || slot >= cache.dim(0) * kPageTokens) continue;
    for (int64_t h = 0; h < args.x.dim(1); ++h) {
      // Fails only for types that no cache has.
      QuantizeRowOnePass(cache.dtype, args.x.row<float>(t, h),
                         cache.row(slot / kPageTokens, slot % kPageTokens, h), cache.dim(3))
          .IgnoreError();
    }
  }
}

// Rows of one sequence that are worked on together: [first, first + count) of q, at positions from
// `position`, for the query heads that share one KV head.
struct Block {
  int64_t sequence;
  int64_t first, count, position;
  int64_t kv_head;
  int64_t first_head, heads;
};

// Keys [begin, end) of a sequence that some query sees.
struct Span {
  int64_t begin, end;
};

Span Visible(const AttentionArgs& args, int64_t sequence, int64_t position) {
  const int64_t keys = args.batch.kv_len.row<int32_t>()[sequence];
  return {args.window > 0 ? std::max<int64_t>(position - args.window + 1, 0) : 0,
          args.causal ? std::min(position + 1, keys) : keys};
}

// Rows of the cache, decoded: [keys, D].
Matrix ReadKeys(const AttentionArgs& args, const TensorView& cache, const Block& block, Span keys) {
  Matrix rows(keys.end - keys.begin, cache.dim(3));
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    const int32_t page = args.batch.page_table.row<int32_t>(block.sequence)[j / kPageTokens];
    ReadRow(cache, rows.row(j - keys.begin), page, j % kPageTokens, block.kv_head);
  }
  return rows;
}

struct KeysAndValues {
  Matrix k, v;  // [keys, Dk], [keys, Dv]
};

KeysAndValues Expand(const AttentionArgs& args, const Block& block, const Matrix& rows) {
  const LatentExpansion& expansion = args.expansion;
  const int64_t latent = expansion.v_up.dim(2);
  const Matrix c = rows.leftCols(latent);
  KeysAndValues kv;
  kv.k.resize(rows.rows(), args.q.dim(2));
  kv.k << Multiply(c, Part(expansion.k_up, block.first_head), expansion.k_transposed),
      rows.rightCols(rows.cols() - latent);
  kv.v = Multiply(c, Part(expansion.v_up, block.first_head));
  return kv;
}

KeysAndValues ReadChunk(const AttentionArgs& args, const Block& block, Span keys) {
  Matrix k = ReadKeys(args, args.k, block, keys);
  if (args.expansion.present()) return Expand(args, block, k);
  if (args.v_from_k_offset < 0) return {std::move(k), ReadKeys(args, args.v, block, keys)};
  Matrix v = k.middleCols(args.v_from_k_offset, args.out.dim(2));
  return {std::move(k), std::move(v)};
}

// The softmax of the keys seen so far: their weighted values and the sum of their weights, both
// scaled by exp(-maximum).
struct SoftmaxState {
  Vector values;
  double sum = 0;
  double maximum = -kInfinity;

  void RaiseMaximum(double score) {
    if (!(score > maximum)) return;
    const double scale = std::exp(maximum - score);
    values *= scale;
    sum *= scale;
    maximum = score;
  }
  void Take(double score, const Eigen::Ref<const Vector>& value) {
    RaiseMaximum(score);
    const double weight = std::exp(score - maximum);
    values += weight * value;
    sum += weight;
  }
  void TakeSink(double logit) {
    RaiseMaximum(logit);
    sum += std::exp(logit - maximum);
  }
};

double Score(const AttentionArgs& args, double product) {
  const double score = product * args.scale;
  return args.soft_cap > 0 ? args.soft_cap * std::tanh(score / args.soft_cap) : score;
}

void WriteResult(const AttentionArgs& args, SoftmaxState& state, int64_t t, int64_t h) {
  const bool any = state.sum > 0 || std::isnan(state.sum);
  if (any && args.sinks.present()) state.TakeSink(args.sinks.row<float>()[h]);
  WriteRow(args.out, any ? Vector(state.values / state.sum) : state.values, t, h);
  if (!args.lse.present()) return;
  args.lse.row<float>(t)[h] =
      static_cast<float>(any ? state.maximum + std::log(state.sum) : -kInfinity);
}

void AttendChunk(const AttentionArgs& args, const Block& block, Span keys,
                 std::vector<SoftmaxState>& states) {
  const KeysAndValues kv = ReadChunk(args, block, keys);
  Vector q(args.q.dim(2));
  for (int64_t i = 0; i < block.count * block.heads; ++i) {
    const int64_t row = i / block.heads;
    const Span seen = Visible(args, block.sequence, block.position + row);
    ReadRow(args.q, q, block.first + row, block.first_head + i % block.heads);
    const Vector products = q * kv.k.transpose();
    const int64_t end = std::min(seen.end, keys.end);
    for (int64_t j = std::max(seen.begin, keys.begin); j < end; ++j) {
      states[i].Take(Score(args, products[j - keys.begin]), kv.v.row(j - keys.begin));
    }
  }
}

void AttendBlock(const AttentionArgs& args, const Block& block) {
  std::vector<SoftmaxState> states(block.count * block.heads,
                                   SoftmaxState{Vector::Zero(args.out.dim(2))});
  const int64_t begin = Visible(args, block.sequence, block.position).begin;
  const int64_t end = Visible(args, block.sequence, block.position + block.count - 1).end;
  for (int64_t chunk = begin / kChunkKeys * kChunkKeys; chunk < end; chunk += kChunkKeys) {
    AttendChunk(args, block, {chunk, std::min(chunk + kChunkKeys, end)}, states);
  }
  for (int64_t i = 0; i < block.count * block.heads; ++i) {
    WriteResult(args, states[i], block.first + i / block.heads, block.first_head + i % block.heads);
  }
}

// The temporaries are one block's: they grow neither with the prompt nor with the context, and none
// of them is workspace.
void Attention(const AttentionArgs& args) {
  const int64_t heads = args.q.dim(1);
  const bool expanded = args.expansion.present();
  const int64_t shared = expanded ? 1 : heads / args.k.dim(2);  // query heads of a KV head
  const int32_t* starts = args.batch.seq_start.row<int32_t>();
  const int32_t* lengths = args.batch.kv_len.row<int32_t>();
  for (int64_t s = 0; s < LiveRows(args.batch.live_seqs, args.batch.kv_len.dim(0)); ++s) {
    for (int64_t first = starts[s]; first < starts[s + 1]; first += kQueryRows) {
      const int64_t count = std::min<int64_t>(kQueryRows, starts[s + 1] - first);
      const int64_t position = lengths[s] - starts[s + 1] + first;
      for (int64_t h = 0; h < heads; h += shared) {
        AttendBlock(args, {s, first, count, position, expanded ? 0 : h / shared, h, shared});
      }
    }
  }
}

}  // namespace

void AddReferenceAttention(KernelTable& table) {
  AddReferenceKernel<StoreKvArgs>(table, &StoreKv);
  AddReferenceKernel<AttentionArgs>(table, &Attention);
}

}  // namespace tandem
