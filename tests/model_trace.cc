#include "tests/model_trace.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "backends/device/status.h"
#include "backends/open_device.h"
#include "graph/executor.h"

namespace tandem {
namespace {

// Marks the inputs of route nodes and the residual sums that end a layer, so that the plan keeps
// them; returns their names in order.
struct Marks {
  std::vector<std::string> hidden, router;
};

Marks MarkInside(Graph& graph, int64_t layers) {
  Marks marks;
  const auto mark = [&](ValueId id, const std::string& name) {
    Value& value = graph.values[static_cast<size_t>(id)];
    value.is_output = true;
    value.name = name;
    return name;
  };
  std::map<std::string, ValueId> last_add;  // of each layer
  for (const Node& node : graph.nodes) {
    if (node.op() == KernelId::kAdd) last_add[node.name] = node.outputs[0];
    if (node.op() == KernelId::kRoute) {
      marks.router.push_back(mark(node.inputs[0], absl::StrCat("router.", marks.router.size())));
    }
  }
  for (int64_t i = 0; i < layers; ++i) {
    marks.hidden.push_back(
        mark(last_add[absl::StrCat("blk.", i, ".add")], absl::StrCat("hidden.", i)));
  }
  return marks;
}

// Buffers of weights, caches and the arena of one plan on one device.
class Residents {
 public:
  explicit Residents(Device& device) : device_(device) {}

  absl::Status Bind(Plan& plan, const WeightMap& weights) {
    TANDEM_ASSIGN_OR_RETURN(auto stream, device_.CreateStream());
    for (const Plan::Resident& r : plan.weights()) {
      const Weight& weight = *weights.Find(plan.graph().value(r.root).name);
      TANDEM_ASSIGN_OR_RETURN(std::byte * to, Allocate(weight.bytes()));
      address_[r.root] = to;
      for (const auto part : weight.parts) {
        TANDEM_RETURN_IF_ERROR(stream->CopyIn(to, part.data(), static_cast<int64_t>(part.size())));
        to += part.size();
      }
    }
    TANDEM_RETURN_IF_ERROR(stream->Synchronize());
    for (const Plan::Resident& r : plan.states()) {
      TANDEM_ASSIGN_OR_RETURN(address_[r.root], Allocate(plan.graph().StorageBytes(r.root)));
    }
    TANDEM_ASSIGN_OR_RETURN(std::byte* const arena, Allocate(plan.arena_bytes(0)));
    void* const arenas[] = {arena};
    return plan.Bind(arenas, [this](const Plan::Resident& r) { return address_[r.root]; });
  }

 private:
  absl::StatusOr<std::byte*> Allocate(int64_t bytes) {
    TANDEM_ASSIGN_OR_RETURN(auto buffer, device_.Allocate(bytes));
    buffers_.push_back(std::move(buffer));
    return static_cast<std::byte*>(buffers_.back()->data());
  }

