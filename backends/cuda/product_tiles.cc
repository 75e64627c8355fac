#include "backends/cuda/product_tiles.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/convert_rows.h"
#include "backends/cuda/kernels/params/f16_tiles.h"
#include "backends/cuda/kernels/params/product_f32.h"
#include "backends/cuda/kernels/params/product_tiles.h"
#include "backends/cuda/tensor_maps.h"
#include "backends/cuda/tile_unit.h"
#include "backends/cuda/views.h"
#include "backends/cuda/workspace_parts.h"
#include "backends/device/status.h"
#include "backends/device/tiles.h"

namespace tandem::cuda {
namespace {

constexpr int kPortableThreads = 128;
constexpr int kPortableRows = 128;
constexpr int kMostStages = 8;

// Time of a step of 64 k of one block with iq4_nl weights, measured on an H200 in long products.
struct TimedShape {
  TileShape shape;
  int nanoseconds;
};
constexpr std::array kShapes = {
    TimedShape{{2, 2, 128, 0}, 994}, TimedShape{{2, 2, 96, 0}, 850}, TimedShape{{2, 2, 64, 0}, 739},
    TimedShape{{3, 1, 192, 0}, 1029}, TimedShape{{3, 1, 128, 0}, 817}, TimedShape{{3, 1, 96, 0}, 698},
    TimedShape{{2, 1, 256, 0}, 944}, TimedShape{{2, 1, 192, 0}, 766}, TimedShape{{2, 1, 128, 0}, 596},
    TimedShape{{2, 1, 64, 0}, 420},  TimedShape{{2, 1, 32, 0}, 380},
};

int64_t Tiles(int64_t n, int64_t each) { return (n + each - 1) / each; }
int64_t PaddedInputs(int64_t inputs) { return Tiles(inputs, 64) * 64; }

int SharedBytes(const TileShape& shape, const TileUnit& unit) {
  return ProductTilesSharedBytes(shape, unit.tiles, unit.bytes);
}

// As many stages as there is room for; 0 if two do not fit.
int StagesThatFit(TileShape shape, const TileUnit& unit, int limit) {
  for (shape.stages = kMostStages; shape.stages >= 2; --shape.stages) {
    if (SharedBytes(shape, unit) <= limit) return shape.stages;
  }
  return 0;
}

int64_t Blocks(const TileShape& shape, const ProductSize& size) {
  return size.groups * Tiles(size.outputs, shape.rows()) * Tiles(size.tokens, shape.tokens);
}

ProductSize SizeOf(const LinearArgs& args) {
  return {.type = args.w.dtype,
          .outputs = args.out.shape.back(),
          .inputs = args.x.shape.back(),
          .tokens = args.x.dim(0),
          .groups = HeadsOf(args.x)};
}

// How a product is made.
enum class Way {
  kTiles,     // from weights in tiles
  kF16Tiles,  // from other weights, made tiles of f16 numbers before
  kF32,       // from f32 weights
};
Way WayOf(const LinearArgs& args) {
  if (args.w.layout == WeightLayout::kTiles) return args.transposed ? Way::kF16Tiles : Way::kTiles;
  return args.w.dtype == DType::kF32 && !args.transposed ? Way::kF32 : Way::kF16Tiles;
}

struct Parts {
  u8* activations;
  float* scales;
  u8* weights;  // in tiles of f16 numbers
};
Parts TakeParts(WorkspaceParts& workspace, const ProductSize& size, Way way) {
  if (way == Way::kF32) return {};
  const int64_t rows = size.groups * size.tokens;
  Parts parts = {workspace.Take<u8>(rows * PaddedInputs(size.inputs) * 2),
                 workspace.Take<float>(rows), nullptr};
  if (way == Way::kF16Tiles) {
    parts.weights = workspace.Take<u8>(size.groups * size.outputs * size.inputs * 2);
  }
  return parts;
}

Launch LowerConvert(const LinearArgs& args, const Parts& parts) {
  const RowsView x = ToRows(args.x);
  const ConvertRowsParams params = {.x = x.data,
                                    .up = nullptr,
                                    .out = parts.activations,
                                    .scales = parts.scales,
                                    .live_rows = args.live_rows,
                                    .x_row_bytes = x.row_stride,
                                    .x_group_bytes = x.head_stride,
                                    .columns = static_cast<i32>(args.x.shape.back()),
                                    .group_rows = static_cast<i32>(args.x.dim(0)),
                                    .aligned = Aligned16(args.x)};
  return MakeLaunch({"convert_rows.cuh",
                     absl::StrCat("tandem::cuda::ConvertRows<false, ", HeldFours(params.columns), ">")},
                    {static_cast<unsigned>(args.x.dim(0)), static_cast<unsigned>(HeadsOf(args.x))},
                    {kConvertRowsThreads}, 0, params);
}

Launch LowerF32(const LinearArgs& args, const ProductSize& size) {
  constexpr unsigned kThreads = 256;
  constexpr int kOutputs = 64, kTokens = 16;
  const RowsView x = ToRows(args.x), out = ToRows(args.out);
  const bool stacked = args.w.shape.rank == 3;
  const ProductF32Params params = {.x = x.data,
                                   .w = static_cast<const u8*>(args.w.data),
                                   .bias = static_cast<const float*>(args.bias.data),
                                   .out = out.data,
                                   .live_rows = args.live_rows,
                                   .x_row_bytes = x.row_stride,
                                   .x_group_bytes = x.head_stride,
                                   .w_row_bytes = args.w.strides[stacked ? 1 : 0],
                                   .w_group_bytes = stacked ? args.w.strides[0] : 0,
                                   .out_row_bytes = out.row_stride,
                                   .out_group_bytes = out.head_stride,
                                   .tokens = static_cast<i32>(size.tokens),
                                   .outputs = static_cast<i32>(size.outputs),
                                   .k = static_cast<i32>(size.inputs)};
  const Dim3 grid = {static_cast<unsigned>(Tiles(size.outputs, kOutputs)),
                     static_cast<unsigned>(Tiles(size.tokens, kTokens)),
                     static_cast<unsigned>(size.groups)};
  return MakeLaunch({"product_f32.cuh", "tandem::cuda::ProductF32"}, grid, {kThreads}, 0, params);
}

std::string OutArg(DType type) { return type == DType::kF16 ? "tandem::cuda::f16" : "float"; }

Launch LowerHopper(const ProductSize& size, const std::string& out, const TileShape& shape,
                   const Target& target, const ProductTilesParams& params) {
  const std::string name =
      absl::StrCat("tandem::cuda::ProductTiles<", TypeArg(size.type), ", ", out, ", ",
                   shape.consumers, ", ", shape.row_tiles, ", ", shape.tokens, ", ", shape.stages,
                   ">");
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(target.sms, Blocks(shape, size)));
  return MakeLaunch({"product_tiles.cuh", name}, {blocks}, {static_cast<unsigned>(shape.threads())},
                    static_cast<unsigned>(SharedBytes(shape, TileUnitOf(size.type))), params);
}

Launch LowerPortable(const ProductSize& size, const std::string& out,
                     const ProductTilesParams& params) {
  const int tokens = size.tokens <= 32 ? 32 : 64;
  const std::string name = absl::StrCat("tandem::cuda::ProductTilesPortable<", TypeArg(size.type),
                                        ", ", out, ", ", tokens, ">");
  const auto blocks = static_cast<unsigned>(size.groups * Tiles(size.outputs, kPortableRows) *
                                            Tiles(size.tokens, tokens));
  const int ring = 4 * tokens * 128, staging = 32 * (128 + 4) * 4;
  return MakeLaunch({"product_tiles_portable.cuh", name}, {blocks}, {kPortableThreads},
                    static_cast<unsigned>(ring + staging), params);
}

}  // namespace

