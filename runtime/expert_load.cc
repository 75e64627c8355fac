#include "runtime/expert_load.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "backends/device/status.h"
#include "runtime/page_pool.h"
#include "runtime/step_runner.h"

namespace tandem {
namespace {

// The first of a shuffled vocabulary. Plain arithmetic, so that they are the same everywhere.
std::vector<int32_t> RandomTokens(int64_t vocab, int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(vocab));
  std::iota(ids.begin(), ids.end(), 0);
  std::mt19937_64 random(1);
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    std::swap(ids[i], ids[i + random() % (ids.size() - i)]);
  }
  ids.resize(static_cast<size_t>(count));
  return ids;
}

ExpertLoad Count(int64_t layer, int64_t experts, std::span<const int32_t> ids) {
  std::vector<int64_t> tokens(static_cast<size_t>(experts));
  for (const int32_t id : ids) ++tokens[static_cast<size_t>(id)];
  const double mean = static_cast<double>(ids.size()) / static_cast<double>(experts);
  return {layer, experts, experts - std::ranges::count(tokens, 0),
          static_cast<double>(*std::ranges::max_element(tokens)) / mean};
}

absl::Status RunPrompt(StepRunner& runner, std::span<const int32_t> tokens) {
  std::vector<int32_t> pages(static_cast<size_t>(runner.pages()));
  std::iota(pages.begin(), pages.end(), 0);
  const SequenceStep prompt = {.tokens = tokens, .pages = pages};
  return runner.Run({&prompt, 1});
}

}  // namespace

absl::StatusOr<std::vector<ExpertLoad>> MeasureExpertLoad(std::shared_ptr<const Model> model,
                                                          const EngineOptions& options,
                                                          int64_t tokens) {
  const ModelConfig& c = model->config();
  std::vector<ExpertLoad> loads;
  if (c.moe.experts == 0) return loads;
  tokens = std::min({tokens, c.vocab, c.context});
  if (tokens < 1) return absl::InvalidArgumentError(absl::StrCat(tokens, " tokens"));
  EngineOptions one_prompt = options;
  one_prompt.context = one_prompt.micro_batch = tokens;
  one_prompt.max_sessions = 1;
  one_prompt.all_logits = false;
  TANDEM_ASSIGN_OR_RETURN(auto runner,
                          StepRunner::Create(model, one_prompt, /*keep_routing=*/true));
  TANDEM_RETURN_IF_ERROR(RunPrompt(*runner, RandomTokens(c.vocab, tokens)));
  std::vector<int32_t> ids(static_cast<size_t>(tokens * c.moe.route.top_k));
  for (int64_t layer = c.moe.dense_layers; layer < c.layers; ++layer) {
    TANDEM_RETURN_IF_ERROR(runner->ReadRouting(layer, ids));
    loads.push_back(Count(layer, c.moe.experts, ids));
  }
  return loads;
}

std::string ExpertLoadText(std::span<const ExpertLoad> loads) {
  std::string text = "layer  experts touched   largest load / mean\n";
  for (const ExpertLoad& load : loads) {
    absl::StrAppendFormat(&text, "%5d  %7d of %-5d  %19.2f\n", load.layer, load.touched,
                          load.experts, load.max_over_mean);
  }
  return text;
}

}  // namespace tandem
