#include "backends/cuda/attention_prompt.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <limits>

#include "absl/strings/str_cat.h"
#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

constexpr int64_t kBox = 64;            // rows and columns of a copy
constexpr int64_t kCopyAlignment = 16;  // of addresses and strides, in bytes
constexpr int64_t kMostWidth = 256;     // of a head
constexpr int64_t kStateFloats = 8;     // of a row
constexpr int kAllKeys = std::numeric_limits<i32>::max() / 2;

// What a tensor map is made of: rows with the KV heads side by side.
struct KeyMatrix {
  const void* data;
  int64_t rows, columns, row_bytes;
};

bool Is16Bit(DType type) { return type == DType::kF16 || type == DType::kBF16; }

// Widths that products of a warpgroup have, as far as ptx/wgmma.cuh goes.
bool IsValueWidth(int64_t dv) {
  return dv > 0 && dv <= kMostWidth && dv % 16 == 0 && dv != 208 && dv != 240;
}

i64 Elements(int64_t bytes) { return bytes / static_cast<int64_t>(sizeof(float)); }

bool IsAligned(const TensorView& rows, int64_t bytes) {
  return std::bit_cast<uintptr_t>(rows.data) % bytes == 0 && rows.strides[0] % bytes == 0 &&
         rows.strides[1] % bytes == 0;
}

// f32 tensors that the kernel reads and writes in pieces.
absl::Status CheckRows(const AttentionArgs& args) {
  if (IsAligned(args.q, kCopyAlignment) && IsAligned(args.out, 8)) return absl::OkStatus();
  return absl::UnimplementedError("rows of q or out are not aligned");
}

absl::Status CheckPages(const TensorView& pages, const char* name) {
  const int64_t width = pages.dim(3) * 2;
  if (!Is16Bit(pages.dtype)) {
    return absl::UnimplementedError(
        absl::StrCat(name, " of ", std::string(DTypeName(pages.dtype))));
  }
  if (pages.strides[0] == kBox * pages.strides[1] && pages.strides[2] == width &&
      pages.strides[1] % kCopyAlignment == 0 &&
      std::bit_cast<uintptr_t>(pages.data) % kCopyAlignment == 0) {
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("pages of ", name, " are not one matrix"));
}

KeyMatrix ToMatrix(const TensorView& pages) {
  return {pages.data, pages.dim(0) * kBox, pages.dim(2) * pages.dim(3), pages.strides[1]};
}

absl::Status Encode(EncodeTensorMap encode, const KeyMatrix& matrix, DType type, TensorMap& map) {
  const std::array<cuuint64_t, 2> sizes = {static_cast<cuuint64_t>(matrix.columns),
                                           static_cast<cuuint64_t>(matrix.rows)};
  const std::array<cuuint64_t, 1> strides = {static_cast<cuuint64_t>(matrix.row_bytes)};
  const std::array<cuuint32_t, 2> box = {kBox, kBox}, steps = {1, 1};
  CUtensorMap encoded;
  static_assert(sizeof(encoded) == sizeof(map));
  const CUresult result = encode(
      &encoded,
      type == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      sizes.size(), const_cast<void*>(matrix.data), sizes.data(), strides.data(), box.data(),
      steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    return absl::InternalError(
        absl::StrCat("cuTensorMapEncodeTiled: error ", static_cast<int>(result)));
  }
  std::memcpy(&map, &encoded, sizeof(map));
  return absl::OkStatus();
}

// All but the keys.
AttentionPromptParams ToParams(const AttentionArgs& args, const PromptMemory& memory,
                               const Target& target) {
  AttentionPromptParams p = {};
  p.q = static_cast<const float*>(args.q.data);
  p.out = static_cast<float*>(args.out.data);
  p.lse = static_cast<float*>(args.lse.data);
  p.sinks = static_cast<const float*>(args.sinks.data);
  p.state = memory.state;
  p.counters = memory.counters;
  p.seq_start = static_cast<const i32*>(args.batch.seq_start.data);
  p.kv_len = static_cast<const i32*>(args.batch.kv_len.data);
  p.live_seqs = args.batch.live_seqs;
  p.q_token = Elements(args.q.strides[0]);
  p.q_head = Elements(args.q.strides[1]);
  p.out_token = Elements(args.out.strides[0]);
  p.out_head = Elements(args.out.strides[1]);
  p.lse_token = Elements(args.lse.strides[0]);
  p.sequences = static_cast<i32>(args.batch.kv_len.dim(0));
  p.heads = static_cast<i32>(args.q.dim(1));
  p.heads_per_kv = 1;
  p.key_end = kAllKeys;
  p.causal = args.causal ? 1 : 0;
  p.window = static_cast<i32>(std::min<int64_t>(args.window, kAllKeys));
  // The other part is for queries, results and what comes next.
  p.l2_bytes = target.l2_bytes / 5 * 3;
  p.scale = args.scale;
  p.soft_cap = args.soft_cap;
  return p;
}

unsigned Blocks(const AttentionPromptParams& p, const PromptBlock& block, int64_t tokens,
                const Target& target) {
  const int64_t tiles = std::min<int64_t>(tokens, tokens / PromptRows(block) + p.sequences);
  const int64_t items = tiles * p.heads;
  return static_cast<unsigned>(p.counters == nullptr ? items
                                                     : std::min<int64_t>(items, target.sms));
}

