#include "backends/cuda/attention_expanded.h"

#include <algorithm>
#include <utility>

#include "backends/cuda/attention_portable.h"
#include "backends/cuda/attention_prompt.h"
#include "backends/cuda/latent_expansion.h"
#include "backends/cuda/workspace_parts.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int64_t kLeastRows = 256;

int64_t Capacity(const AttentionArgs& args) { return args.batch.page_table.dim(1) * kPageTokens; }
int64_t Sequences(const AttentionArgs& args) { return args.batch.kv_len.dim(0); }

// Keys of a sequence that are expanded at a time, and where they and all else lie.
struct Memory {
  int64_t rows;
  u8 *k, *v, *expansion;
  float* state;     // of the attention of prompts
  i32* page_table;  // for the other kernels

  Memory(const AttentionArgs& args, int64_t keys, WorkspaceParts& parts) : rows(keys) {
    const int64_t heads = args.q.dim(1), all = Sequences(args) * rows;
    k = parts.Take<u8>(all * heads * args.q.dim(2) * 2);
    v = parts.Take<u8>(all * heads * args.out.dim(2) * 2);
    state = reinterpret_cast<float*>(parts.Take<u8>(PromptStateBytes(args)));
    page_table = parts.Take<i32>(all / kPageTokens);
    expansion = parts.Take<u8>(ExpansionWorkspaceBytes(CallFor(args, 0, 0)));
  }

  // Keys [begin, begin + rows) of a sequence.
  ExpansionCall CallFor(const AttentionArgs& args, int64_t sequence, int64_t begin) const {
    const auto view = [&](u8* data, int64_t width) {
      TensorView made = MakeView(nullptr, DType::kF16, {rows, args.q.dim(1), width});
      if (data != nullptr) made.data = data + sequence * rows * made.strides[0];
      return made;
    };
    return {.weights = args.expansion,
            .cache = args.k,
            .batch = args.batch,
            .sequence = sequence,
            .begin = begin,
            .k = view(k, args.q.dim(2)),
            .v = view(v, args.out.dim(2))};
  }
};

int64_t BytesFor(const AttentionArgs& args, int64_t rows) {
  WorkspaceParts parts;
  Memory(args, rows, parts);
  return parts.bytes();
}

int64_t AllRows(const AttentionArgs& args) {
  return (Capacity(args) + kLeastRows - 1) / kLeastRows * kLeastRows;
}

// The most keys, in multiples of kLeastRows, that fit the limit; 0 if none do.
int64_t RowsThatFit(const AttentionArgs& args, const Target& target) {
  int64_t rows = AllRows(args);
  if (!target.hopper()) return BytesFor(args, rows) <= args.workspace_limit ? rows : 0;
  while (rows > 0 && BytesFor(args, rows) > args.workspace_limit) {
    rows = rows > 2 * kLeastRows ? rows / 2 / kLeastRows * kLeastRows : rows - kLeastRows;
  }
  return rows;
}

// The call over expanded keys and values as pages.
AttentionArgs OverPages(const AttentionArgs& args, const Memory& memory) {
  const int64_t pages = Sequences(args) * memory.rows / kPageTokens, heads = args.q.dim(1);
  AttentionArgs over = args;
  over.expansion = {};
  over.k = MakeView(memory.k, DType::kF16, {pages, kPageTokens, heads, args.q.dim(2)});
  over.v = MakeView(memory.v, DType::kF16, {pages, kPageTokens, heads, args.out.dim(2)});
  over.batch.page_table =
      MakeView(memory.page_table, DType::kI32, {Sequences(args), memory.rows / kPageTokens});
  return over;
}

Launch LowerPageTable(const AttentionArgs& args, const Memory& memory) {
  constexpr unsigned kThreads = 256;
  const FollowingPagesParams params = {
      .page_table = memory.page_table,
      .count = static_cast<i32>(Sequences(args) * memory.rows / kPageTokens)};
  return MakeLaunch({"latent_expansion.cuh", "tandem::cuda::FollowingPages"},
                    {(static_cast<unsigned>(params.count) + kThreads - 1) / kThreads}, {kThreads},
                    0, params);
}

using Launches = absl::StatusOr<std::vector<Launch>>;

// Keys [begin, begin + rows) of all sequences.
absl::Status AddExpansion(const AttentionArgs& args, const Memory& memory, int64_t begin,
                          const Lowering& lowering, std::vector<Launch>& launches) {
  const Workspace scratch = {memory.expansion, ExpansionWorkspaceBytes(memory.CallFor(args, 0, 0))};
  for (int64_t s = 0; s < Sequences(args); ++s) {
    TANDEM_ASSIGN_OR_RETURN(auto expansion,
                            LowerExpansion(memory.CallFor(args, s, begin), scratch, lowering));
    for (Launch& launch : expansion) launches.push_back(std::move(launch));
  }
  return absl::OkStatus();
}

Launches LowerOverPages(const AttentionArgs& args, const Memory& memory,
                        const Lowering& lowering) {
  std::vector<Launch> launches = {LowerPageTable(args, memory)};
  TANDEM_RETURN_IF_ERROR(AddExpansion(args, memory, 0, lowering, launches));
  TANDEM_ASSIGN_OR_RETURN(
      auto attention, LowerPortableAttention(OverPages(args, memory), lowering.target));
  for (Launch& launch : attention) launches.push_back(std::move(launch));
  return launches;
}

Launches LowerInChunks(const AttentionArgs& args, const Memory& memory, const Lowering& lowering) {
  std::vector<Launch> launches;
  for (int64_t begin = 0; begin < Capacity(args); begin += memory.rows) {
    TANDEM_RETURN_IF_ERROR(AddExpansion(args, memory, begin, lowering, launches));
    const PromptKeys keys = {.k = memory.k,
                             .v = memory.v,
                             .rows_per_sequence = memory.rows,
                             .begin = begin,
                             .end = std::min(begin + memory.rows, Capacity(args))};
    TANDEM_ASSIGN_OR_RETURN(
        Launch chunk, LowerPromptChunk(args, keys, {.state = memory.state}, lowering.target,
                                       lowering.encode_tensor_map));
    launches.push_back(std::move(chunk));
  }
  return launches;
}

}  // namespace

absl::Status SupportsExpandedAttention(const AttentionArgs& args, const Target& target) {
  if (args.k.dtype == DType::kF32) {
    return absl::UnimplementedError("latents of f32 would be rounded to f16");
  }
  WorkspaceParts parts;
  const Memory memory(args, kLeastRows, parts);
  TANDEM_RETURN_IF_ERROR(target.hopper()
                             ? SupportsPromptChunks(args, target)
                             : SupportsPortableAttention(OverPages(args, memory), target));
  TANDEM_RETURN_IF_ERROR(SupportsExpansion(memory.CallFor(args, 0, 0)));
  if (RowsThatFit(args, target) > 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "workspace_limit ", args.workspace_limit, " is too small: ",
      BytesFor(args, target.hopper() ? kLeastRows : AllRows(args)), " bytes are needed"));
}

int64_t ExpandedWorkspaceBytes(const AttentionArgs& args, const Target& target) {
  return BytesFor(args, RowsThatFit(args, target));
}

Launches LowerExpandedAttention(const AttentionArgs& args, const Workspace& workspace,
                                const Lowering& lowering) {
  WorkspaceParts parts(workspace.data);
  const Memory memory(args, RowsThatFit(args, lowering.target), parts);
  return lowering.target.hopper() ? LowerInChunks(args, memory, lowering)
                                  : LowerOverPages(args, memory, lowering);
}

}  // namespace tandem::cuda
