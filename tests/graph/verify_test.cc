#include "graph/verify.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"

namespace tandem {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A layer with most kinds of values: a cache, an absent operand, views, a route with two results.
struct Layer {
  Graph graph;
  ValueId tokens, x, norm_weight, qkv_weight, slots, cache, normed, qkv, q, k, v_flat, attended;
  ValueId out_weight, projected, sum, ids, expert_weights, mixed;
  NodeId embed, norm, linear, store, attention, project, add, router, route, experts;
};

constexpr int64_t kTokens = 4, kWidth = 32, kHeads = 2, kHead = 16;

ValueId Attend(GraphBuilder& b, const Layer& l, ValueId live) {
  GraphBuilder::AttentionInputs in;
  in.q = l.q;
  in.k = l.cache;
  in.seq_start = b.Input("seq_start", DType::kI32, {2});
  in.kv_len = b.Input("kv_len", DType::kI32, {1});
  in.page_table = b.Input("page_table", DType::kI32, {1, 3});
  in.live_seqs = live;
  AttentionAttrs attrs;
  attrs.v_from_k_offset = 0;
  attrs.v_dim = kHead;
  return b.Attention(in, attrs).first;
}

Layer MakeLayer() {
  GraphBuilder b;
  Layer l;
  const ValueId live = b.Input("live", DType::kI32, {1});
  b.SetLive(live);
  l.tokens = b.Input("tokens", DType::kI32, {kTokens});
  l.slots = b.Input("slots", DType::kI32, {kTokens});
  l.cache = b.State("cache", DType::kF32, {3, kPageTokens, 1, kHead});
  l.norm_weight = b.Weight("norm.weight", DType::kF32, {kWidth});
  l.qkv_weight = b.Weight("qkv.weight", DType::kQ4_0, {(kHeads + 1) * kHead, kWidth});
  l.x = b.Embed(l.tokens, b.Weight("embed.weight", DType::kF16, {100, kWidth}));
  l.normed = b.RmsNorm(l.x, l.norm_weight, 1e-6f);
  l.qkv = b.Linear(l.normed, l.qkv_weight);
  l.q = b.Reshape(b.Slice(l.qkv, 1, 0, kHeads * kHead), {kTokens, kHeads, kHead});
  l.k = b.Reshape(b.Slice(l.qkv, 1, kHeads * kHead, kHead), {kTokens, 1, kHead});
  b.StoreKv(l.k, l.slots, l.cache);
  l.attended = Attend(b, l, live);
  l.v_flat = b.Reshape(l.attended, {kTokens, kHeads * kHead});
  l.out_weight = b.Weight("out.weight", DType::kF32, {kWidth, kHeads * kHead});
  l.projected = b.Linear(l.v_flat, l.out_weight);
  l.sum = b.Add(l.x, l.projected);
  const ValueId logits = b.Linear(l.sum, b.Weight("router.weight", DType::kF32, {8, kWidth}));
  RouteAttrs route;
  route.top_k = 2;
  const auto routing = b.Route(logits, kNone, route);
  l.ids = routing.ids;
  l.expert_weights = routing.weights;
  l.mixed = b.Experts(l.sum, routing, b.Weight("gate", DType::kQ8_0, {8, 64, kWidth}),
                      b.Weight("up", DType::kQ8_0, {8, 64, kWidth}),
                      b.Weight("down", DType::kQ8_0, {8, kWidth, 64}));
  b.MarkOutput(l.mixed, "mixed");
  auto graph = std::move(b).Build();
  EXPECT_TRUE(graph.ok()) << graph.status();
  l.graph = *std::move(graph);
  const auto producer = [&](ValueId id) { return l.graph.value(id).producer; };
  l.embed = producer(l.x), l.norm = producer(l.normed), l.linear = producer(l.qkv);
  l.store = l.linear + 1, l.attention = producer(l.attended);
  l.project = producer(l.projected), l.add = producer(l.sum), l.router = producer(logits);
  l.route = producer(l.ids), l.experts = producer(l.mixed);
  return l;
}

// The reason for which Verify refuses the layer after `breaks`; empty if it does not.
std::string Fault(const std::function<void(Layer&)>& breaks) {
  Layer layer = MakeLayer();
  breaks(layer);
  const absl::Status status = Verify(layer.graph);
  if (status.ok()) return "";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

Value& At(Layer& l, ValueId id) { return l.graph.values[static_cast<size_t>(id)]; }
Node& NodeAt(Layer& l, NodeId id) { return l.graph.nodes[static_cast<size_t>(id)]; }

TEST(VerifyTest, AcceptsTheWholeLayer) {
  EXPECT_EQ(Fault([](Layer&) {}), "");
}

TEST(VerifyTest, InputIdOutOfRange) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.norm).inputs[0] = 1000; }),
              AllOf(HasSubstr("node norm"), HasSubstr("an input does not exist")));
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.norm).inputs[0] = -2; }),
              HasSubstr("an input does not exist"));
}

