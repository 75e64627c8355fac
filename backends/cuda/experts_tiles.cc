#include "backends/cuda/experts_tiles.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/convert_rows.h"
#include "backends/cuda/kernels/params/experts.h"
#include "backends/cuda/kernels/params/tile_ring.h"
#include "backends/cuda/tensor_maps.h"
#include "backends/cuda/tile_unit.h"
#include "backends/cuda/views.h"
#include "backends/cuda/workspace_parts.h"
#include "backends/device/status.h"
#include "backends/device/tiles.h"

namespace tandem::cuda {
namespace {

// Of the kernels.
constexpr unsigned kSortThreads = 1024, kConvertThreads = 256, kLevelThreads = 128;
constexpr unsigned kCombineThreads = 256, kPortableThreads = 128;
constexpr int kPortableTokens = 64, kPortableRows = 128;

int64_t RoundTo64(int64_t n) { return (n + 63) / 64 * 64; }
unsigned Tiles(int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); }

// Sizes of a call.
struct Sizes {
  int64_t tokens, choices, pairs, experts, width, hidden, tile_width, max_tiles;

  Sizes(const ExpertsArgs& args, const Target& target)
      : tokens(args.x.dim(0)),
        choices(args.ids.dim(1)),
        pairs(tokens * choices),
        experts(args.gate.dim(0)),
        width(args.x.dim(1)),
        hidden(args.gate.dim(1)),
        tile_width(target.hopper() ? ExpertShape(1, 16).tokens : kPortableTokens),
        max_tiles(MaxExpertTiles(static_cast<i32>(pairs), static_cast<i32>(experts),
                                 static_cast<i32>(tile_width))) {}
};

struct Parts {
  i32 *pairs, *places, *counts;
  ExpertTiles* tiles;
  u8* rows;  // x at places; later the results of pairs
  float* scales;
  u8* hidden;  // at places
  float* hidden_scales;
  i8 *hidden_exponents, *out_exponents;

  Parts(WorkspaceParts& memory, const Sizes& n)
      : pairs(memory.Take<i32>(n.pairs)),
        places(memory.Take<i32>(n.pairs)),
        counts(memory.Take<i32>(4)),
        tiles(memory.Take<ExpertTiles>(n.max_tiles)),
        rows(memory.Take<u8>(n.pairs * RoundTo64(n.width) * 2)),
        scales(memory.Take<float>(n.pairs)),
        hidden(memory.Take<u8>(n.pairs * RoundTo64(n.hidden) * 2)),
        hidden_scales(memory.Take<float>(n.pairs)),
        hidden_exponents(memory.Take<i8>(n.pairs * n.hidden / 16)),
        out_exponents(memory.Take<i8>(n.pairs * n.width / 16)) {}

  const i32* any_hidden_exponent() const { return counts + 2; }
  const i32* any_out_exponent() const { return counts + 3; }
};

KernelSpec Helper(const std::string& name) {
  return {"experts_combine.cuh", absl::StrCat("tandem::cuda::", name)};
}

class ExpertsLowering {
 public:
  ExpertsLowering(const ExpertsArgs& args, const Workspace& workspace, const Lowering& lowering)
      : args_(args),
        lowering_(lowering),
        n_(args, lowering.target),
        memory_(workspace.data),
        parts_(memory_, n_) {}

  absl::StatusOr<std::vector<Launch>> Lower() const {
    TANDEM_ASSIGN_OR_RETURN(Launch up, Products(/*both=*/true));
    TANDEM_ASSIGN_OR_RETURN(Launch down, Products(/*both=*/false));
    std::vector<Launch> launches;
    launches.push_back(Sort());
    launches.push_back(Place());
    launches.push_back(std::move(up));
    launches.push_back(Level());
    launches.push_back(std::move(down));
    launches.push_back(Combine());
    return launches;
  }

