#include "graph/plan.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using enum KernelId;

Graph TwoDeviceGraph() {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 4});
  const ValueId y = b.Linear(x, b.Weight("up.weight", DType::kF32, {4, 4}));
  b.StoreKv(b.Reshape(y, {2, 1, 4}), b.Input("slots", DType::kI32, {2}),
            b.State("cache", DType::kF32, {1, kPageTokens, 1, 4}));
  b.MarkOutput(b.Add(y, x), "out");
  auto graph = std::move(b).Build();
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

class PlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto plan = Plan::Make(TwoDeviceGraph(), {host_.get(), other_.get()});
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan_ = *std::move(plan);
    for (int d = 0; d < 2; ++d) {
      auto buffer = AllocateHost(plan_->arena_bytes(d));
      ASSERT_TRUE(buffer.ok()) << buffer.status();
      buffers_.push_back(*std::move(buffer));
      arenas_.push_back(buffers_.back()->data());
    }
  }

  absl::Status Bind() {
    return plan_->Bind(arenas_, [this](const Plan::Resident&) { return memory_.data(); });
  }

  std::unique_ptr<Device> host_ = testing::MakeHostFake("host", {kLinear, kStoreKv});
  std::unique_ptr<Device> other_ = testing::MakeHostFake("other", {kAdd});
  std::unique_ptr<Plan> plan_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<void*> arenas_;
  std::vector<float> memory_ = std::vector<float>(kPageTokens * 4);
};

TEST_F(PlanTest, ListsWhatMustBeResident) {
  ASSERT_EQ(plan_->weights().size(), 1u);
  EXPECT_EQ(plan_->graph().value(plan_->weights()[0].root).name, "up.weight");
  EXPECT_EQ(plan_->weights()[0].device, 0);
  ASSERT_EQ(plan_->states().size(), 1u);
  EXPECT_EQ(plan_->graph().value(plan_->states()[0].root).name, "cache");
}

TEST_F(PlanTest, PortsOfInputsAndOutputs) {
  ASSERT_EQ(Bind(), absl::OkStatus());
  std::vector<std::string> inputs;
  for (const Plan::Port& port : plan_->inputs()) {
    inputs.push_back(absl::StrCat(port.name, " ", port.device, " ", port.bytes));
  }
  EXPECT_THAT(inputs, ::testing::UnorderedElementsAre("x 0 32", "x 1 32", "slots 0 8"));
  const auto out = plan_->output("out");
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->device, 1);
  EXPECT_EQ(plan_->output("logits").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PlanTest, DumpTellsPlacesAndCopies) {
  EXPECT_EQ(DumpPlan(*plan_),
            "segment 0 on host\n"
            "  up: up f32[2, 4] = linear(x f32[2, 4], up.weight f32[4, 4]) @64 workspace 32\n"
            "  store_kv: store_kv(up f32[2, 1, 4], slots i32[2], cache f32[1, 64, 1, 4]) "
            "workspace 24\n"
            "segment 1 on other\n"
            "  copy up from host, 32 bytes\n"
            "  add: out f32[2, 4] = add(up f32[2, 4], x f32[2, 4]) @128 workspace 32\n"
            "arena of host: 256 bytes\n"
            "arena of other: 256 bytes\n");
}

TEST_F(PlanTest, BindNeedsAllAddresses) {
  const std::vector<void*> one = {arenas_[0]};
  const auto address = [this](const Plan::Resident&) { return memory_.data(); };
  EXPECT_THAT(std::string(plan_->Bind(one, address).message()),
              HasSubstr("1 arenas for 2 devices"));
  const std::vector<void*> null = {arenas_[0], nullptr};
  EXPECT_THAT(std::string(plan_->Bind(null, address).message()), HasSubstr("no arena on other"));
  const auto none = [](const Plan::Resident&) { return nullptr; };
  EXPECT_THAT(std::string(plan_->Bind(arenas_, none).message()),
              HasSubstr("up.weight has no address on host"));
  EXPECT_TRUE(plan_->steps().empty());
}

TEST(PlanMakeTest, RefusesMalformedGraphsAndMissingKernels) {
  const auto host = testing::MakeHostFake("host", {kLinear, kStoreKv});
  Graph graph = TwoDeviceGraph();
  graph.nodes[0].inputs[0] = 99;
  EXPECT_EQ(Plan::Make(graph, {host.get()}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Plan::Make(TwoDeviceGraph(), {host.get()}).status().message()),
              HasSubstr("host has no kernel add"));
  EXPECT_THAT(std::string(Plan::Make(TwoDeviceGraph(), {}).status().message()),
              HasSubstr("there is no device"));
}

}  // namespace
}  // namespace tandem
