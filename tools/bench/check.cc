#include "tools/bench/check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "backends/device/status.h"
#include "runtime/cut_model.h"
#include "tools/bench/tokens.h"

namespace tandem {
namespace {

constexpr int64_t kTokens = 64;
constexpr int64_t kSingleTokens = 8;
constexpr int64_t kLayersOfLargeModel = 2;
constexpr int64_t kLargeModelBytes = 256'000'000;
constexpr uint64_t kSeed = 64;

bool IsFloat(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

// The logits after each token, of steps of these many tokens.
absl::StatusOr<std::vector<float>> Evaluate(std::shared_ptr<const Model> model,
                                            const EngineOptions& options,
                                            std::span<const int32_t> tokens,
                                            std::span<const int64_t> steps) {
  TANDEM_ASSIGN_OR_RETURN(const auto engine, Engine::Open(std::move(model), options));
  TANDEM_ASSIGN_OR_RETURN(const auto session, engine->NewSession());
  std::vector<float> logits;
  for (const int64_t count : steps) {
    const auto step = tokens.first(static_cast<size_t>(count));
    tokens = tokens.subspan(step.size());
    TANDEM_ASSIGN_OR_RETURN(const std::vector<float> rows, session->Evaluate(step));
    logits.insert(logits.end(), rows.begin(), rows.end());
  }
  return logits;
}

}  // namespace

double RelativeRms(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = double{got[i]} - double{want[i]};
    error += difference * difference;
    norm += double{want[i]} * double{want[i]};
  }
  return error == 0 ? 0 : std::sqrt(error / norm);
}

DType MainWeightType(const Model& model) {
  std::map<DType, int64_t> bytes;
  for (const auto& [name, weight] : model.weights().all()) {
    if (weight.shape.rank > 1) bytes[weight.dtype] += weight.bytes();
  }
  const auto most =
      std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? DType::kF32 : most->first;
}

double LogitsTolerance(const Model& model, DType kv_type) {
  constexpr double kExact = 1e-3, kRounded = 1e-2, kQuantised = 3e-2, kQuantisedExperts = 1e-1;
  if (!IsFloat(MainWeightType(model)) || !IsFloat(kv_type)) {
    return model.config().moe.experts > 0 ? kQuantisedExperts : kQuantised;
  }
  return kv_type == DType::kF32 ? kExact : kRounded;
}

absl::StatusOr<LogitsCheck> CheckLogits(std::shared_ptr<const Model> model, EngineOptions options) {
  const int64_t layers = model->config().layers;
  if (model->file_bytes() > kLargeModelBytes && layers > kLayersOfLargeModel) {
    TANDEM_ASSIGN_OR_RETURN(model, CutModel(model, kLayersOfLargeModel));
  }
  const int64_t count = std::min(kTokens, model->config().context);
  options.context = count;
  options.max_sessions = 1;
  options.all_logits = true;
  options.progress = nullptr;
  const std::vector<int32_t> tokens = TokenSource(model->config().vocab, kSeed).Draw(count);
  std::vector<int64_t> steps(static_cast<size_t>(std::min(kSingleTokens, count - 1)), 1);
  const std::vector<int64_t> at_once = {count};
  steps.insert(steps.begin(), count - static_cast<int64_t>(steps.size()));
  TANDEM_ASSIGN_OR_RETURN(const auto got, Evaluate(model, options, tokens, steps));
  options.devices = {"reference"};
  TANDEM_ASSIGN_OR_RETURN(const auto want, Evaluate(model, options, tokens, at_once));
  return LogitsCheck{RelativeRms(got, want), LogitsTolerance(*model, options.kv_type),
                     model->config().layers};
}

}  // namespace tandem
