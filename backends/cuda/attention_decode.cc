#include "backends/cuda/attention_decode.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/attention_decode.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int kSlotKeys = 16;
constexpr int kMostSlots = 32;        // more in flight than the memory needs
constexpr int kMostSplits = 256;      // of attention_merge.cuh
constexpr int kStaticBytes = 1024;    // of shared memory: the list of units
constexpr int kReservedBytes = 1024;  // of each block, by the system
constexpr int kMostRowsOfOneTile = 16;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for up to 16 rows, from what is fast to what is small. Wide heads have one block of many
// warps, which share a row's elements; narrow ones two blocks, one of which works while the other
// waits.
struct WideCandidate {
  int step_warps, key_warps, keys;
};
constexpr WideCandidate kWide[] = {{4, 4, 64}, {4, 4, 32}, {2, 4, 32}, {1, 4, 32}};
struct NarrowCandidate {
  int keys, slots, blocks;
};
constexpr NarrowCandidate kNarrow[] = {{64, 3, 2}, {64, 2, 2}, {32, 3, 2}, {32, 2, 2},
                                       {64, 3, 1}, {64, 2, 1}, {32, 2, 1}};
constexpr int kNarrowWarps = 4;
constexpr int kWideHead = 256;
constexpr int kCopyWarps = 4;       // of attention_decode_bulk.cuh
constexpr int kLongRowBytes = 256;  // that the copy engine brings well

// Shared memory that each of `blocks` of a multiprocessor can have.
int SharedOfBlock(const Target& target, int blocks) {
  return (target.shared_per_block + kReservedBytes) / blocks - kReservedBytes - kStaticBytes;
}

bool IsLongRow(Kv type, int width) {
  const int bytes = CodeBytes(type, width);
  return bytes >= kLongRowBytes && bytes % 16 == 0;
}

// Whether the copy engine can bring the rows and, with blocks, the scales.
bool FitsCopyEngine(const AttentionShape& shape, const Target& target) {
  const bool blocks = IsBlockType(shape.k) || (!shape.view() && IsBlockType(shape.v));
  return target.hopper() && shape.dk % 16 == 0 && IsLongRow(shape.k, shape.dk) &&
         (shape.view() || (shape.dv % 16 == 0 && IsLongRow(shape.v, shape.dv))) &&
         (!blocks || shape.kv_heads == 1);
}

bool Fits(const AttentionShape& shape, const Target& target, const WideCandidate& candidate,
          DecodeChoice& choice) {
  TileLayout layout = {shape.k,      shape.v,        shape.dk,  shape.dv,
                       shape.view(), candidate.keys, kSlotKeys, 0};
  const bool bulk = FitsCopyEngine(shape, target);
  const int barriers = bulk ? 2 * kMostSlots * static_cast<int>(sizeof(u64)) : 0;
  const int fixed = barriers + DecodeSharedBytes(layout, candidate.step_warps);
  layout.slots =
      std::clamp((SharedOfBlock(target, 1) - fixed) / layout.slot_bytes(), 0, kMostSlots);
  // A tile in use and one on its way.
  if (layout.slots < 2 * candidate.keys / kSlotKeys) return false;
  choice.wide = true;
  choice.bulk = bulk;
  choice.step_warps = candidate.step_warps;
  choice.key_warps = candidate.key_warps;
  choice.keys = candidate.keys;
  choice.slot_keys = kSlotKeys;
  choice.slots = layout.slots;
  choice.shared_bytes = DecodeSharedBytes(layout, candidate.step_warps);
  choice.blocks = target.sms;
  return true;
}

void SetTile(const AttentionTileChoice& tile, int blocks, DecodeChoice& choice) {
  choice.tile = tile;
  choice.keys = choice.slot_keys = tile.keys;
  choice.slots = tile.slots;
  choice.shared_bytes = tile.shared_bytes;
  choice.blocks = blocks;
}

bool Fits(const AttentionShape& shape, const Target& target, const NarrowCandidate& candidate,
          DecodeChoice& choice) {
  AttentionTileChoice tile = {1, kNarrowWarps, candidate.keys, candidate.slots, true};
  const TileLayout layout = {shape.k,      shape.v,        shape.dk,       shape.dv,
                             shape.view(), candidate.keys, candidate.keys, candidate.slots};
  tile.shared_bytes = AttentionSharedBytes(layout, 1, kNarrowWarps);
  if (tile.shared_bytes > SharedOfBlock(target, candidate.blocks)) return false;
  SetTile(tile, target.sms * candidate.blocks, choice);
  return true;
}

bool ChooseFewRows(const AttentionShape& shape, const Target& target, DecodeChoice& choice) {
  const auto fits = [&](const auto& candidate) { return Fits(shape, target, candidate, choice); };
  return std::max(shape.dk, shape.dv) >= kWideHead ? std::ranges::any_of(kWide, fits)
                                                   : std::ranges::any_of(kNarrow, fits);
}

absl::Status ChooseManyRows(const AttentionShape& shape, const Target& target,
                            DecodeChoice& choice) {
  Target rest = target;
  rest.shared_per_block -= kStaticBytes;
  TANDEM_ASSIGN_OR_RETURN(const AttentionTileChoice tile,
                          ChooseAttentionTile(shape, rest, /*most_row_warps=*/4,
                                              /*least_slots=*/2));
  SetTile(tile, target.sms, choice);
  return absl::OkStatus();
}

int64_t SplitRows(const AttentionShape& shape, const DecodeChoice& choice) {
  return shape.MostRowTiles(choice.rows()) * shape.kv_heads * choice.rows();
}

// Of a split: the values, and two weights, of every row.
int64_t SplitBytes(const AttentionShape& shape, const DecodeChoice& choice) {
  return SplitRows(shape, choice) * (shape.dv + 2) * static_cast<int64_t>(sizeof(float));
}