TileShape ChooseTileShape(const ProductSize& size, const Target& target) {
  const TileUnit unit = TileUnitOf(size.type);
  TileShape best = {};
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const TimedShape& candidate : kShapes) {
    TileShape shape = candidate.shape;
    shape.stages = StagesThatFit(shape, unit, target.shared_per_block);
    if (shape.stages == 0) continue;
    const int64_t time = Tiles(Blocks(shape, size), target.sms) * candidate.nanoseconds;
    if (time < least) {
      least = time;
      best = shape;
    }
  }
  return best;
}

std::string ToString(const TileShape& shape) {
  return absl::StrCat(shape.consumers, "x", shape.row_tiles, "x64 rows, ", shape.tokens, " tokens, ",
                      shape.stages, " stages");
}

absl::Status SupportsTiles(const LinearArgs& args) {
  const ProductSize size = SizeOf(args);
  if (WayOf(args) == Way::kF32) {
    if (size.inputs % 16 == 0 && Aligned16(args.x) && Aligned16(args.w)) return absl::OkStatus();
    return absl::UnimplementedError("rows of f32 weights and activations must be multiples of 64 "
                                    "bytes");
  }
  if (size.inputs % kTileElements != 0 || size.outputs % kTileRows != 0) {
    return absl::UnimplementedError(
        absl::StrCat("a product with ", size.inputs, " inputs and ", size.outputs, " outputs"));
  }
  return absl::OkStatus();
}

