#include "backends/cuda/attention_portable.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

// A thread's sums, scores and part of q must fit in its registers, about 60 of which do other work.
constexpr int kMostRegisters = 190;
constexpr int kMostColumns = 256;  // of V that a warp holds for its 16 rows

int Registers(const AttentionShape& shape, const AttentionTileChoice& choice) {
  const int unit = ValueUnit(shape.v);
  const int units = (shape.dv + unit - 1) / unit;
  const int columns = (units + choice.column_warps - 1) / choice.column_warps * unit;
  const int query = choice.query_in_registers ? (shape.dk + 15) / 16 * 4 : 4;
  return columns / 2 + choice.keys / choice.column_warps / 2 + query;
}

TileLayout Layout(const AttentionShape& shape, const AttentionTileChoice& choice) {
  return {shape.k,      shape.v,     shape.dk,    shape.dv,
          shape.view(), choice.keys, choice.keys, choice.slots};
}

// A tile of keys and the number of warps that share rows, from what is fast to what is small.
struct Candidate {
  int column_warps, keys;
};
constexpr Candidate kCandidates[] = {{1, 64}, {1, 32}, {1, 16}, {2, 32}, {2, 16}, {4, 32}};

bool Fits(const AttentionShape& shape, const Target& target, AttentionTileChoice& choice) {
  if (shape.dv > kMostColumns * choice.column_warps) return false;
  choice.query_in_registers = choice.column_warps == 1;
  if (Registers(shape, choice) > kMostRegisters) choice.query_in_registers = false;
  if (Registers(shape, choice) > kMostRegisters) return false;
  choice.shared_bytes =
      AttentionSharedBytes(Layout(shape, choice), choice.row_warps, choice.column_warps);
  return choice.shared_bytes <= target.shared_per_block;
}

constexpr int kPlainRows = 4, kPlainThreads = 128;  // of attention_plain.cuh

std::vector<Launch> LowerPlain(const AttentionArgs& args, const AttentionShape& shape) {
  const int dims = (shape.dv + kPlainThreads - 1) / kPlainThreads;
  const std::string name = absl::StrCat("tandem::cuda::AttentionPlain<", KvArg(shape.k), ", ",
                                        KvArg(shape.v), ", ", dims, ">");
  const Dim3 grid = {static_cast<unsigned>(shape.MostRowTiles(kPlainRows)),
                     static_cast<unsigned>(shape.kv_heads)};
  const auto shared = static_cast<unsigned>(kPlainRows * shape.dk * sizeof(float));
  return {MakeLaunch({"attention_plain.cuh", name}, grid, {kPlainThreads}, shared, ToParams(args))};
}

}  // namespace

std::string AttentionTileChoice::Args() const {
  return absl::StrCat(row_warps, ", ", column_warps, ", ", keys, ", ", keys, ", ", slots, ", ",
                      query_in_registers ? "true" : "false");
}

std::string AttentionTileChoice::ToString() const {
  return absl::StrCat(row_warps, "x", column_warps, " warps, ", slots, " tiles of ", keys,
                      " keys, q in ", query_in_registers ? "registers" : "shared memory", ", ",
                      shared_bytes, " bytes");
}

absl::StatusOr<AttentionTileChoice> ChooseAttentionTile(const AttentionShape& shape,
                                                        const Target& target, int most_row_warps,
                                                        int least_slots) {
  if (!FitsTensorCores(shape)) return absl::NotFoundError("no 16-bit operands");
  // Eight warps, or fewer if there are not as many rows.
  const int64_t rows = static_cast<int64_t>(shape.tokens) * shape.group();
  int most = most_row_warps;
  while (most > 1 && 8 * most >= rows) most /= 2;
  for (int slots = 2; slots >= least_slots; --slots) {
    for (int row_warps = most; row_warps >= 1; row_warps /= 2) {
      for (const auto [column_warps, keys] : kCandidates) {
        AttentionTileChoice choice = {row_warps, column_warps, keys, slots};
        if (row_warps * column_warps > 8) choice.row_warps = 8 / column_warps;
        if (Fits(shape, target, choice)) return choice;
      }
    }
  }
  return absl::NotFoundError(absl::StrCat("no tile fits: ", shape.ToString()));
}

absl::Status SupportsPortableAttention(const AttentionArgs& args, const Target& target) {
  TANDEM_RETURN_IF_ERROR(SupportsPages(args));
  const AttentionShape shape = ShapeOf(args);
  if (kPlainRows * shape.dk * static_cast<int>(sizeof(float)) <= target.shared_per_block) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("K heads of ", shape.dk));
}

absl::StatusOr<std::vector<Launch>> LowerPortableAttention(const AttentionArgs& args,
                                                           const Target& target) {
  const AttentionShape shape = ShapeOf(args);
  const auto choice = ChooseAttentionTile(shape, target, /*most_row_warps=*/8, /*least_slots=*/1);
  if (!choice.ok() || !PagesAreAligned(args)) return LowerPlain(args, shape);
  const std::string name =
      absl::StrCat("tandem::cuda::AttentionPortable<tandem::cuda::AttentionTraits<",
                   ShapeArgs(shape), ", ", choice->Args(), ">>");
  const Dim3 grid = {static_cast<unsigned>(shape.MostRowTiles(choice->rows())),
                     static_cast<unsigned>(shape.kv_heads)};
  return std::vector<Launch>{
      MakeLaunch({"attention_portable.cuh", name}, grid, {static_cast<unsigned>(choice->threads())},
                 static_cast<unsigned>(choice->shared_bytes), ToParams(args))};
}

}  // namespace tandem::cuda