 private:
  Launch Sort() const {
    const SortPairsParams params = {.ids = static_cast<const u8*>(args_.ids.data),
                                    .live_rows = args_.live_rows,
                                    .ids_row_bytes = args_.ids.strides[0],
                                    .tokens = static_cast<i32>(n_.tokens),
                                    .choices = static_cast<i32>(n_.choices),
                                    .experts = static_cast<i32>(n_.experts),
                                    .tile_width = static_cast<i32>(n_.tile_width),
                                    .pairs = parts_.pairs,
                                    .places = parts_.places,
                                    .counts = parts_.counts,
                                    .tiles = parts_.tiles};
    return MakeLaunch({"experts_sort.cuh", "tandem::cuda::SortPairs"},
                      {static_cast<unsigned>(n_.experts)}, {kSortThreads},
                      static_cast<unsigned>(n_.experts * 4), params);
  }

  Launch Place() const {
    const PlaceRowsParams params = {.x = static_cast<const u8*>(args_.x.data),
                                    .live_rows = args_.live_rows,
                                    .places = parts_.places,
                                    .out = parts_.rows,
                                    .scales = parts_.scales,
                                    .hidden_scales = parts_.hidden_scales,
                                    .hidden_exponents = parts_.hidden_exponents,
                                    .out_exponents = parts_.out_exponents,
                                    .x_row_bytes = args_.x.strides[0],
                                    .columns = static_cast<i32>(n_.width),
                                    .choices = static_cast<i32>(n_.choices),
                                    .hidden_panels = static_cast<i32>(n_.hidden / 16),
                                    .out_panels = static_cast<i32>(n_.width / 16),
                                    .aligned = Aligned16(args_.x)};
    return MakeLaunch(Helper(absl::StrCat("PlaceRows<", HeldFours(params.columns), ">")), {static_cast<unsigned>(n_.tokens)}, {kConvertThreads}, 0,
                      params);
  }

  Launch Level() const {
    const LevelRowsParams params = {.rows = parts_.hidden,
                                    .exponents = parts_.hidden_exponents,
                                    .scales = parts_.hidden_scales,
                                    .any_exponent = parts_.any_hidden_exponent(),
                                    .counts = parts_.counts,
                                    .features = static_cast<i32>(n_.hidden),
                                    .columns = static_cast<i32>(RoundTo64(n_.hidden))};
    const int64_t blocks = std::min<int64_t>(n_.pairs, lowering_.target.sms * 8);
    return MakeLaunch(Helper("LevelRows"), {static_cast<unsigned>(blocks)}, {kLevelThreads}, 0,
                      params);
  }

  Launch Combine() const {
    const CombineParams params = {.rows = parts_.rows,
                                  .exponents = parts_.out_exponents,
                                  .any_exponent = parts_.any_out_exponent(),
                                  .ids = static_cast<const u8*>(args_.ids.data),
                                  .weights = static_cast<const u8*>(args_.weights.data),
                                  .live_rows = args_.live_rows,
                                  .out = static_cast<u8*>(args_.out.data),
                                  .ids_row_bytes = args_.ids.strides[0],
                                  .weights_row_bytes = args_.weights.strides[0],
                                  .out_row_bytes = args_.out.strides[0],
                                  .choices = static_cast<i32>(n_.choices),
                                  .experts = static_cast<i32>(n_.experts),
                                  .features = static_cast<i32>(n_.width),
                                  .aligned = Aligned16(args_.out)};
    return MakeLaunch(Helper("Combine"), {static_cast<unsigned>(n_.tokens)}, {kCombineThreads}, 0,
                      params);
  }

