// Calls that no device may accept: each breaks one rule of the contract.
#include "backends/conformance/cases.h"

namespace tandem {
namespace {

TensorView View(DType dtype, const Shape& shape) { return MakeView(nullptr, dtype, shape); }
TensorView F32(const Shape& shape) { return View(DType::kF32, shape); }
TensorView I32(const Shape& shape) { return View(DType::kI32, shape); }

void RowwiseBadCalls(std::vector<BadCall>& calls) {
  calls.push_back({"embed into rows of another width",
                   EmbedArgs{.ids = I32({2}), .table = F32({5, 8}), .out = F32({2, 9})}});
  calls.push_back(
      {"embed with f32 ids", EmbedArgs{.ids = F32({2}), .table = F32({5, 8}), .out = F32({2, 8})}});
  calls.push_back({"rms_norm with a short weight",
                   RmsNormArgs{.x = F32({2, 8}), .weight = F32({7}), .out = F32({2, 8})}});
  calls.push_back(
      {"rms_norm of f16",
       RmsNormArgs{.x = View(DType::kF16, {2, 8}), .weight = F32({8}), .out = F32({2, 8})}});
  calls.push_back({"rope past the end of the head", RopeArgs{.x = F32({2, 3, 8}),
                                                             .positions = I32({2}),
                                                             .inv_freq = F32({4}),
                                                             .out = F32({2, 3, 8}),
                                                             .begin = 1}});
  calls.push_back(
      {"add of different rows", AddArgs{.a = F32({2, 8}), .b = F32({3, 8}), .out = F32({2, 8})}});
  calls.push_back({"swiglu of different widths",
                   SwiGluArgs{.gate = F32({2, 8}), .up = F32({2, 6}), .out = F32({2, 8})}});
  calls.push_back({"concat into too wide a tensor",
                   ConcatArgs{.a = F32({2, 8}), .b = F32({2, 4}), .out = F32({2, 13})}});
  calls.push_back({"gather_rows with too few indices",
                   GatherRowsArgs{.x = F32({5, 8}), .rows = I32({2}), .out = F32({3, 8})}});
}

void LinearBadCalls(std::vector<BadCall>& calls) {
  calls.push_back({"linear with another input width",
                   LinearArgs{.x = F32({2, 64}), .w = F32({5, 32}), .out = F32({2, 5})}});
  calls.push_back({"linear with a short bias", LinearArgs{.x = F32({2, 40}),
                                                          .w = View(DType::kF32, {5, 40}),
                                                          .bias = F32({4}),
                                                          .out = F32({2, 5})}});
  calls.push_back({"linear with i32 weights",
                   LinearArgs{.x = F32({2, 64}), .w = I32({5, 64}), .out = F32({2, 5})}});
  calls.push_back(
      {"linear with a bias and groups",
       LinearArgs{
           .x = F32({2, 3, 64}), .w = F32({3, 5, 64}), .bias = F32({5}), .out = F32({2, 3, 5})}});
  calls.push_back({"linear with one weight for all groups",
                   LinearArgs{.x = F32({2, 3, 64}), .w = F32({5, 64}), .out = F32({2, 3, 5})}});
}

AttentionArgs GoodAttention() {
  return {.q = F32({5, 4, 64}),
          .k = F32({9, 64, 2, 64}),
          .v = F32({9, 64, 2, 32}),
          .batch = {.seq_start = I32({3}), .kv_len = I32({2}), .page_table = I32({2, 6})},
          .out = F32({5, 4, 32})};
}

void AttentionBadCalls(std::vector<BadCall>& calls) {
  const auto add = [&calls](const char* name, auto change) {
    AttentionArgs args = GoodAttention();
    change(args);
    calls.push_back({name, args});
  };
  add("attention with a K head unlike q's", [](auto& a) { a.k = F32({9, 64, 2, 32}); });
  add("attention with KV heads that do not divide", [](auto& a) {
    a.k = F32({9, 64, 3, 64});
    a.v = F32({9, 64, 3, 32});
  });
  add("attention with pages of 32 tokens", [](auto& a) { a.k = F32({9, 32, 2, 64}); });
  add("attention without V", [](auto& a) { a.v = {}; });
  add("attention with V twice", [](auto& a) { a.v_from_k_offset = 0; });
  add("attention with V past the end of K", [](auto& a) {
    a.v = {};
    a.v_from_k_offset = 33;
  });
  add("attention with a cache of q6_k", [](auto& a) {
    a.q = F32({5, 4, 256});
    a.k = View(DType::kQ6_K, {9, 64, 2, 256});
  });
  add("attention with a negative window", [](auto& a) { a.window = -1; });
  add("attention without workspace", [](auto& a) { a.workspace_limit = 0; });
  add("attention with sinks of other heads", [](auto& a) { a.sinks = F32({3}); });
  add("attention with lse of other heads", [](auto& a) { a.lse = F32({5, 3}); });
  add("attention with too few starts", [](auto& a) { a.batch.seq_start = I32({2}); });
  add("attention expanding latents of another size", [](auto& a) {
    a.k = F32({9, 64, 1, 100});
    a.v = {};
    a.expansion = {.k_up = F32({4, 48, 80}), .v_up = F32({4, 32, 80})};
  });
  calls.push_back(
      {"store_kv of other heads",
       StoreKvArgs{.x = F32({2, 3, 32}), .slots = I32({2}), .cache = F32({4, 64, 2, 32})}});
}

void MoeBadCalls(std::vector<BadCall>& calls) {
  const RouteArgs route = {.logits = F32({2, 12}), .ids = I32({2, 4}), .weights = F32({2, 4})};
  const auto add = [&](const char* name, auto change) {
    RouteArgs args = route;
    change(args);
    calls.push_back({name, args});
  };
  add("route with groups that do not divide", [](auto& a) { a.groups = 5; });
  add("route using more groups than there are", [](auto& a) { a.groups_used = 2; });
  add("route choosing more than the groups hold", [](auto& a) { a.groups = 4; });
  add("route with fewer weights than ids", [](auto& a) { a.weights = F32({2, 3}); });
  const ExpertsArgs experts = {.x = F32({2, 64}),
                               .ids = I32({2, 2}),
                               .weights = F32({2, 2}),
                               .gate = F32({3, 32, 64}),
                               .up = F32({3, 32, 64}),
                               .down = F32({3, 32, 64}),
                               .out = F32({2, 64})};
  calls.push_back({"experts with down as it was for up", experts});
}

}  // namespace

std::vector<BadCall> BadCalls() {
  std::vector<BadCall> calls;
  RowwiseBadCalls(calls);
  LinearBadCalls(calls);
  AttentionBadCalls(calls);
  MoeBadCalls(calls);
  return calls;
}

}  // namespace tandem
