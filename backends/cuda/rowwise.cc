#include "backends/cuda/rowwise.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cuda/views.h"

namespace tandem::cuda {
namespace {

constexpr unsigned kThreads = 256;

// As many threads as a row has elements, in whole warps.
unsigned ThreadsFor(int64_t elements) {
  return static_cast<unsigned>(std::clamp<int64_t>((elements + 31) / 32 * 32, 32, kThreads));
}

template <class Params>
std::vector<Launch> OneLaunch(std::string name, int64_t blocks, unsigned threads,
                              const Params& params) {
  Launch launch = MakeLaunch({"rowwise.cuh", absl::StrCat("tandem::cuda::", name)},
                             {static_cast<unsigned>(blocks)}, {threads}, 0, params);
  launch.waits_itself = true;
  return {std::move(launch)};
}

template <class Args>
BinaryParams ToBinary(const Args& args, const TensorView& a, const TensorView& b) {
  return {.a = ToRows(a), .b = ToRows(b), .out = ToRows(args.out),
          .rows = static_cast<i32>(a.dim(0)), .heads = HeadsOf(a),
          .width = static_cast<i32>(a.shape.back()), .b_width = static_cast<i32>(b.shape.back()),
          .live = args.live_rows};
}

std::string Bool(bool value) { return value ? "true" : "false"; }

}  // namespace

std::vector<Launch> Lower(const EmbedArgs& args) {
  const EmbedParams params = {.ids = static_cast<const i32*>(args.ids.data),
                              .table = static_cast<const u8*>(args.table.data),
                              .table_stride = args.table.strides[0],
                              .vocab = args.table.dim(0),
                              .width = args.table.dim(1),
                              .out = ToRows(args.out),
                              .live = args.live_rows};
  return OneLaunch(absl::StrCat("Embed<", TypeArg(args.table.dtype), ">"), args.ids.dim(0),
                   ThreadsFor(args.table.dim(1)), params);
}

std::vector<Launch> Lower(const RmsNormArgs& args) {
  const RmsNormParams params = {.x = ToRows(args.x),
                                .out = ToRows(args.out),
                                .weight = static_cast<const float*>(args.weight.data),
                                .rows = static_cast<i32>(args.x.dim(0)),
                                .heads = HeadsOf(args.x),
                                .width = static_cast<i32>(args.x.shape.back()),
                                .eps = args.eps,
                                .live = args.live_rows};
  return OneLaunch("RmsNorm", args.x.dim(0) * HeadsOf(args.x), ThreadsFor(params.width), params);
}

std::vector<Launch> Lower(const RopeArgs& args) {
  const RopeParams params = {.x = ToRows(args.x),
                             .out = ToRows(args.out),
                             .positions = static_cast<const i32*>(args.positions.data),
                             .inv_freq = static_cast<const float*>(args.inv_freq.data),
                             .rows = static_cast<i32>(args.x.dim(0)),
                             .heads = HeadsOf(args.x),
                             .width = static_cast<i32>(args.x.shape.back()),
                             .begin = static_cast<i32>(args.begin),
                             .pairs = static_cast<i32>(args.inv_freq.dim(0)),
                             .magnitude = args.magnitude,
                             .live = args.live_rows};
  return OneLaunch(absl::StrCat("Rope<", Bool(args.pairing == RopePairing::kHalves), ">"),
                   args.x.dim(0), ThreadsFor(int64_t{params.heads} * params.pairs), params);
}

std::vector<Launch> Lower(const AddArgs& args) {
  return OneLaunch("Add", args.a.dim(0), ThreadsFor(args.a.dim(1)), ToBinary(args, args.a, args.b));
}

std::vector<Launch> Lower(const SwiGluArgs& args) {
  return OneLaunch("SwiGlu", args.gate.dim(0), ThreadsFor(args.gate.dim(1)),
                   ToBinary(args, args.gate, args.up));
}

std::vector<Launch> Lower(const ConcatArgs& args) {
  return OneLaunch("Concat", args.a.dim(0), ThreadsFor(args.out.shape.elements() / args.a.dim(0)),
                   ToBinary(args, args.a, args.b));
}

std::vector<Launch> Lower(const GatherRowsArgs& args) {
  const GatherRowsParams params = {.x = ToRows(args.x),
                                   .out = ToRows(args.out),
                                   .index = static_cast<const i32*>(args.rows.data),
                                   .rows = static_cast<i32>(args.x.dim(0)),
                                   .out_rows = static_cast<i32>(args.out.dim(0)),
                                   .width = static_cast<i32>(args.x.dim(1)),
                                   .live = args.live_rows};
  return OneLaunch("GatherRows", args.out.dim(0), ThreadsFor(args.x.dim(1)), params);
}

std::vector<Launch> Lower(const RouteArgs& args) {
  const RouteParams params = {.logits = ToRows(args.logits),
                              .ids = ToRows(args.ids),
                              .weights = ToRows(args.weights),
                              .bias = static_cast<const float*>(args.bias.data),
                              .rows = static_cast<i32>(args.logits.dim(0)),
                              .experts = static_cast<i32>(args.logits.dim(1)),
                              .chosen = static_cast<i32>(args.ids.dim(1)),
                              .groups = static_cast<i32>(args.groups),
                              .groups_used = static_cast<i32>(args.groups_used),
                              .scale = args.scale,
                              .live = args.live_rows};
  const bool top2 = args.group_score == GroupScore::kTop2Sum;
  const std::string name =
      absl::StrCat("tandem::cuda::Route<", static_cast<int>(args.gating), ", ", Bool(top2), ", ",
                   Bool(args.normalize), ">");
  // Score, choice, score of each group; then bytes for groups and experts.
  const auto shared = static_cast<unsigned>(params.experts * 9 + params.groups * 5);
  Launch launch =
      MakeLaunch({"route.cuh", name}, {static_cast<unsigned>(params.rows)}, {32}, shared, params);
  launch.waits_itself = true;
  return {std::move(launch)};
}

}  // namespace tandem::cuda