  // Gate and up, or down.
  absl::StatusOr<Launch> Products(bool both) const {
    const TensorView& first = both ? args_.gate : args_.down;
    const int64_t features = first.dim(1), inputs = first.dim(2);
    ExpertProductsParams params = {};
    params.x_scales = both ? parts_.scales : parts_.hidden_scales;
    params.out = both ? parts_.hidden : parts_.rows;
    params.exponents = both ? parts_.hidden_exponents : parts_.out_exponents;
    params.weights_data = static_cast<const u8*>(first.data);
    params.up_data = both ? static_cast<const u8*>(args_.up.data) : nullptr;
    params.x_data = both ? parts_.rows : parts_.hidden;
    params.panel_bytes = RowBytes(first.dtype, inputs) * kTileRows;
    params.x_rows = static_cast<i32>(n_.pairs);
    params.any_exponent = parts_.counts + (both ? 2 : 3);
    params.pairs = both ? nullptr : parts_.pairs;
    params.tiles = parts_.tiles;
    params.counts = parts_.counts;
    params.features = static_cast<i32>(features);
    params.out_columns = static_cast<i32>(both ? RoundTo64(features) : features);
    params.k_tiles = static_cast<i32>(inputs / kTileElements);
    const std::string arguments =
        absl::StrCat("<", TypeArg(first.dtype), ", ", both ? "true" : "false", ">");
    if (!lowering_.target.hopper()) return Portable(arguments, both, features, params);
    TANDEM_RETURN_IF_ERROR(AddMaps(both, features, inputs, params));
    const TileUnit unit = TileUnitOf(first.dtype);
    const TileShape shape = ExpertShape(unit.tiles, unit.bytes);
    const unsigned row_tiles = Tiles(features, both ? shape.rows() / 2 : shape.rows());
    const unsigned blocks = std::min<unsigned>(static_cast<unsigned>(lowering_.target.sms),
                                               static_cast<unsigned>(n_.max_tiles) * row_tiles);
    const int shared = ExpertProductsSharedBytes(shape, unit.tiles, unit.bytes);
    return MakeLaunch(
        {"expert_products.cuh", absl::StrCat("tandem::cuda::ExpertProducts", arguments)}, {blocks},
        {static_cast<unsigned>(shape.threads())}, static_cast<unsigned>(shared), params);
  }

  Launch Portable(const std::string& arguments, bool both, int64_t features,
                  const ExpertProductsParams& params) const {
    const unsigned row_tiles = Tiles(features, both ? kPortableRows / 2 : kPortableRows);
    const int ring = 4 * kPortableTokens * 128, staging = kPortableTokens * ((64 + 8) * 2 + 8);
    return MakeLaunch({"expert_products_portable.cuh",
                       absl::StrCat("tandem::cuda::ExpertProductsPortable", arguments)},
                      {static_cast<unsigned>(n_.max_tiles) * row_tiles}, {kPortableThreads},
                      static_cast<unsigned>(ring + staging), params);
  }

  absl::Status AddMaps(bool both, int64_t features, int64_t inputs,
                       ExpertProductsParams& params) const {
    const EncodeTensorMap encode = lowering_.encode_tensor_map;
    const int64_t panels = n_.experts * features / kTileRows;
    const DType type = both ? args_.gate.dtype : args_.down.dtype;
    const int box_panels = both ? 4 : ExpertShape(1, 16).rows() / kTileRows;
    TANDEM_ASSIGN_OR_RETURN(params.weights, WeightsMap(encode, params.weights_data, type, inputs,
                                                       panels, box_panels));
    if (both) {
      TANDEM_ASSIGN_OR_RETURN(params.up, WeightsMap(encode, params.up_data, type, inputs, panels,
                                                    box_panels));
    }
    TANDEM_ASSIGN_OR_RETURN(params.x, RowsMap(encode, params.x_data, inputs, RoundTo64(inputs) * 2,
                                              n_.pairs, kExpertBox));
    return absl::OkStatus();
  }

  const ExpertsArgs& args_;
  const Lowering& lowering_;
  Sizes n_;
  WorkspaceParts memory_;
  Parts parts_;
};

}  // namespace

absl::Status SupportsTiles(const ExpertsArgs& args) {
  for (const TensorView* w : {&args.gate, &args.up, &args.down}) {
    if (w->layout != WeightLayout::kTiles) {
      return absl::UnimplementedError("only experts in tiles are multiplied with many tokens");
    }
  }
  if (args.gate.dtype != args.up.dtype) {
    return absl::UnimplementedError(absl::StrCat("gate is ", Text(DTypeName(args.gate.dtype)),
                                                 ", up ", Text(DTypeName(args.up.dtype)),
                                                 ": they must have one type"));
  }
  return absl::OkStatus();
}

int64_t TilesWorkspaceBytes(const ExpertsArgs& args, const Target& target) {
  WorkspaceParts memory;
  Parts(memory, Sizes(args, target));
  return memory.bytes();
}

absl::StatusOr<std::vector<Launch>> LowerTiles(const ExpertsArgs& args, const Workspace& workspace,
                                               const Lowering& lowering) {
  return ExpertsLowering(args, workspace, lowering).Lower();
}

}  // namespace tandem::cuda
