#include "tests/backends/cpu/step.h"

#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "backends/device/quant.h"

namespace tandem::cpu {
namespace {

constexpr int64_t kDistinctRows = 16;  // of random numbers; they repeat in larger tensors

TensorView Reshape(TensorView view, const Shape& shape) {
  return MakeView(view.data, view.dtype, shape);
}

// Columns [first, first + n) of each row.
TensorView Columns(TensorView view, int64_t first, int64_t n) {
  view.data = view.row() + first * static_cast<int64_t>(sizeof(float));
  view.shape.dims[view.shape.rank - 1] = n;
  return view;
}

}  // namespace

Step::Step(Device& device, const StepSizes& sizes) : device_(device), sizes_(sizes) {
  const StepSizes& s = sizes_;
  const int64_t pages = (s.keys + kPageTokens - 1) / kPageTokens;
  std::vector<int32_t> page_table(pages), positions(s.tokens), ids(s.tokens);
  std::iota(page_table.rbegin(), page_table.rend(), 0);
  for (int64_t t = 0; t < s.tokens; ++t) {
    positions[t] = static_cast<int32_t>(s.keys - s.live_tokens + t);
    ids[t] = static_cast<int32_t>((t * 37 + 11) % s.words);
  }
  std::vector<int32_t> slots(s.tokens, -1);
  for (int64_t t = 0; t < s.live_tokens; ++t) {
    slots[t] = page_table[positions[t] / kPageTokens] * static_cast<int32_t>(kPageTokens) +
               positions[t] % static_cast<int32_t>(kPageTokens);
  }
  positions_ = I32({s.tokens}, positions);
  slots_ = I32({s.tokens}, slots);
  live_ = I32({1}, {static_cast<int32_t>(s.live_tokens)}).row<int32_t>();
  batch_ = {I32({2}, {0, static_cast<int32_t>(s.live_tokens)}),
            I32({1}, {static_cast<int32_t>(s.keys)}), I32({1, pages}, page_table), nullptr};
  inv_freq_ = F32({s.rotated / 2});
  for (int64_t i = 0; i < s.rotated / 2; ++i) {
    inv_freq_.row<float>()[i] = std::pow(1e4f, -2.0f * static_cast<float>(i) / s.rotated);
  }
  TensorView x = Call(EmbedArgs{.ids = I32({s.tokens}, ids),
                                .table = Weights(DType::kQ8_0, {s.words, s.embed}),
                                .out = F32({s.tokens, s.embed}),
                                .live_rows = live_},
                      "embed");
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    x = Add(x, Attention(Norm(x)));
    x = Add(x, FeedForward(Norm(x)));
  }
  logits_ = Linear(Norm(x), {s.words, s.embed});
}

std::span<const float> Step::logits() const {
  return {logits_.row<float>(), static_cast<size_t>(sizes_.live_tokens * sizes_.words)};
}

TensorView Step::Allocate(DType dtype, const Shape& shape) {
  buffers_.push_back(*device_.Allocate(ContiguousBytes(dtype, shape)));
  return MakeView(buffers_.back()->data(), dtype, shape);
}

TensorView Step::I32(const Shape& shape, const std::vector<int32_t>& values) {
  const TensorView view = Allocate(DType::kI32, shape);
  std::ranges::copy(values, view.row<int32_t>());
  return view;
}

TensorView Step::Weights(DType dtype, const Shape& shape) {
  const TensorView view = Allocate(dtype, shape);
  const int64_t width = shape.back(), row_bytes = RowBytes(dtype, width);
  const int64_t rows = shape.rows();
  std::normal_distribution<float> normal(0.0f, 1.0f / std::sqrt(static_cast<float>(width)));
  std::vector<float> values(width);
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* row = view.row() + r * row_bytes;
    if (r >= kDistinctRows) {
      std::memcpy(row, view.row() + (r * 7 % kDistinctRows) * row_bytes, row_bytes);
      continue;
    }
    for (float& value : values) value = normal(random_);
    QuantizeRow(dtype, values.data(), row, width, nullptr).IgnoreError();
  }
  return view;
}

TensorView Step::Ones(int64_t n) {
  const TensorView view = F32({n});
  std::fill_n(view.row<float>(), n, 1.0f);
  return view;
}

template <typename Args>
TensorView Step::Call(Args args, std::string name) {
  tandem::Call call = {.args = args, .name = std::move(name)};
  const int64_t bytes = device_.WorkspaceBytes(call.args);
  if (bytes > 0) {
    buffers_.push_back(*device_.Allocate(bytes));
    call.workspace = {buffers_.back()->data(), bytes};
  }
  program_.calls.push_back(std::move(call));
  return Writes(program_.calls.back().args).front();
}