// One unit for each block if there is one sequence, else two: lengths differ.
int ChooseSplits(const AttentionShape& shape, const DecodeChoice& choice) {
  const int64_t units = std::max<int64_t>(shape.MostRowTiles(choice.rows()) * shape.kv_heads, 1);
  const int64_t wanted = (shape.seqs > 1 ? 2 : 1) * choice.blocks / units;
  const int64_t most = shape.workspace_limit / std::max<int64_t>(SplitBytes(shape, choice), 1);
  return static_cast<int>(std::clamp<int64_t>(std::min(wanted, most), 1, kMostSplits));
}

Launch MergeLaunch(const AttentionShape& shape, const DecodeChoice& choice, const Target& target,
                   const AttentionDecodeParams& params) {
  constexpr int kThreads = 128;  // kMergeThreads
  constexpr int kLeast = 64, kMost = 512;
  // Few rows are merged by many blocks.
  const int64_t few = static_cast<int64_t>(shape.tokens) * shape.heads * shape.dv / kLeast;
  const int columns =
      few <= 4 * target.sms
          ? kLeast
          : std::clamp(static_cast<int>(std::bit_ceil(static_cast<unsigned>(shape.dv))), kLeast,
                       kMost);
  const std::string name = absl::StrCat("tandem::cuda::AttentionMerge<", choice.rows(), ", ",
                                        choice.keys, ", ", columns, ">");
  const Dim3 grid = {static_cast<unsigned>(DivideUp(shape.dv, columns)),
                     static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.tokens)};
  // To start it ahead was slower: its blocks find no room beside the splits.
  return MakeLaunch({"attention_merge.cuh", name}, grid, {kThreads}, 0, params);
}

}  // namespace

int DecodeChoice::threads() const {
  if (!wide) return tile.threads();
  return 32 * (step_warps * key_warps + (bulk ? kCopyWarps : 0));
}

KernelSpec DecodeChoice::Kernel(const AttentionShape& shape) const {
  const std::string traits =
      wide ? absl::StrCat("DecodeTraits<", ShapeArgs(shape), ", ", step_warps, ", ", key_warps,
                          ", ", keys, ", ", slot_keys, ", ", slots, ">")
           : absl::StrCat("AttentionTraits<", ShapeArgs(shape), ", ", tile.Args(), ">");
  return {bulk ? "attention_decode_bulk.cuh" : "attention_decode.cuh",
          absl::StrCat("tandem::cuda::AttentionDecode", bulk ? "Bulk" : "",
                       "<tandem::cuda::", traits, ">")};
}

std::string DecodeChoice::ToString() const {
  return absl::StrCat(
      wide ? absl::StrCat(step_warps, "x", key_warps, " warps, ", slots, " slots of ", slot_keys,
                          " keys, tiles of ", keys, bulk ? ", copy engine" : "")
           : tile.ToString(),
      ", ", shared_bytes, " bytes, ", blocks, " blocks, ", splits, " splits");
}

absl::StatusOr<DecodeChoice> ChooseDecode(const AttentionShape& shape, const Target& target) {
  if (!FitsTensorCores(shape)) return absl::NotFoundError("no 16-bit operands");
  DecodeChoice choice;
  const int64_t rows = static_cast<int64_t>(shape.tokens) * shape.group();
  const bool few = rows <= static_cast<int64_t>(kMostRowsOfOneTile) * std::max(shape.seqs, 1);
  if (!few || !ChooseFewRows(shape, target, choice)) {
    TANDEM_RETURN_IF_ERROR(ChooseManyRows(shape, target, choice));
  }
  choice.splits = ChooseSplits(shape, choice);
  return choice;
}

bool PrefersDecode(const AttentionShape& shape) {
  constexpr int kFewTokens = 4;  // of a sequence
  return shape.tokens <= kFewTokens * shape.seqs;
}

absl::Status SupportsDecodeAttention(const AttentionArgs& args, const Target& target) {
  TANDEM_RETURN_IF_ERROR(SupportsPages(args));
  const auto choice = ChooseDecode(ShapeOf(args), target);
  return choice.ok() ? absl::OkStatus() : absl::UnimplementedError(choice.status().message());
}

int64_t DecodeWorkspaceBytes(const AttentionArgs& args, const Target& target) {
  const AttentionShape shape = ShapeOf(args);
  const auto choice = ChooseDecode(shape, target);
  if (!choice.ok() || choice->splits == 1) return 0;
  return choice->splits * SplitBytes(shape, *choice);
}

absl::StatusOr<std::vector<Launch>> LowerDecodeAttention(const AttentionArgs& args,
                                                         const Workspace& workspace,
                                                         const Target& target) {
  const AttentionShape shape = ShapeOf(args);
  TANDEM_ASSIGN_OR_RETURN(const DecodeChoice choice, ChooseDecode(shape, target));
  if (!PagesAreAligned(args)) return LowerPortableAttention(args, target);
  auto* values = static_cast<float*>(workspace.data);
  const AttentionDecodeParams params = {
      .attention = ToParams(args),
      .values = values,
      .weights = values == nullptr ? nullptr
                                   : values + choice.splits * SplitRows(shape, choice) * shape.dv,
      .most_splits = choice.splits,
      .least_tiles = 1};
  std::vector<Launch> launches = {MakeLaunch(choice.Kernel(shape),
                                             {static_cast<unsigned>(choice.blocks)},
                                             {static_cast<unsigned>(choice.threads())},
                                             static_cast<unsigned>(choice.shared_bytes), params)};
  launches[0].waits_itself = true;
  if (choice.splits > 1) launches.push_back(MergeLaunch(shape, choice, target, params));
  return launches;
}

}  // namespace tandem::cuda