TEST(VerifyTest, OutputIdOutOfRange) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.norm).outputs[0] = kNone; }),
              HasSubstr("an output does not exist"));
}

TEST(VerifyTest, RootOutOfRange) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).root = 1000; }),
              HasSubstr("its root does not exist"));
}

TEST(VerifyTest, ReadBeforeWrite) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.norm).inputs[0] = l.sum; }),
              HasSubstr("before it is written"));
}

TEST(VerifyTest, NodesInTheWrongOrder) {
  EXPECT_THAT(Fault([](Layer& l) {
                std::swap(NodeAt(l, l.embed), NodeAt(l, l.norm));
                At(l, l.x).producer = l.norm;
                At(l, l.normed).producer = l.embed;
              }),
              HasSubstr("reads embed before it is written"));
}

TEST(VerifyTest, NodeThatReadsItsOwnResult) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.add).inputs[0] = l.sum; }),
              HasSubstr("node add: reads add before it is written"));
}

TEST(VerifyTest, TwoNodesWriteOneValue) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.project).outputs[0] = l.x; }),
              HasSubstr("writes embed, which another node produces"));
}

TEST(VerifyTest, TwoResultsInOneValue) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.route).outputs[0] = l.expert_weights; }),
              HasSubstr("output 0 is f32[4, 2], its inputs give i32[4, 2]"));
}

TEST(VerifyTest, ViewOfAWrittenRootIsWrittenAgain) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.sum).root = l.normed; }),
              HasSubstr("writes a part of norm that was written before"));
}

TEST(VerifyTest, WritesToAWeightOrAnInput) {
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.sum).kind = ValueKind::kWeight;
                At(l, l.sum).name = "sum";
              }),
              HasSubstr("writes sum, which is not an activation"));
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.normed).kind = ValueKind::kInput;
                for (Value& v : l.graph.values) {
                  if (v.root == l.normed) v.kind = ValueKind::kInput;
                }
                At(l, l.normed).name = "normed";
              }),
              HasSubstr("writes normed, which is not an activation"));
}

TEST(VerifyTest, ViewOutsideItsRoot) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.k).byte_offset += 4; }),
              HasSubstr("reaches outside its root"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).byte_offset = -4; }),
              HasSubstr("reaches outside its root"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).strides[0] = int64_t{1} << 62; }),
              HasSubstr("reaches outside its root"));
}

TEST(VerifyTest, ViewOfAView) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.k).root = l.q; }),
              HasSubstr("its root is a view itself"));
}

TEST(VerifyTest, ViewThatBeginsInsideAnElement) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).byte_offset = 2; }),
              HasSubstr("begins at byte 2, inside an element"));
}

TEST(VerifyTest, StrideThatIsNoMultipleOfAnElement) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).strides[0] -= 2; }), HasSubstr("stride 0 is 190"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).strides[1] = -64; }), HasSubstr("stride 1 is -64"));
}

TEST(VerifyTest, ViewOfAnotherType) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).type.dtype = DType::kI32; }),
              HasSubstr("its type is i32, that of its root is f32"));
}

TEST(VerifyTest, ViewOfAnotherKind) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.q).kind = ValueKind::kInput; }),
              HasSubstr("its kind is not that of its root"));
}

TEST(VerifyTest, RootsAreContiguousAndBeginAtZero) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.qkv).strides[0] += 4; }),
              HasSubstr("a root must be contiguous"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.x).byte_offset = 4; }),
              HasSubstr("a root begins at its own storage"));
}

TEST(VerifyTest, LiveCount) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.add).live = 999; }),
              HasSubstr("its live count does not exist"));
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.add).live = l.tokens; }),
              HasSubstr("its live count is not an i32[1] input"));
}

TEST(VerifyTest, CacheUsedByAnotherOp) {
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.norm_weight).kind = ValueKind::kState;
                At(l, l.norm_weight).name = "state";
              }),
              HasSubstr("uses the cache state as its input 1"));
}

TEST(VerifyTest, CacheAsAnotherOperandOfAnAttentionOp) {
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.slots).kind = ValueKind::kState;
                At(l, l.slots).name = "state";
              }),
              HasSubstr("uses the cache state as its input 1"));
}

TEST(VerifyTest, StoreIntoWhatIsNoState) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.cache).kind = ValueKind::kWeight; }),
              HasSubstr("stores into cache, which is not a state"));
}

TEST(VerifyTest, TypesFollowFromTheInputs) {
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.mixed).type.shape = {kTokens, 2 * kWidth};
                At(l, l.mixed).strides = ContiguousStrides(DType::kF32, {kTokens, 2 * kWidth});
              }),
              HasSubstr("output 0 is f32[4, 64], its inputs give f32[4, 32]"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.mixed).type.dtype = DType::kI32; }),
              HasSubstr("output 0 is i32[4, 32]"));
}