TensorView Step::Norm(const TensorView& x) {
  return Call(
      RmsNormArgs{.x = x, .weight = Ones(x.shape.back()), .out = F32(x.shape), .live_rows = live_},
      "norm");
}

TensorView Step::Linear(const TensorView& x, const Shape& w) {
  Shape out = x.shape;
  out.dims[out.rank - 1] = w[w.rank - 2];
  return Call(
      LinearArgs{.x = x, .w = Weights(sizes_.weights, w), .out = F32(out), .live_rows = live_},
      "linear");
}

TensorView Step::Turn(const TensorView& x) {
  return Call(RopeArgs{.x = x,
                       .positions = positions_,
                       .inv_freq = inv_freq_,
                       .out = F32(x.shape),
                       .live_rows = live_},
              "rope");
}

TensorView Step::Concat(const TensorView& a, const TensorView& b) {
  Shape shape = a.shape;
  shape.dims[shape.rank - 1] += b.shape.back();
  return Call(ConcatArgs{.a = a, .b = b, .out = F32(shape), .live_rows = live_}, "concat");
}

TensorView Step::Add(const TensorView& a, const TensorView& b) {
  return Call(AddArgs{.a = a, .b = b, .out = F32(a.shape), .live_rows = live_}, "add");
}

// The absorbed form: one key head of latent and rotated elements, values its latent part.
TensorView Step::Attention(const TensorView& x) {
  const StepSizes& s = sizes_;
  const int64_t head = s.plain + s.rotated, key = s.latent + s.rotated;
  const TensorView q = Reshape(Linear(x, {s.heads * head, s.embed}), {s.tokens, s.heads, head});
  const TensorView absorbed = Linear(Columns(q, 0, s.plain), {s.heads, s.latent, s.plain});
  const TensorView queries = Concat(absorbed, Turn(Columns(q, s.plain, s.rotated)));
  const TensorView kv = Reshape(Linear(x, {key, s.embed}), {s.tokens, 1, key});
  const TensorView keys =
      Concat(Norm(Columns(kv, 0, s.latent)), Turn(Columns(kv, s.latent, s.rotated)));
  const TensorView cache = Weights(s.cache, {batch_.page_table.dim(1), kPageTokens, 1, key});
  Call(StoreKvArgs{.x = keys, .slots = slots_, .cache = cache, .live_rows = live_}, "store");
  AttentionArgs attention = {.q = queries, .k = cache, .v_from_k_offset = 0, .batch = batch_};
  attention.scale = 1.0f / std::sqrt(static_cast<float>(head));
  attention.out = F32({s.tokens, s.heads, s.latent});
  const TensorView latents = Call(attention, "attention");
  const TensorView values = Linear(latents, {s.heads, s.value, s.latent});
  return Linear(Reshape(values, {s.tokens, s.heads * s.value}), {s.embed, s.heads * s.value});
}

TensorView Step::FeedForward(const TensorView& x) {
  const StepSizes& s = sizes_;
  RouteArgs route = {.ids = Allocate(DType::kI32, {s.tokens, s.used}),
                     .weights = F32({s.tokens, s.used}),
                     .normalize = true,
                     .live_rows = live_};
  route.logits = Call(LinearArgs{.x = x,
                                 .w = Weights(DType::kF32, {s.experts, s.embed}),
                                 .out = F32({s.tokens, s.experts}),
                                 .live_rows = live_},
                      "router");
  Call(route, "route");
  const TensorView routed =
      Call(ExpertsArgs{.x = x,
                       .ids = route.ids,
                       .weights = route.weights,
                       .gate = Weights(s.weights, {s.experts, s.hidden, s.embed}),
                       .up = Weights(s.weights, {s.experts, s.hidden, s.embed}),
                       .down = Weights(s.weights, {s.experts, s.embed, s.hidden}),
                       .out = F32({s.tokens, s.embed}),
                       .live_rows = live_},
           "experts");
  const TensorView hidden = Call(SwiGluArgs{.gate = Linear(x, {s.shared, s.embed}),
                                            .up = Linear(x, {s.shared, s.embed}),
                                            .out = F32({s.tokens, s.shared}),
                                            .live_rows = live_},
                                 "swiglu");
  return Add(routed, Linear(hidden, {s.embed, s.shared}));
}

}  // namespace tandem::cpu
