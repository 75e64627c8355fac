// What a caller needs who measures an engine: turns side by side, the work of a step, a cut model.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/cut_model.h"
#include "runtime/engine.h"

namespace tandem {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Model> OpenGolden(const std::string& name) {
  auto model = Model::Open(TANDEM_SOURCE_DIR "/tests/data/golden/" + name);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::shared_ptr<Engine> OpenEngine(std::shared_ptr<const Model> model, int64_t sessions = 1) {
  EngineOptions options;
  options.context = 256;
  options.max_sessions = sessions;
  options.micro_batch = 64;
  options.kv_type = DType::kF32;
  options.latent_form = LatentForm::kAbsorbed;
  options.all_logits = true;
  auto engine = Engine::Open(std::move(model), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

std::unique_ptr<Session> NewSession(Engine& engine) {
  auto session = engine.NewSession();
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

std::vector<int32_t> Tokens(int start, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((start + 7 * i + i * i) % 512);
  return ids;
}

double Bytes(const Engine& engine, const StepLoad& load) {
  const auto work = engine.WorkOfStep(load);
  EXPECT_TRUE(work.ok()) << work.status();
  return work.ok() ? work->bytes : 0;
}

TEST(RunTogetherTest, GivesTheLogitsThatSessionsGetAlone) {
  for (const char* name : {"deepseek_v3", "qwen3_moe"}) {
    const auto engine = OpenEngine(OpenGolden(name), 3);
    ASSERT_NE(engine, nullptr);
    const auto vocab = static_cast<size_t>(engine->model().config().vocab);
    std::vector<std::vector<float>> want, got(2);
    for (int i = 0; i < 2; ++i) {
      const auto alone = NewSession(*engine);
      const auto rows = alone->Evaluate(Tokens(i, 40 * i + 3));
      ASSERT_TRUE(rows.ok()) << rows.status();
      want.emplace_back(rows->end() - static_cast<std::ptrdiff_t>(vocab), rows->end());
    }
    const auto a = NewSession(*engine), b = NewSession(*engine);
    const std::vector<int32_t> of_a = Tokens(0, 3), of_b = Tokens(1, 43);
    // One token less at first, so that the last of each comes in a step of single tokens.
    const auto head = [](const std::vector<int32_t>& ids) {
      return std::span(ids).first(ids.size() - 1);
    };
    ASSERT_TRUE(Session::RunTogether(std::vector<Turn>{{a.get(), head(of_a), &got[0]},
                                                       {b.get(), head(of_b), &got[1]}})
                    .ok());
    ASSERT_TRUE(Session::RunTogether(std::vector<Turn>{{a.get(), std::span(of_a).last(1), &got[0]},
                                                       {b.get(), std::span(of_b).last(1), &got[1]}})
                    .ok());
    EXPECT_EQ(got, want) << name;
    EXPECT_EQ(a->history(), of_a);
    EXPECT_EQ(b->history(), of_b);
  }
}

TEST(RunTogetherTest, RefusesTurnsThatDoNotBelongTogether) {
  const auto model = OpenGolden("llama");
  const auto engine = OpenEngine(model), other = OpenEngine(model);
  const auto session = NewSession(*engine), stranger = NewSession(*other);
  const std::vector<int32_t> ids = {1, 2};
  const auto run = [](std::vector<Turn> turns) {
    return std::string(Session::RunTogether(turns).message());
  };
  EXPECT_THAT(run({{session.get(), ids, nullptr}, {stranger.get(), ids, nullptr}}),
              HasSubstr("different engines"));
  EXPECT_THAT(run({{session.get(), ids, nullptr}, {session.get(), ids, nullptr}}),
              HasSubstr("same session"));
  EXPECT_THAT(run({{session.get(), {}, nullptr}}), HasSubstr("without tokens"));
  EXPECT_THAT(run({{session.get(), std::vector<int32_t>{512}, nullptr}}), HasSubstr("512"));
  EXPECT_THAT(run({{session.get(), std::vector<int32_t>(257), nullptr}}), HasSubstr("257"));
  EXPECT_TRUE(session->history().empty());
  EXPECT_TRUE(Session::RunTogether({}).ok());
}

TEST(WorkOfStepTest, OfATokenIsTheWeightsAndTheCache) {
  const auto model = OpenGolden("llama");
  const auto engine = OpenEngine(model, 4);
  ASSERT_NE(engine, nullptr);
  const ModelConfig& c = model->config();
  double weights = 0, elements = 0;
  for (const auto& [name, weight] : model->weights().all()) {
    // Of the embedding one row is read, unless it is the head too.
    if (name == "token_embd.weight" && model->weights().Contains("output.weight")) continue;
    weights += static_cast<double>(weight.bytes());
    if (weight.shape.rank > 1) elements += static_cast<double>(weight.shape.elements());
  }
  const auto one = engine->WorkOfStep({.depth = 100});
  ASSERT_TRUE(one.ok()) << one.status();
  const double row = static_cast<double>(c.layers * c.kv_heads * (c.head_dim + c.v_head_dim) * 4);
  EXPECT_GT(one->bytes, weights + 101 * row);
  EXPECT_LT(one->bytes, (weights + 101 * row) * 1.2);  // the rest is activations
  const double pairs = static_cast<double>(c.layers * c.heads * (c.head_dim + c.v_head_dim) * 101);
  EXPECT_GT(one->flops, 2 * (elements + pairs));
  EXPECT_LT(one->flops, 2 * (elements + pairs) * 1.1);
  // A further key costs its row, and its products.
  const auto next = engine->WorkOfStep({.depth = 101});
  EXPECT_DOUBLE_EQ(next->bytes - one->bytes, row);
  EXPECT_DOUBLE_EQ(next->flops - one->flops, 2 * pairs / 101);
  // Sessions side by side share the weights.
  const auto four = engine->WorkOfStep({.tokens = 4, .sequences = 4, .depth = 100});
  EXPECT_DOUBLE_EQ(four->flops, 4 * one->flops);
  EXPECT_LT(four->bytes, weights + 4 * (one->bytes - weights) + 1);
}

TEST(WorkOfStepTest, LeavesTheHeadOutWithoutLogits) {
  const auto model = OpenGolden("llama");
  const auto engine = OpenEngine(model);
  const double head = static_cast<double>(
      (*model->weights().Get(model->weights().Contains("output.weight") ? "output.weight"
                                                                        : "token_embd.weight"))
          ->bytes());
  const double with = Bytes(*engine, {.tokens = 32});
  const double without = Bytes(*engine, {.tokens = 32, .logits = false});
  EXPECT_GT(with - without, head);
  EXPECT_LT(with - without, head * 1.2);
}

TEST(WorkOfStepTest, CountsTheExpertsThatCanBeTouched) {
  const auto model = OpenGolden("qwen3_moe");
  const auto engine = OpenEngine(model);
  const MoeConfig& moe = model->config().moe;
  double experts = 0;
  for (const auto& [name, weight] : model->weights().all()) {
    if (name.ends_with("_exps.weight")) experts += static_cast<double>(weight.bytes());
  }
  ASSERT_GT(experts, 0);
  const auto chosen = static_cast<double>(moe.route.top_k);
  const auto all = static_cast<double>(moe.experts);
  ASSERT_LE(2 * chosen, all);
  // A second token may read as many experts again, later ones no more than all; the rest grows
  // evenly.
  const double one = Bytes(*engine, {.tokens = 1}), two = Bytes(*engine, {.tokens = 2});
  const double many = Bytes(*engine, {.tokens = 63}), more = Bytes(*engine, {.tokens = 64});
  EXPECT_NEAR((two - one) - (more - many), experts * chosen / all, 1);
}

TEST(WorkOfStepTest, RefusesStepsThatDoNotFit) {
  const auto engine = OpenEngine(OpenGolden("llama"), 2);
  for (const StepLoad& load : std::vector<StepLoad>{{.tokens = 0},
                                                    {.tokens = 65},
                                                    {.tokens = 3, .sequences = 3},
                                                    {.tokens = 1, .sequences = 2},
                                                    {.tokens = 1, .sequences = 0},
                                                    {.depth = -1},
                                                    {.depth = 256}}) {
    EXPECT_EQ(engine->WorkOfStep(load).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(CutModelTest, IsTheStartOfTheModel) {
  const auto model = OpenGolden("llama");
  const auto cut = CutModel(model, 1);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_EQ((*cut)->config().layers, 1);
  const Weight& of_cut = **(*cut)->weights().Get("blk.0.ffn_up.weight");
  EXPECT_EQ(of_cut.parts[0].data(),
            (*model->weights().Get("blk.0.ffn_up.weight"))->parts[0].data());
  const auto whole = OpenEngine(model), first = OpenEngine(*cut),
             same = OpenEngine(*CutModel(model, model->config().layers));
  const auto logits = [](Engine& engine) { return *NewSession(engine)->Evaluate(Tokens(3, 20)); };
  EXPECT_EQ(logits(*same), logits(*whole));
  EXPECT_NE(logits(*first), logits(*whole));
}

TEST(CutModelTest, OutlivesTheModelAndRefusesBadSizes) {
  auto model = OpenGolden("qwen3_moe");
  const int64_t layers = model->config().layers;
  EXPECT_THAT(std::string(CutModel(model, 0).status().message()), HasSubstr("to 0"));
  EXPECT_FALSE(CutModel(model, layers + 1).ok());
  const auto cut = CutModel(model, 2);
  model.reset();
  const auto engine = OpenEngine(*cut);
  ASSERT_NE(engine, nullptr);
  EXPECT_TRUE(NewSession(*engine)->Evaluate(Tokens(0, 5)).ok());
}

}  // namespace
}  // namespace tandem