absl::StatusOr<Launch> MakePromptLaunch(const AttentionArgs& args, AttentionPromptParams p,
                                        const KeyMatrix& k, const KeyMatrix& v, DType type,
                                        const Target& target, EncodeTensorMap encode) {
  TANDEM_ASSIGN_OR_RETURN(const PromptBlock block,
                          ChoosePromptBlock(args.q.dim(2), args.out.dim(2), target));
  if (encode != nullptr) {
    TANDEM_RETURN_IF_ERROR(Encode(encode, k, type, p.k_map));
    TANDEM_RETURN_IF_ERROR(Encode(encode, v, type, p.v_map));
  }
  const std::string name = absl::StrCat("tandem::cuda::AttentionPrompt<",
                                        PromptKernelArgs(block, type, args.soft_cap > 0), ">");
  Launch launch =
      MakeLaunch({"attention_prompt.cuh", name}, {Blocks(p, block, args.q.dim(0), target)},
                 {static_cast<unsigned>(PromptThreads(block))},
                 static_cast<unsigned>(PromptSharedBytes(block)), p);
  launch.waits_itself = true;
  return launch;
}

}  // namespace

absl::StatusOr<PromptBlock> ChoosePromptBlock(int64_t dk, int64_t dv, const Target& target) {
  if (!target.hopper()) return absl::NotFoundError("no wgmma on this GPU");
  if (dk <= 0 || dk > kMostWidth || dk % 16 != 0 || !IsValueWidth(dv)) {
    return absl::NotFoundError(absl::StrCat("heads of ", dk, "/", dv));
  }
  // A consumer holds 64 rows of sums: with wide values, a smaller tile of scores beside them.
  for (const int key_tile : {128, 64}) {
    if (key_tile == 128 && dv > 128) continue;
    const PromptBlock block = {static_cast<int>(dk), static_cast<int>(dv), 2, key_tile, 2};
    if (PromptSharedBytes(block) <= target.shared_per_block) return block;
  }
  return absl::NotFoundError(absl::StrCat("no block fits: heads of ", dk, "/", dv));
}

std::string ToString(const PromptBlock& block) {
  return absl::StrCat(PromptRows(block), " rows, ", block.stages, " tiles of ", block.key_tile,
                      " keys, ", PromptSharedBytes(block), " bytes");
}

std::string PromptKernelArgs(const PromptBlock& block, DType type, bool soft_cap) {
  return absl::StrCat("tandem::cuda::", type == DType::kF16 ? "f16" : "bf16", ", ", block.dk, ", ",
                      block.dv, ", ", block.consumers, ", ", block.key_tile, ", ", block.stages,
                      ", ", soft_cap ? "true" : "false");
}

int64_t PromptStateBytes(const AttentionArgs& args) {
  return args.q.dim(0) * args.q.dim(1) * kStateFloats * static_cast<int64_t>(sizeof(float));
}

absl::Status SupportsPromptAttention(const AttentionArgs& args, const Target& target) {
  if (args.expansion.present() || args.v_from_k_offset >= 0) {
    return absl::UnimplementedError("V that is no tensor of its own");
  }
  TANDEM_RETURN_IF_ERROR(CheckPages(args.k, "k"));
  TANDEM_RETURN_IF_ERROR(CheckPages(args.v, "v"));
  if (args.k.dtype != args.v.dtype) return absl::UnimplementedError("K and V of unlike types");
  TANDEM_RETURN_IF_ERROR(CheckRows(args));
  return ChoosePromptBlock(args.q.dim(2), args.out.dim(2), target).status();
}

absl::StatusOr<Launch> LowerPromptAttention(const AttentionArgs& args, const PromptMemory& memory,
                                            const Target& target, EncodeTensorMap encode) {
  AttentionPromptParams p = ToParams(args, memory, target);
  p.heads_per_kv = static_cast<i32>(args.q.dim(1) / args.k.dim(2));
  p.page_table = static_cast<const i32*>(args.batch.page_table.data);
  p.page_stride = static_cast<i32>(Elements(args.batch.page_table.strides[0]));
  return MakePromptLaunch(args, p, ToMatrix(args.k), ToMatrix(args.v), args.k.dtype, target,
                          encode);
}

absl::Status SupportsPromptChunks(const AttentionArgs& args, const Target& target) {
  TANDEM_RETURN_IF_ERROR(CheckRows(args));
  return ChoosePromptBlock(args.q.dim(2), args.out.dim(2), target).status();
}

absl::StatusOr<Launch> LowerPromptChunk(const AttentionArgs& args, const PromptKeys& keys,
                                        const PromptMemory& memory, const Target& target,
                                        EncodeTensorMap encode) {
  AttentionPromptParams p = ToParams(args, memory, target);
  p.rows_per_sequence = static_cast<i32>(keys.rows_per_sequence);
  p.key_begin = static_cast<i32>(keys.begin);
  p.key_end = static_cast<i32>(keys.end);
  const int64_t rows = keys.rows_per_sequence * p.sequences;
  const int64_t k_columns = args.q.dim(1) * args.q.dim(2);
  const int64_t v_columns = args.q.dim(1) * args.out.dim(2);
  return MakePromptLaunch(args, p, {keys.k, rows, k_columns, 2 * k_columns},
                          {keys.v, rows, v_columns, 2 * v_columns}, keys.type, target, encode);
}

}  // namespace tandem::cuda