  Device& device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::map<ValueId, void*> address_;
};

absl::Status FillInputs(Executor& executor, const Plan& plan, std::span<const int32_t> tokens) {
  const auto count = static_cast<int32_t>(tokens.size());
  std::vector<int32_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), 0);
  const std::vector<int32_t> one = {1}, all = {count}, starts = {0, count};
  std::vector<int32_t> pages(static_cast<size_t>((count + kPageTokens - 1) / kPageTokens));
  std::iota(pages.begin(), pages.end(), 0);
  const std::pair<std::string_view, std::span<const int32_t>> inputs[] = {
      {port::kTokens, tokens},   {port::kPositions, positions}, {port::kSlots, positions},
      {port::kNumTokens, all},   {port::kSeqStart, starts},     {port::kKvLen, all},
      {port::kPageTable, pages}, {port::kNumSequences, one},    {port::kOutputRows, positions},
      {port::kNumOutputs, all}};
  for (const auto& [name, values] : inputs) {
    TANDEM_RETURN_IF_ERROR(
        executor.SetInput(plan, name, values.data(), static_cast<int64_t>(values.size_bytes())));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Output(Executor& executor, const Plan& plan,
                                          std::string_view name) {
  TANDEM_ASSIGN_OR_RETURN(const Plan::Port out, plan.output(name));
  std::vector<float> values(static_cast<size_t>(out.bytes) / sizeof(float));
  TANDEM_RETURN_IF_ERROR(executor.GetOutput(plan, name, values.data(), out.bytes));
  return values;
}

// Scores by which experts are chosen, for one token.
std::vector<double> ChoiceScores(const MoeConfig& moe, const float* logits, const float* bias) {
  std::vector<double> scores(static_cast<size_t>(moe.experts));
  double top = -std::numeric_limits<double>::infinity(), sum = 0.0;
  for (size_t e = 0; e < scores.size(); ++e) top = std::max(top, static_cast<double>(logits[e]));
  for (size_t e = 0; e < scores.size(); ++e) sum += std::exp(logits[e] - top);
  for (size_t e = 0; e < scores.size(); ++e) {
    const double x = logits[e];
    scores[e] =
        moe.route.gating == Gating::kSigmoid ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x - top) / sum;
    if (bias != nullptr) scores[e] += static_cast<double>(bias[e]);
  }
  return scores;
}

// Gap between the last group or expert that is kept and the first that is not.
double Gap(std::vector<double> scores, int64_t kept) {
  if (kept >= static_cast<int64_t>(scores.size())) return std::numeric_limits<double>::infinity();
  std::ranges::sort(scores, std::ranges::greater());
  return scores[static_cast<size_t>(kept) - 1] - scores[static_cast<size_t>(kept)];
}

double Margin(const MoeConfig& moe, std::vector<double> scores) {
  const RouteAttrs& route = moe.route;
  double margin = std::numeric_limits<double>::infinity();
  if (route.groups > 1) {
    const auto size = static_cast<size_t>(moe.experts / route.groups);
    std::vector<double> groups;
    for (size_t g = 0; g < scores.size(); g += size) {
      std::vector<double> members(scores.begin() + static_cast<std::ptrdiff_t>(g),
                                  scores.begin() + static_cast<std::ptrdiff_t>(g + size));
      std::ranges::sort(members, std::ranges::greater());
      const bool two = route.group_score == GroupScore::kTop2Sum && size > 1;
      groups.push_back(members[0] + (two ? members[1] : 0.0));
    }
    margin = Gap(groups, route.groups_used);
    std::vector<double> ranked = groups;
    std::ranges::sort(ranked, std::ranges::greater());
    const double worst = ranked[static_cast<size_t>(route.groups_used) - 1];
    for (size_t e = 0; e < scores.size(); ++e) {
      if (groups[e / size] < worst) scores[e] = -std::numeric_limits<double>::infinity();
    }
  }
  return std::min(margin, Gap(scores, route.top_k));
}

}  // namespace

absl::StatusOr<ModelTrace> TraceModel(const Model& model, std::string_view device_name,
                                      std::span<const int32_t> tokens, bool expand_latent) {
  TANDEM_ASSIGN_OR_RETURN(auto device, OpenDevice(device_name, {}));
  const auto count = static_cast<int64_t>(tokens.size());
  const int64_t pages = (count + kPageTokens - 1) / kPageTokens;
  const StepShape shape = {count, 1, count, pages, pages};
  const StepOptions options = {DType::kF32, expand_latent, int64_t{64} << 20};
  TANDEM_ASSIGN_OR_RETURN(Graph graph,
                          BuildStepGraph(model.config(), model.weights(), shape, options));
  const Marks marks = MarkInside(graph, model.config().layers);
  TANDEM_ASSIGN_OR_RETURN(auto plan, Plan::Make(std::move(graph), {device.get()}));
  Residents residents(*device);
  TANDEM_RETURN_IF_ERROR(residents.Bind(*plan, model.weights()));
  TANDEM_ASSIGN_OR_RETURN(auto executor, Executor::Create({device.get()}));
  TANDEM_RETURN_IF_ERROR(FillInputs(*executor, *plan, tokens));
  TANDEM_RETURN_IF_ERROR(executor->Run(*plan));
  ModelTrace trace;
  TANDEM_ASSIGN_OR_RETURN(trace.logits, Output(*executor, *plan, port::kLogits));
  for (const auto& [names, rows] :
       {std::pair(&marks.hidden, &trace.hidden), std::pair(&marks.router, &trace.router)}) {
    for (const std::string& name : *names) {
      TANDEM_ASSIGN_OR_RETURN(std::vector<float> values, Output(*executor, *plan, name));
      rows->push_back(std::move(values));
    }
  }
  return trace;
}

std::vector<double> RouterMargins(const ModelConfig& config, const Model& model,
                                  const ModelTrace& trace) {
  const auto tokens = trace.logits.size() / static_cast<size_t>(config.vocab);
  std::vector<double> margins(tokens, std::numeric_limits<double>::infinity());
  size_t moe_layer = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string block = absl::StrCat("blk.", layer, ".");
    if (model.weights().Find(block + "ffn_gate_inp.weight") == nullptr) continue;
    const Weight* bias = model.weights().Find(block + "exp_probs_b.bias");
    const auto* b =
        bias == nullptr ? nullptr : reinterpret_cast<const float*>(bias->parts[0].data());
    const std::vector<float>& logits = trace.router[moe_layer++];
    for (size_t t = 0; t < tokens; ++t) {
      const float* row = logits.data() + t * static_cast<size_t>(config.moe.experts);
      margins[t] = std::min(margins[t], Margin(config.moe, ChoiceScores(config.moe, row, b)));
    }
  }
  return margins;
}

}  // namespace tandem
