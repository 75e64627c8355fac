#include "backends/cuda/product_rows.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/product_floats.h"
#include "backends/cuda/kernels/params/product_rows.h"
#include "backends/cuda/views.h"
#include "backends/device/status.h"
#include "backends/device/tiles.h"

namespace tandem::cuda {
namespace {

constexpr unsigned kThreads = kRowsWarps * 32;
constexpr int kMostPairs = 128;           // kMaxPairs of experts_rows.cuh
constexpr int kMostChosen = 32;           // of a token
constexpr int kExpertsStatic = 5 * 1024;  // at most: static shared memory of the kernels of experts
constexpr int kReserved = 1024;           // shared memory of each block that it cannot use
constexpr int kRing = 80 * 1024;          // bytes of the rings of a block that suffice
constexpr int kOuterPartsLog2 = 1;

int Ceil(int64_t n, int64_t each) { return static_cast<int>((n + each - 1) / each); }

// Bytes of an ActivationInfo, see activations.cuh.
int InfoBytes(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return ActivationInfoBytes(true, 1);
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ6_K:
      return ActivationInfoBytes(true, 2);
    default:
      return ActivationInfoBytes(false, 1);
  }
}

// Columns of the kernels: powers of two.
int Columns(int64_t tokens) {
  int columns = 1;
  while (columns < tokens) columns *= 2;
  return columns;
}

int Units(DType type, int64_t elements) {
  return static_cast<int>(elements / (GetTileFormat(type).tiles * kTileElements));
}

// Stages that keep memory busy, at least two.
int Stages(DType type) {
  const int unit = GetTileFormat(type).bytes;
  const int stage = StageUnits(unit) * unit * kRowsWarps;
  return std::clamp(kRing / stage, 2, 4);
}

int SharedBytes(DType type, int stages, int rows, int64_t elements, int partials) {
  return MakeRowsShared(GetTileFormat(type).bytes, InfoBytes(type), stages, rows,
                        static_cast<i32>(elements), partials)
      .bytes;
}

// The most tokens, halving their number, with which `shared(tokens)` bytes fit; 0 if none.
template <class Shared>
int TokensThatFit(int64_t tokens, int limit, Shared shared) {
  int fit = static_cast<int>(std::min<int64_t>(tokens, kMaxRows));
  while (fit > 0 && shared(fit) > limit) fit /= 2;
  return fit;
}

// Blocks that a multiprocessor holds: as it keeps 1 KiB of each, one more than a block may have.
int BlocksPerMultiprocessor(int shared, const Target& target) {
  return std::clamp((target.shared_per_block + kReserved) / (shared + kReserved), 1, 2);
}

// Divides the panels among warps so that the busiest multiprocessor has least to do: about 12
// cycles for a tile, some for each part that is added up and for each round of panels.
void DividePanels(const RowsProblem& problem, const Target& target, RowsShape& shape) {
  const int64_t panels = problem.outputs / kTileRows;
  const int units = Units(problem.type, problem.inputs);
  const int tiles = GetTileFormat(problem.type).tiles;
  const int slots = std::max<int>(
      1, target.sms * BlocksPerMultiprocessor(shape.shared_bytes, target) / problem.groups);
  double least = std::numeric_limits<double>::max();
  for (int log2 = 4; log2 >= 0; --log2) {
    const int parts = 1 << log2;
    if (parts > units && parts > 1) continue;
    const int jobs = Ceil(panels, kRowsWarps / parts), blocks = std::min(jobs, slots);
    const int rounds = Ceil(jobs, blocks);
    const int busiest = std::max(rounds, Ceil(jobs * problem.groups, target.sms));
    const double cycles =
        12.0 * busiest * kRowsWarps * Ceil(units, parts) * tiles + rounds * (8.0 * parts + 150);
    if (cycles >= least) continue;
    least = cycles;
    shape.parts_log2 = log2;
    shape.blocks = blocks;
  }
}

RowsProblem ProblemOf(const LinearArgs& args) {
  return {.type = args.w.dtype,
          .outputs = args.out.shape.back(),
          .inputs = args.x.shape.back(),
          .tokens = args.x.dim(0),
          .groups = HeadsOf(args.x)};
}

ExpertsRowsProblem ProblemOf(const ExpertsArgs& args) {
  return {.up = args.up.dtype,
          .down = args.down.dtype,
          .tokens = args.x.dim(0),
          .chosen = args.ids.dim(1),
          .width = args.x.dim(1),
          .inner = args.gate.dim(1)};
}

// Strides as the kernels count them.
int64_t RowFloats(const TensorView& view) { return view.present() ? view.strides[0] / 4 : 0; }
int64_t GroupFloats(const TensorView& view) {
  return view.shape.rank == 3 ? view.strides[1] / 4 : 0;
}
int64_t GroupBytes(const TensorView& view) { return view.shape.rank == 3 ? view.strides[0] : 0; }

// Null while a plan is being made.
template <class T>
T* Offset(T* p, int64_t elements) {
  return p == nullptr ? nullptr : p + elements;
}
const float* Floats(const TensorView& view) { return static_cast<const float*>(view.data); }

Launch WaitsItself(Launch launch) {
  launch.waits_itself = true;
  return launch;
}

LinearRowsParams LinearParams(const LinearArgs& args, const FusedCall& fused,
                              const RowsShape& shape) {
  LinearRowsParams p = {};
  p.weight = static_cast<const u8*>(args.w.data);
  p.x = Floats(args.x);
  p.bias = Floats(args.bias);
  p.add = Floats(fused.add);
  p.out = static_cast<float*>(args.out.data);
  p.live_rows = args.live_rows;
  p.weight_group = GroupBytes(args.w);
  p.x_row = RowFloats(args.x);
  p.x_group = GroupFloats(args.x);
  p.add_row = RowFloats(fused.add);
  p.out_row = RowFloats(args.out);
  p.out_group = GroupFloats(args.out);
  p.rows = static_cast<i32>(args.out.shape.back());
  p.k = static_cast<i32>(args.x.shape.back());
  p.parts_log2 = shape.parts_log2;
  p.blocks = shape.blocks;
  if (fused.norm) {
    p.norm = Floats(fused.norm->weight);
    p.eps = fused.norm->eps;
  }
  if (fused.activation) {
    p.gate = Floats(fused.activation->gate);
    p.gate_row = RowFloats(fused.activation->gate);
  }
  return p;
}

const char* PrologueArg(const FusedCall& fused) {
  if (fused.norm) return "tandem::cuda::Prologue::kRmsNorm";
  return fused.activation ? "tandem::cuda::Prologue::kSwiGlu" : "tandem::cuda::Prologue::kNone";
}

// Gives the joined matrices blocks behind those of the first. Returns all blocks.
int AddJoined(const FusedCall& fused, const Target& target, LinearRowsParams& p) {
  int blocks = p.blocks;
  for (const LinearArgs& other : fused.joined) {
    const int64_t panels = other.out.shape.back() / kTileRows;
    const int share = static_cast<int>(
        std::min<int64_t>(Ceil(panels, kRowsWarps >> p.parts_log2), 2 * target.sms));
    p.joined[p.joined_count++] = {.weight = static_cast<const u8*>(other.w.data),
                                  .out = static_cast<float*>(other.out.data),
                                  .out_row = RowFloats(other.out),
                                  .rows = static_cast<i32>(other.out.shape.back()),
                                  .first_block = blocks,
                                  .blocks = share};
    blocks += share;
  }
  return blocks;
}

// The same for tokens [first, first + count).
LinearRowsParams OfTokens(LinearRowsParams p, int64_t first, int count) {
  p.x = Offset(p.x, first * p.x_row);
  p.gate = Offset(p.gate, first * p.gate_row);
  p.add = Offset(p.add, first * p.add_row);
  p.out = Offset(p.out, first * p.out_row);
  for (JoinedMatrix& joined : p.joined) {
    joined.out = Offset(joined.out, first * joined.out_row);
  }
  p.first_row = static_cast<i32>(first);
  p.tokens = count;
  return p;
}

Launch LowerTransposed(const LinearArgs& args) {
  TransposedRowsParams p = {};
  p.weight = static_cast<const u8*>(args.w.data);
  p.x = Floats(args.x);
  p.out = static_cast<float*>(args.out.data);
  p.live_rows = args.live_rows;
  p.weight_group = GroupBytes(args.w);
  p.x_row = RowFloats(args.x);
  p.x_group = GroupFloats(args.x);
  p.out_row = RowFloats(args.out);
  p.out_group = GroupFloats(args.out);
  p.rows = static_cast<i32>(args.out.shape.back());
  p.k = static_cast<i32>(args.x.shape.back());
  p.tokens = static_cast<i32>(args.x.dim(0));
  const int columns = Columns(std::min<int64_t>(p.tokens, kMaxRows));
  const Dim3 grid = {static_cast<unsigned>(p.rows / kTileElements),
                     static_cast<unsigned>(HeadsOf(args.x)),
                     static_cast<unsigned>(Ceil(p.tokens, kMaxRows))};
  return WaitsItself(MakeLaunch(
      {"product_transposed.cuh",
       absl::StrCat("tandem::cuda::TransposedRows<", TypeArg(args.w.dtype), ", ", columns, ">")},
      grid, {kTransposedWarps * 32}, 0, p));
}

ExpertsRowsParams ExpertsParams(const ExpertsArgs& args, const FusedCall& fused,
                                const Workspace& workspace) {
  ExpertsRowsParams p = {};
  p.gate = static_cast<const u8*>(args.gate.data);
  p.up = static_cast<const u8*>(args.up.data);
  p.down = static_cast<const u8*>(args.down.data);
  p.x = Floats(args.x);
  p.ids = static_cast<const i32*>(args.ids.data);
  p.weights = Floats(args.weights);
  p.add = Floats(fused.add);
  p.out = static_cast<float*>(args.out.data);
  p.hidden = static_cast<u8*>(workspace.data);
  p.live_rows = args.live_rows;
  p.gate_expert = args.gate.strides[0];
  p.up_expert = args.up.strides[0];
  p.down_expert = args.down.strides[0];
  p.x_row = RowFloats(args.x);
  p.ids_row = RowFloats(args.ids);
  p.weights_row = RowFloats(args.weights);
  p.add_row = RowFloats(fused.add);
  p.out_row = RowFloats(args.out);
  p.chosen = static_cast<i32>(args.ids.dim(1));
  p.experts = static_cast<i32>(args.gate.dim(0));
  p.width = static_cast<i32>(args.x.dim(1));
  p.inner = static_cast<i32>(args.gate.dim(1));
  return p;
}

int64_t PairBytes(const ExpertsRowsProblem& problem) {
  return HiddenRowBytes(static_cast<i32>(problem.inner), InfoBytes(problem.down));
}

ExpertsRowsParams OfTokens(ExpertsRowsParams p, int64_t first, int count, int64_t pair_bytes) {
  p.x = Offset(p.x, first * p.x_row);
  p.ids = Offset(p.ids, first * p.ids_row);
  p.weights = Offset(p.weights, first * p.weights_row);
  p.add = Offset(p.add, first * p.add_row);
  p.out = Offset(p.out, first * p.out_row);
  p.hidden = Offset(p.hidden, first * p.chosen * pair_bytes);
  p.first_row = static_cast<i32>(first);
  p.tokens = count;
  return p;
}

// launch(first, count) for all tokens, `each` at a time.
template <class Each>
void ForTokens(int64_t tokens, int each, Each launch) {
  for (int64_t first = 0; first < tokens; first += each) {
    launch(first, static_cast<int>(std::min<int64_t>(each, tokens - first)));
  }
}

}  // namespace

