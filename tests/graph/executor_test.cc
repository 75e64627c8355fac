#include "graph/executor.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/device/status.h"
#include "gmock/gmock.h"
#include "graph/builder.h"
#include "gtest/gtest.h"
#include "tests/graph/testing.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using enum KernelId;

// A plan with its arenas, weights and states on their devices.
class Bound {
 public:
  static absl::StatusOr<std::unique_ptr<Bound>> Make(Graph graph, std::vector<Device*> devices,
                                                     const testing::Contents& contents) {
    auto bound = std::make_unique<Bound>();
    TANDEM_ASSIGN_OR_RETURN(bound->executor_, Executor::Create(devices));
    TANDEM_ASSIGN_OR_RETURN(bound->plan_, Plan::Make(std::move(graph), devices));
    std::vector<void*> arenas;
    for (size_t d = 0; d < devices.size(); ++d) {
      TANDEM_ASSIGN_OR_RETURN(
          void* arena,
          bound->Place(*devices[d], bound->plan_->arena_bytes(static_cast<int>(d)), {}));
      arenas.push_back(arena);
    }
    std::map<std::pair<ValueId, int>, void*> residents;
    for (const auto* list : {&bound->plan_->weights(), &bound->plan_->states()}) {
      for (const auto& r : *list) {
        const Value& value = bound->plan_->graph().value(r.root);
        TANDEM_ASSIGN_OR_RETURN(
            (residents[{r.root, r.device}]),
            bound->Place(*devices[static_cast<size_t>(r.device)],
                         bound->plan_->graph().StorageBytes(r.root), contents.at(value.name)));
      }
    }
    TANDEM_RETURN_IF_ERROR(bound->plan_->Bind(arenas, [&](const Plan::Resident& r) {
      return residents[{r.root, r.device}];
    }));
    return bound;
  }

  // All outputs after a run with these inputs.
  absl::StatusOr<testing::Contents> Run(const testing::Contents& contents) {
    for (const auto& [name, data] : contents) {
      TANDEM_RETURN_IF_ERROR(executor_->SetInput(*plan_, name, data.data(), Bytes(data)));
    }
    TANDEM_RETURN_IF_ERROR(executor_->Run(*plan_));
    testing::Contents outputs;
    for (const Value& value : plan_->graph().values) {
      if (!value.is_output) continue;
      auto& data = outputs[value.name];
      data.resize(static_cast<size_t>(value.type.shape.elements()));
      TANDEM_RETURN_IF_ERROR(executor_->GetOutput(*plan_, value.name, data.data(), Bytes(data)));
    }
    return outputs;
  }

  const Plan& plan() const { return *plan_; }
  Executor& executor() { return *executor_; }

  static int64_t Bytes(const std::vector<float>& data) {
    return static_cast<int64_t>(data.size() * sizeof(float));
  }

  // The first bytes of memory that Place gave.
  static absl::Status Read(Device& device, const void* from, std::vector<float>& data) {
    TANDEM_ASSIGN_OR_RETURN(auto stream, device.CreateStream());
    TANDEM_RETURN_IF_ERROR(stream->CopyOut(data.data(), from, Bytes(data)));
    return stream->Synchronize();
  }
  const std::vector<std::unique_ptr<Buffer>>& buffers() const { return buffers_; }

 private:
  absl::StatusOr<void*> Place(Device& device, int64_t bytes, const std::vector<float>& data) {
    TANDEM_ASSIGN_OR_RETURN(auto buffer, device.Allocate(bytes));
    TANDEM_ASSIGN_OR_RETURN(auto stream, device.CreateStream());
    // Bytes that are read before they are written would be NaN.
    std::vector<char> content(static_cast<size_t>(bytes), '\xff');
    if (!data.empty()) std::memcpy(content.data(), data.data(), content.size());
    TANDEM_RETURN_IF_ERROR(stream->CopyIn(buffer->data(), content.data(), bytes));
    TANDEM_RETURN_IF_ERROR(stream->Synchronize());
    buffers_.push_back(std::move(buffer));
    return buffers_.back()->data();
  }

