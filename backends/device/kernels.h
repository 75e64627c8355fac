// The kernels of the device contract: one argument struct each.
//
// Letters: T tokens of the step, S sequences, H query heads, Hkv key/value heads, Dk and Dv the
// sizes of a K and a V head, E the width of the residual stream, F the width of a feed-forward
// layer, N experts, K experts chosen for a token, V words of the vocabulary, P pages of the cache.
//
// Activations are f32. Optional tensors have rank 0 when absent. Rows of any tensor may be strided.
// Inputs and outputs never overlap, unless a comment allows it.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <variant>

#include "backends/device/tensor.h"

namespace tandem {

// Address, on the device, of one i32: how many of the leading rows (tokens) are in use in this
// step. A plan is made for a bucket of T tokens; a step fills T or fewer. Null: all rows. What a
// kernel leaves in rows beyond the live ones is unspecified.
using LiveCount = const int32_t*;

// Tokens in a page of the KV cache.
inline constexpr int64_t kPageTokens = 64;

// out[t] = table[ids[t]]. An id outside [0, V) gives a row of zeros.
struct EmbedArgs {
  TensorView ids;    // i32 [T]
  TensorView table;  // any type [V, E]
  TensorView out;    // f32 [T, E]
  LiveCount live_rows = nullptr;
};

// out = x / sqrt(mean(x^2) + eps) * weight, over the last dimension (Zhang and Sennrich 2019).
// `out` may be `x`.
struct RmsNormArgs {
  TensorView x;       // f32 [T, D] or [T, H, D]
  TensorView weight;  // f32 [D]
  TensorView out;     // f32, as x
  float eps = 1e-6f;
  LiveCount live_rows = nullptr;
};

// Which two elements of a head are rotated together, n being the number of rotated elements.
enum class RopePairing {
  kInterleaved,  // (2i, 2i + 1)
  kHalves,       // (i, i + n / 2)
};

// Rotary position embedding (Su et al. 2021) of elements [begin, begin + 2 R) of each head; the
// others are copied. The pair i of token t turns by positions[t] * inv_freq[i]; cosine and sine are
// multiplied by `magnitude` (YaRN, Peng et al. 2023). `out` may be `x`.
struct RopeArgs {
  TensorView x;          // f32 [T, H, D]
  TensorView positions;  // i32 [T]
  TensorView inv_freq;   // f32 [R]
  TensorView out;        // f32 [T, H, D]
  int64_t begin = 0;
  float magnitude = 1.0f;
  RopePairing pairing = RopePairing::kInterleaved;
  LiveCount live_rows = nullptr;
};

// out[t, g] = w[g] x[t, g] + bias: a matrix product for each group g. Without groups the tensors
// lack the dimension G.
struct LinearArgs {
  TensorView x;     // f32 [T, In] or [T, G, In]
  TensorView w;     // any type [Out, In] or [G, Out, In]; transposed: [In, Out] or [G, In, Out]
  TensorView bias;  // optional f32 [Out]; only without groups
  TensorView out;   // f32 [T, Out] or [T, G, Out]
  bool transposed = false;  // w is stored with its inputs as rows
  LiveCount live_rows = nullptr;
};

// out = a + b. `out` may be either of them.
struct AddArgs {
  TensorView a;    // f32 [T, E]
  TensorView b;    // f32 [T, E]
  TensorView out;  // f32 [T, E]
  LiveCount live_rows = nullptr;
};

// out = silu(gate) * up (SwiGLU, Shazeer 2020). `out` may be either of them.
struct SwiGluArgs {
  TensorView gate;  // f32 [T, F]
  TensorView up;    // f32 [T, F]
  TensorView out;   // f32 [T, F]
  LiveCount live_rows = nullptr;
};

// out = a and b side by side in the last dimension.
struct ConcatArgs {
  TensorView a;    // f32 [T, A] or [T, H, A]
  TensorView b;    // f32 [T, B] or [T, H, B]
  TensorView out;  // f32 [T, A + B] or [T, H, A + B]
  LiveCount live_rows = nullptr;
};

// out[r] = x[rows[r]]. A row outside [0, T) gives zeros. live_rows counts rows of `out`.
struct GatherRowsArgs {
  TensorView x;     // f32 [T, E]
  TensorView rows;  // i32 [R]
  TensorView out;   // f32 [R, E]
  LiveCount live_rows = nullptr;
};

// Writes token t's K (or V, or latent) rows to slot slots[t] of the cache: page slots[t] / 64, row
// slots[t] % 64. A slot outside the cache is skipped. The device owns the layout inside a page; the
// bytes of a page are those of a contiguous [64, Hkv, D].
struct StoreKvArgs {
  TensorView x;      // f32 [T, Hkv, D]
  TensorView slots;  // i32 [T]
  TensorView cache;  // f32, f16, bf16, q8_0 or q4_0 [P, 64, Hkv, D], written
  LiveCount live_rows = nullptr;
};

// The sequences of a step. Token rows [seq_start[s], seq_start[s + 1]) belong to sequence s and are
// its last ones: the i-th of its n rows has position kv_len[s] - n + i. Its key j lies in page
// page_table[s, j / 64], row j % 64. All keys before kv_len[s] have been stored, also those that no
// query of the step sees; what lies behind them in a page may be anything.
struct AttentionBatch {
  TensorView seq_start;   // i32 [S + 1]
  TensorView kv_len;      // i32 [S]
  TensorView page_table;  // i32 [S, pages of the longest sequence]
  LiveCount live_seqs = nullptr;
};

// Multi-head latent attention in its expanded form (DeepSeek-V2, arXiv 2405.04434, section 2.1):
// the cache holds one latent row of L elements and R rotated ones for each token, from which the
// kernel makes K = [k_up c | rotated] and V = v_up c of each head, chunk by chunk.
struct LatentExpansion {
  TensorView k_up;  // any type [H, Dk - R, L]; transposed: [H, L, Dk - R]
  TensorView v_up;  // any type [H, Dv, L]
  bool k_transposed = false;
  bool present() const { return k_up.present(); }
};

// out[t, h] = sum_j p_j v_j, p = softmax over the visible keys j of
// cap(scale * q[t, h] . k_j), cap(s) = soft_cap * tanh(s / soft_cap) if soft_cap > 0.
// Query head h reads key/value head h / (H / Hkv). Products, softmax and sums are f32.
// Keys are taken in chunks of 256 from the start of a sequence, merged in order by log-sum-exp, so
// that the result does not depend on `workspace_limit`, on threads, or on the other sequences.
struct AttentionArgs {
  TensorView q;  // f32 [T, H, Dk]
  TensorView k;  // KV type [P, 64, Hkv, Dk]; with expansion: [P, 64, 1, L + R]
  TensorView v;  // KV type [P, 64, Hkv, Dv]; absent if v is a view of k, and with expansion
  int64_t v_from_k_offset = -1;  // >= 0: v_j = elements [offset, offset + Dv) of k_j, read once
  LatentExpansion expansion;
  AttentionBatch batch;
  bool causal = true;
  int64_t window = 0;  // > 0: a query sees itself and the window - 1 keys before it; only if causal
  TensorView sinks;    // optional f32 [H]: a logit that takes weight but has no value
  float scale = 1.0f;
  float soft_cap = 0.0f;
  TensorView out;  // f32 [T, H, Dv]; zeros for a query that sees no key
  TensorView
      lse;  // optional f32 [T, H]: log of the sum of exp(score), sinks included; -inf if no key
  // Most bytes that the call may use as temporaries, whatever the prompt and context.
  int64_t workspace_limit = std::numeric_limits<int64_t>::max();
};

enum class Gating {
  kSoftmax,      // softmax over all experts
  kSigmoid,      // sigmoid of each (DeepSeek-V3)
  kTopKSoftmax,  // choose by the raw logits, softmax over the chosen (gpt-oss)
};

enum class GroupScore {
  kMax,      // best expert of a group (DeepSeek-V2)
  kTop2Sum,  // sum of the two best (DeepSeek-V3)
};

// Chooses K experts for each token. score = gate(logits); choice = score + bias, -infinity if that
// is NaN, as is the score of a group; with groups > 1 only experts of the groups_used best groups
// can be chosen; ties go to the lower index; ids come in falling order of choice. weight = score of
// the chosen, divided by their sum (+ 1e-20) if `normalize`, times `scale`.
struct RouteArgs {
  TensorView logits;   // f32 [T, N]
  TensorView bias;     // optional f32 [N]
  TensorView ids;      // i32 [T, K], written
  TensorView weights;  // f32 [T, K], written
  Gating gating = Gating::kSoftmax;
  int64_t groups = 1;
  int64_t groups_used = 1;
  GroupScore group_score = GroupScore::kMax;
  bool normalize = false;
  float scale = 1.0f;
  LiveCount live_rows = nullptr;
};

// out[t] = sum_i weights[t, i] * down[e] (silu(gate[e] x[t]) * (up[e] x[t])), e = ids[t, i], added
// in an order that depends on ids[t] alone. An id outside [0, N) adds nothing.
struct ExpertsArgs {
  TensorView x;        // f32 [T, E]
  TensorView ids;      // i32 [T, K]
  TensorView weights;  // f32 [T, K]
  TensorView gate;     // any type [N, F, E]
  TensorView up;       // any type [N, F, E]
  TensorView down;     // any type [N, E, F]
  TensorView out;      // f32 [T, E]
  LiveCount live_rows = nullptr;
};

using KernelArgs =
    std::variant<EmbedArgs, RmsNormArgs, RopeArgs, LinearArgs, AddArgs, SwiGluArgs, ConcatArgs,
                 GatherRowsArgs, StoreKvArgs, AttentionArgs, RouteArgs, ExpertsArgs>;

// The position of the argument struct in KernelArgs.
enum class KernelId {
  kEmbed,
  kRmsNorm,
  kRope,
  kLinear,
  kAdd,
  kSwiGlu,
  kConcat,
  kGatherRows,
  kStoreKv,
  kAttention,
  kRoute,
  kExperts,
};
inline constexpr int kKernelCount = static_cast<int>(std::variant_size_v<KernelArgs>);

inline KernelId GetKernelId(const KernelArgs& args) { return static_cast<KernelId>(args.index()); }
std::string_view KernelName(KernelId id);  // "rms_norm"

}  // namespace tandem