std::string ToString(const RowsShape& shape) {
  return absl::StrCat(shape.blocks, " blocks, ", 1 << shape.parts_log2, " parts, ", shape.stages,
                      " stages, ", shape.tokens, " tokens");
}

RowsShape ChooseRowsShape(const RowsProblem& problem, const Target& target) {
  RowsShape shape;
  for (int stages = Stages(problem.type); stages >= 2; --stages) {
    auto shared = [&](int tokens) {
      const int columns = Columns(tokens);
      return SharedBytes(problem.type, stages, columns, problem.inputs, PanelPartials(columns));
    };
    shape.tokens = TokensThatFit(problem.tokens, target.shared_per_block, shared);
    if (shape.tokens == 0) continue;
    shape.stages = stages;
    shape.shared_bytes = shared(shape.tokens);
    DividePanels(problem, target, shape);
    break;
  }
  return shape;
}

ExpertsRowsShape ChooseRowsShape(const ExpertsRowsProblem& problem, const Target& target) {
  ExpertsRowsShape shape;
  const int limit = target.shared_per_block - kExpertsStatic;
  const int units = Units(problem.down, problem.inner);
  shape.outer.parts_log2 = units >= 1 << kOuterPartsLog2 ? kOuterPartsLog2 : 0;
  auto inner = [&](int tokens) {
    const int columns = Columns(tokens);
    return SharedBytes(problem.up, Stages(problem.up), columns, problem.width,
                       PanelPartials(columns));
  };
  auto outer = [&](int tokens) {
    const int pairs = static_cast<int>(tokens * problem.chosen);
    return SharedBytes(problem.down, Stages(problem.down), pairs, problem.inner,
                       OuterPartials(pairs, shape.outer.parts_log2));
  };
  auto finish = [&](RowsShape& s, DType type, int64_t jobs, auto shared) {
    s.tokens = TokensThatFit(problem.tokens, limit, shared);
    if (s.tokens == 0) return;
    s.stages = Stages(type);
    s.shared_bytes = shared(s.tokens);
    const int slots = target.sms * BlocksPerMultiprocessor(s.shared_bytes + kExpertsStatic, target);
    s.blocks = static_cast<int>(std::min<int64_t>(slots, jobs));
  };
  finish(shape.inner, problem.up, problem.tokens * problem.chosen * (problem.inner / kTileElements),
         inner);
  finish(shape.outer, problem.down, problem.width / kTileRows, outer);
  return shape;
}