int64_t TilesWorkspaceBytes(const LinearArgs& args) {
  WorkspaceParts parts;
  TakeParts(parts, SizeOf(args), WayOf(args));
  return parts.bytes();
}

absl::StatusOr<Launch> LowerTileProduct(const ProductSize& size, const void* weights,
                                        const Operand& activations, const float* bias,
                                        const TensorView& out, LiveCount live,
                                        const Lowering& lowering) {
  const RowsView rows = ToRows(out);
  ProductTilesParams params = {};
  params.weights_data = static_cast<const u8*>(weights);
  params.x_data = activations.data;
  params.panel_bytes = RowBytes(size.type, size.inputs) * kTileRows;
  params.x_rows = static_cast<i32>(activations.rows);
  params.x_scales = activations.scales;
  params.bias = bias;
  params.out = rows.data;
  params.live_rows = live;
  params.out_row_bytes = rows.row_stride;
  params.out_group_bytes = rows.head_stride;
  params.groups = static_cast<i32>(size.groups);
  params.out_features = static_cast<i32>(size.outputs);
  params.tokens = static_cast<i32>(size.tokens);
  params.tiles = static_cast<i32>(size.inputs / kTileElements);
  params.x_group_rows = static_cast<i32>(activations.group_rows);
  params.aligned = Aligned16(out);
  if (!lowering.target.hopper()) return LowerPortable(size, OutArg(out.dtype), params);

  const TileShape shape = ChooseTileShape(size, lowering.target);
  TANDEM_ASSIGN_OR_RETURN(params.x,
                          RowsMap(lowering.encode_tensor_map, activations.data, size.inputs,
                                  PaddedInputs(size.inputs) * 2, activations.rows, shape.tokens));
  TANDEM_ASSIGN_OR_RETURN(params.weights,
                          WeightsMap(lowering.encode_tensor_map, weights, size.type, size.inputs,
                                     size.groups * size.outputs / kTileRows, shape.rows() / 16));
  return LowerHopper(size, OutArg(out.dtype), shape, lowering.target, params);
}

Launch LowerF16Tiles(const TensorView& w, bool transposed, const ProductSize& size, u8* out) {
  constexpr unsigned kThreads = 256, kTilesOfBlock = kThreads / 32;
  const bool stacked = w.shape.rank == 3, tiles = w.layout == WeightLayout::kTiles;
  const int64_t row_bytes = stacked ? w.strides[1] : w.strides[0];
  const F16TilesParams params = {
      .w = static_cast<const u8*>(w.data),
      .out = out,
      .group_bytes = stacked ? w.strides[0] : 0,
      .row_bytes = tiles ? RowBytes(w.dtype, w.shape.back()) * kTileRows : row_bytes,
      .groups = static_cast<i32>(size.groups),
      .rows = static_cast<i32>(size.outputs),
      .padded_rows = static_cast<i32>(size.outputs),
      .k = static_cast<i32>(size.inputs)};
  const int64_t count = size.groups * size.outputs * size.inputs / (kTileRows * kTileElements);
  const std::string name =
      tiles ? absl::StrCat("F16TilesOfTransposedTiles<", TypeArg(w.dtype), ">")
            : absl::StrCat("F16TilesOfRows<", TypeArg(w.dtype), ", ",
                           transposed ? "true" : "false", ">");
  return MakeLaunch({"f16_tiles.cuh", absl::StrCat("tandem::cuda::", name)},
                    {static_cast<unsigned>(Tiles(count, kTilesOfBlock))}, {kThreads}, 0, params);
}

absl::StatusOr<std::vector<Launch>> LowerTiles(const LinearArgs& args, const Workspace& workspace,
                                               const Lowering& lowering) {
  ProductSize size = SizeOf(args);
  const Way way = WayOf(args);
  std::vector<Launch> launches;
  if (way == Way::kF32) {
    launches.push_back(LowerF32(args, size));
    return launches;
  }
  WorkspaceParts memory(workspace.data);
  const Parts parts = TakeParts(memory, size, way);
  launches.push_back(LowerConvert(args, parts));
  const void* weights = args.w.data;
  if (way == Way::kF16Tiles) {
    launches.push_back(LowerF16Tiles(args.w, args.transposed, size, parts.weights));
    weights = parts.weights;
    size.type = DType::kF16;
  }
  const Operand activations = {parts.activations, parts.scales, size.groups * size.tokens,
                               size.tokens};
  TANDEM_ASSIGN_OR_RETURN(
      Launch product,
      LowerTileProduct(size, weights, activations, static_cast<const float*>(args.bias.data),
                       args.out, args.live_rows, lowering));
  launches.push_back(std::move(product));
  return launches;
}

}  // namespace tandem::cuda