  std::unique_ptr<Plan> plan_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

enum class Memory { kHost, kHidden };

std::unique_ptr<Device> MakeFake(Memory memory, const std::string& name,
                                 const std::set<KernelId>& kernels) {
  return memory == Memory::kHost ? testing::MakeHostFake(name, kernels)
                                 : testing::MakeHiddenFake(name, kernels);
}

class ExecutorTest : public ::testing::TestWithParam<std::pair<Memory, Memory>> {};

TEST_P(ExecutorTest, RandomGraphsOnTwoDevicesGiveTheResultsOfPlainEvaluation) {
  std::mt19937 random(17);
  int borders = 0;
  for (int round = 0; round < 60; ++round) {
    std::set<KernelId> some;
    for (KernelId id : testing::kFakeKernels) {
      if (random() % 2 == 0) some.insert(id);
    }
    const auto first = MakeFake(GetParam().first, "first", some);
    const auto second = MakeFake(GetParam().second, "second", testing::kFakeKernels);
    const Graph graph = testing::RandomGraph(random, 1 + static_cast<int>(random() % 30));
    testing::Contents contents = testing::RandomContents(graph);
    auto bound = Bound::Make(graph, {first.get(), second.get()}, contents);
    ASSERT_TRUE(bound.ok()) << bound.status();
    for (const auto& step : (*bound)->plan().steps()) {
      borders += static_cast<int>(step.transfers.size());
    }
    for (int run = 0; run < 2; ++run) {  // a plan keeps nothing from one run to the next
      contents["in0"][0] = static_cast<float>(run);
      const auto outputs = (*bound)->Run(contents);
      ASSERT_TRUE(outputs.ok()) << outputs.status();
      EXPECT_EQ(*outputs, testing::Evaluate(graph, contents)) << DumpPlan((*bound)->plan());
    }
  }
  EXPECT_GT(borders, 50);
}

TEST_P(ExecutorTest, LiveCountsAndStates) {
  GraphBuilder b;
  b.SetLive(b.Input("live", DType::kI32, {1}));
  const ValueId x = b.Input("x", DType::kF32, {3, 2});
  const ValueId sum = b.Add(x, x);
  b.StoreKv(b.Reshape(sum, {3, 1, 2}), b.Input("slots", DType::kI32, {3}),
            b.State("cache", DType::kF32, {1, kPageTokens, 1, 2}));
  b.MarkOutput(sum, "out");
  auto graph = std::move(b).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto first = MakeFake(GetParam().first, "first", {kAdd});
  const auto second = MakeFake(GetParam().second, "second", {kStoreKv});
  auto bound = Bound::Make(*graph, {first.get(), second.get()}, testing::RandomContents(*graph));
  ASSERT_TRUE(bound.ok()) << bound.status();
  Executor& executor = (*bound)->executor();
  const Plan& plan = (*bound)->plan();
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> slots = {5, 0, 1};
  const int32_t live = 2;
  ASSERT_TRUE(executor.SetInput(plan, "x", values.data(), 24).ok());
  ASSERT_TRUE(executor.SetInput(plan, "slots", slots.data(), 12).ok());
  ASSERT_TRUE(executor.SetInput(plan, "live", &live, 4).ok());
  ASSERT_EQ(executor.Run(plan), absl::OkStatus());
  std::vector<float> cache(12), before = testing::RandomContents(*graph).at("cache");
  ASSERT_TRUE(Bound::Read(*second, (*bound)->buffers().back()->data(), cache).ok());
  EXPECT_THAT(cache, ::testing::ElementsAre(6, 8, before[2], before[3], before[4], before[5],
                                            before[6], before[7], before[8], before[9], 2, 4));
}

INSTANTIATE_TEST_SUITE_P(Memories, ExecutorTest,
                         ::testing::Values(std::pair(Memory::kHost, Memory::kHost),
                                           std::pair(Memory::kHidden, Memory::kHost),
                                           std::pair(Memory::kHost, Memory::kHidden),
                                           std::pair(Memory::kHidden, Memory::kHidden)));

TEST(ExecutorErrorsTest, SizesNamesAndUnboundPlans) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 2});
  b.Input("unused", DType::kF32, {2});
  b.MarkOutput(b.Add(x, x), "out");
  auto graph = std::move(b).Build();
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto device = testing::MakeHostFake("host", {kAdd});
  auto executor = Executor::Create({device.get()});
  ASSERT_TRUE(executor.ok()) << executor.status();
  const auto unbound = Plan::Make(*graph, {device.get()});
  ASSERT_TRUE(unbound.ok()) << unbound.status();
  EXPECT_EQ((*executor)->Run(**unbound).code(), absl::StatusCode::kFailedPrecondition);

  auto bound = Bound::Make(*graph, {device.get()}, {});
  ASSERT_TRUE(bound.ok()) << bound.status();
  const Plan& plan = (*bound)->plan();
  std::vector<float> data(5);
  EXPECT_THAT(std::string((*executor)->SetInput(plan, "x", data.data(), 20).message()),
              HasSubstr("input x holds 16 bytes, not 20"));
  EXPECT_EQ((*executor)->SetInput(plan, "x", data.data(), -1).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*executor)->SetInput(plan, "unused", data.data(), 8), absl::OkStatus());
  EXPECT_THAT(std::string((*executor)->GetOutput(plan, "out", data.data(), 20).message()),
              HasSubstr("output out holds 16 bytes, not 20"));
  EXPECT_EQ((*executor)->GetOutput(plan, "none", data.data(), 4).code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tandem