absl::Status SupportsRows(const LinearArgs& args, const Target& target) {
  if (args.w.layout != WeightLayout::kTiles) {
    return absl::UnimplementedError("only weights in tiles are multiplied with rows of bytes");
  }
  if (args.transposed) {
    return args.bias.present() ? absl::UnimplementedError("transposed weights with a bias")
                               : absl::OkStatus();
  }
  if (args.x.dim(0) > kMaxRows) {
    return absl::UnimplementedError(absl::StrCat("at most ", kMaxRows, " tokens"));
  }
  if (!Aligned16(args.x)) return absl::UnimplementedError("x is not aligned to 16 bytes");
  if (ChooseRowsShape(ProblemOf(args), target).stages == 0) {
    return absl::UnimplementedError("rows of x are too long for the shared memory");
  }
  return absl::OkStatus();
}

absl::Status SupportsRows(const ExpertsArgs& args, const Target& target) {
  for (const TensorView* w : {&args.gate, &args.up, &args.down}) {
    if (w->layout != WeightLayout::kTiles) {
      return absl::UnimplementedError("only weights in tiles are multiplied with rows of bytes");
    }
  }
  const ExpertsRowsProblem problem = ProblemOf(args);
  if (problem.tokens > kMaxRows || problem.chosen > kMostChosen ||
      problem.tokens * problem.chosen > kMostPairs) {
    return absl::UnimplementedError("too many tokens or choices");
  }
  if (args.gate.dtype != args.up.dtype) {
    return absl::UnimplementedError("gate and up have different types");
  }
  if (!Aligned16(args.x)) return absl::UnimplementedError("x is not aligned to 16 bytes");
  const ExpertsRowsShape shape = ChooseRowsShape(problem, target);
  if (shape.inner.stages == 0 || shape.outer.stages == 0) {
    return absl::UnimplementedError("rows of x are too long for the shared memory");
  }
  return absl::OkStatus();
}

