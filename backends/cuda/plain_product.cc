#include "backends/cuda/plain_product.h"

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/plain_product.h"
#include "backends/cuda/views.h"

namespace tandem::cuda {
namespace {

constexpr unsigned kWarps = 8;
constexpr int64_t kRows = 8;  // kPlainRows of the kernel

unsigned Blocks(int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

PlainWeights ToWeights(const TensorView& w) {
  const bool stacked = w.shape.rank == 3;
  return {.data = static_cast<const u8*>(w.data),
          .group_stride = stacked ? w.strides[0] : 0,
          .row_stride = stacked ? w.strides[1] : w.strides[0]};
}

KernelSpec Kernel(std::string name) {
  return {"plain_product.cuh", absl::StrCat("tandem::cuda::", name)};
}

}  // namespace

std::vector<Launch> LowerPlain(const LinearArgs& args) {
  const PlainLinearParams params = {.x = ToRows(args.x),
                                    .out = ToRows(args.out),
                                    .w = ToWeights(args.w),
                                    .bias = static_cast<const float*>(args.bias.data),
                                    .rows = static_cast<i32>(args.x.dim(0)),
                                    .groups = HeadsOf(args.x),
                                    .inputs = static_cast<i32>(args.x.shape.back()),
                                    .outputs = static_cast<i32>(args.out.shape.back()),
                                    .live = args.live_rows};
  const Dim3 grid = {Blocks(params.outputs, kWarps), Blocks(params.rows, kRows),
                     static_cast<unsigned>(params.groups)};
  return {MakeLaunch(Kernel(absl::StrCat("PlainLinear<", TypeArg(args.w.dtype), ", ",
                                         args.transposed ? "true" : "false", ">")),
                     grid, {32 * kWarps}, 0, params)};
}

int64_t PlainWorkspaceBytes(const ExpertsArgs& args) {
  return args.ids.shape.elements() * args.gate.dim(1) * static_cast<int64_t>(sizeof(float));
}

std::vector<Launch> LowerPlain(const ExpertsArgs& args, const Workspace& workspace) {
  const PlainExpertsParams params = {.x = ToRows(args.x),
                                     .ids = ToRows(args.ids),
                                     .weights = ToRows(args.weights),
                                     .out = ToRows(args.out),
                                     .gate = ToWeights(args.gate),
                                     .up = ToWeights(args.up),
                                     .down = ToWeights(args.down),
                                     .hidden = static_cast<float*>(workspace.data),
                                     .rows = static_cast<i32>(args.x.dim(0)),
                                     .experts = static_cast<i32>(args.gate.dim(0)),
                                     .chosen = static_cast<i32>(args.ids.dim(1)),
                                     .width = static_cast<i32>(args.x.dim(1)),
                                     .hidden_width = static_cast<i32>(args.gate.dim(1)),
                                     .live = args.live_rows};
  const auto rows = static_cast<unsigned>(params.rows);
  const auto choices = static_cast<unsigned>(args.ids.shape.elements());
  return {MakeLaunch(Kernel(absl::StrCat("PlainExpertsUp<", TypeArg(args.gate.dtype), ", ",
                                         TypeArg(args.up.dtype), ">")),
                     {choices, Blocks(params.hidden_width, kWarps)}, {32 * kWarps}, 0, params),
          MakeLaunch(Kernel(absl::StrCat("PlainExpertsDown<", TypeArg(args.down.dtype), ">")),
                     {rows, Blocks(params.width, kWarps)}, {32 * kWarps}, 0, params)};
}

}  // namespace tandem::cuda