TEST(VerifyTest, MissingOperand) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.linear).inputs[1] = kNone; }),
              HasSubstr("linear: weight is missing"));
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.store).inputs.pop_back(); }),
              HasSubstr("store_kv: cache is missing"));
}

TEST(VerifyTest, TooManyOperands) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.add).inputs.push_back(l.x); }),
              HasSubstr("add: 3 inputs, at most 2"));
}

TEST(VerifyTest, WrongNumberOfResults) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.route).outputs.pop_back(); }),
              HasSubstr("has 1 outputs, not 2"));
}

TEST(VerifyTest, OperandsThatDoNotFit) {
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.linear).inputs[1] = l.out_weight; }),
              HasSubstr("output 0 is f32[4, 48], its inputs give f32[4, 32]"));
  EXPECT_THAT(Fault([](Layer& l) { NodeAt(l, l.add).inputs[1] = l.qkv; }),
              HasSubstr("shapes [4, 32] and [4, 48] differ"));
}

TEST(VerifyTest, NoOutput) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.mixed).is_output = false; }),
              HasSubstr("outputs: there is none"));
}

TEST(VerifyTest, OutputThatNobodyWrites) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).is_output = true; }),
              HasSubstr("value tokens: no node writes this output"));
}

TEST(VerifyTest, OutputThatIsAView) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.v_flat).is_output = true; }),
              HasSubstr("an output must be a whole value"));
}

TEST(VerifyTest, NamesAreUnique) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.slots).name = "tokens"; }),
              HasSubstr("value tokens: its name is taken"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.slots).name = ""; }), HasSubstr("has no name"));
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.sum).is_output = true;
                At(l, l.sum).name = "mixed";
              }),
              HasSubstr("two outputs have this name"));
}

TEST(VerifyTest, Shapes) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).type.shape.dims[0] = 0; }),
              HasSubstr("value tokens: dimension 0 is 0"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).type.shape.rank = 0; }),
              HasSubstr("rank 0 is not in [1, 4]"));
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).type.shape.rank = 5; }),
              HasSubstr("rank 5 is not in [1, 4]"));
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.x).type.shape = {int64_t{1} << 40, int64_t{1} << 40};
              }),
              HasSubstr("is too large"));
  // It can be counted, but a sum of such sizes could not.
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.x).type.shape = {int64_t{1} << 40, 64};
              }),
              HasSubstr("is too large"));
}

TEST(VerifyTest, ElementTypes) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).type.dtype = static_cast<DType>(77); }),
              HasSubstr("unknown type 77"));
  EXPECT_THAT(Fault([](Layer& l) {
                At(l, l.norm_weight).type = {DType::kQ6_K, {kWidth}};
              }),
              HasSubstr("rows of 32 are not whole blocks of q6_k"));
}

TEST(VerifyTest, MoreExpertsChosenThanThereAre) {
  EXPECT_THAT(Fault([](Layer& l) { std::get<RouteAttrs>(NodeAt(l, l.route).attrs).top_k = 9; }),
              HasSubstr("cannot choose 9 of 8 experts"));
  EXPECT_THAT(Fault([](Layer& l) {
                auto& attrs = std::get<RouteAttrs>(NodeAt(l, l.route).attrs);
                attrs.groups = 8;
              }),
              HasSubstr("K = 2 is not in [1, 1]"));
}

TEST(VerifyTest, KernelContract) {
  EXPECT_THAT(Fault([](Layer& l) { std::get<RmsNormAttrs>(NodeAt(l, l.norm).attrs).eps = -1.0f; }),
              HasSubstr("node norm: rms_norm: eps = -1 is negative"));
  EXPECT_THAT(Fault([](Layer& l) {
                std::get<AttentionAttrs>(NodeAt(l, l.attention).attrs).v_from_k_offset = 1;
              }),
              HasSubstr("v_from_k_offset = 1 is not in [0, 0]"));
  EXPECT_THAT(Fault([](Layer& l) {
                std::get<AttentionAttrs>(NodeAt(l, l.attention).attrs).v_from_k_offset = -1;
              }),
              HasSubstr("V must come from one source"));
}

TEST(VerifyTest, RopeWiderThanAHead) {
  GraphBuilder b;
  const ValueId x = b.Rope(
      b.Reshape(b.Linear(b.Input("x", DType::kF32, {2, 8}), b.Weight("w", DType::kF32, {8, 8})),
                {2, 2, 4}),
      b.Input("positions", DType::kI32, {2}), b.Weight("inv_freq", DType::kF32, {3}), {});
  b.MarkOutput(x, "out");
  const auto graph = std::move(b).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(std::string(Verify(*graph).message()), HasSubstr("inv_freq has 3 pairs"));
}

TEST(VerifyTest, ProducerThatDoesNotProduce) {
  EXPECT_THAT(Fault([](Layer& l) { At(l, l.tokens).producer = 12345; }),
              HasSubstr("value tokens: node 12345 does not produce it"));
}

}  // namespace
}  // namespace tandem