int64_t RowsWorkspaceBytes(const ExpertsArgs& args) {
  return args.ids.shape.elements() * PairBytes(ProblemOf(args));
}

std::vector<Launch> LowerRows(const LinearArgs& args, const FusedCall& fused,
                              const Target& target) {
  if (args.transposed) return {LowerTransposed(args)};
  const RowsShape shape = ChooseRowsShape(ProblemOf(args), target);
  LinearRowsParams params = LinearParams(args, fused, shape);
  const int blocks = AddJoined(fused, target, params);
  std::vector<Launch> launches;
  ForTokens(args.x.dim(0), shape.tokens, [&](int64_t first, int count) {
    const std::string name =
        absl::StrCat("tandem::cuda::LinearRows<", TypeArg(args.w.dtype), ", ",
                     Columns(shape.tokens), ", ", shape.stages, ", ", PrologueArg(fused), ">");
    launches.push_back(WaitsItself(MakeLaunch(
        {"product_rows.cuh", name},
        {static_cast<unsigned>(blocks), static_cast<unsigned>(HeadsOf(args.x))}, {kThreads},
        static_cast<unsigned>(shape.shared_bytes), OfTokens(params, first, count))));
  });
  return launches;
}

std::vector<Launch> LowerRows(const ExpertsArgs& args, const FusedCall& fused,
                              const Workspace& workspace, const Target& target) {
  const ExpertsRowsProblem problem = ProblemOf(args);
  const ExpertsRowsShape shape = ChooseRowsShape(problem, target);
  ExpertsRowsParams params = ExpertsParams(args, fused, workspace);
  params.parts_log2 = shape.outer.parts_log2;
  std::vector<Launch> launches;
  auto add = [&](const RowsShape& s, const std::string& name) {
    ForTokens(problem.tokens, s.tokens, [&](int64_t first, int count) {
      launches.push_back(
          WaitsItself(MakeLaunch({"experts_rows.cuh", name}, {static_cast<unsigned>(s.blocks)},
                                 {kThreads}, static_cast<unsigned>(s.shared_bytes),
                                 OfTokens(params, first, count, PairBytes(problem)))));
    });
  };
  add(shape.inner,
      absl::StrCat("tandem::cuda::ExpertsInner<", TypeArg(problem.up), ", ", TypeArg(problem.down),
                   ", ", Columns(shape.inner.tokens), ", ", shape.inner.stages, ">"));
  add(shape.outer, absl::StrCat("tandem::cuda::ExpertsOuter<", TypeArg(problem.down), ", ",
                                Columns(shape.outer.tokens), ", ", shape.outer.stages, ">"));
  return launches;
}

bool SupportsFloatRows(const LinearArgs& args) {
  const DType type = args.w.dtype;
  return args.w.layout == WeightLayout::kRows && !args.transposed &&
         (type == DType::kF32 || type == DType::kF16 || type == DType::kBF16) &&
         args.x.shape.back() % 8 == 0 && Aligned16(args.x) && Aligned16(args.w);
}

Launch LowerFloatRows(const LinearArgs& args, const FusedCall& fused) {
  FloatRowsParams p = {};
  p.weight = args.w.data;
  p.x = Floats(args.x);
  p.bias = Floats(args.bias);
  p.add = Floats(fused.add);
  p.out = static_cast<float*>(args.out.data);
  p.live_rows = args.live_rows;
  p.weight_group = GroupBytes(args.w);
  p.weight_row = args.w.strides[args.w.shape.rank - 2];
  p.x_row = RowFloats(args.x);
  p.x_group = GroupFloats(args.x);
  p.add_row = RowFloats(fused.add);
  p.out_row = RowFloats(args.out);
  p.out_group = GroupFloats(args.out);
  p.rows = static_cast<i32>(args.out.shape.back());
  p.k = static_cast<i32>(args.x.shape.back());
  p.tokens = static_cast<i32>(args.x.dim(0));
  const int columns = Columns(std::min<int64_t>(p.tokens, kMaxRows));
  const Dim3 grid = {static_cast<unsigned>(p.rows), static_cast<unsigned>(HeadsOf(args.x)),
                     static_cast<unsigned>(Ceil(p.tokens, kMaxRows))};
  return WaitsItself(MakeLaunch(
      {"product_floats.cuh",
       absl::StrCat("tandem::cuda::FloatRows<", TypeArg(args.w.dtype), ", ", columns, ">")},
      grid, {kFloatRowsThreads}, 0, p));
}

}  // namespace tandem::cuda
