#include "runtime/engine.h"

#include <algorithm>
#include <limits>

#include "backends/device/status.h"
#include "runtime/page_pool.h"
#include "runtime/step_queue.h"
#include "runtime/step_runner.h"

namespace tandem {
namespace {

constexpr int64_t kDefaultContext = 4096;
constexpr int64_t kMinKqLimit = int64_t{1} << 20;

bool IsKvType(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16 ||
         type == DType::kQ8_0 || type == DType::kQ4_0;
}

// Replaces zeros by what they mean and checks the rest.
absl::StatusOr<EngineOptions> Resolve(EngineOptions options, const ModelConfig& config) {
  if (options.devices.empty()) return absl::InvalidArgumentError("no device is given");
  if (options.context == 0) options.context = std::min(config.context, kDefaultContext);
  if (options.context < 1 || options.context > config.context) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a context of ", options.context, " tokens; the model takes 1 to ", config.context));
  }
  if (options.max_sessions < 1 || options.max_sessions > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.max_sessions, " sessions; 1 to 4096 are possible"));
  }
  // Places in the cache are 32-bit numbers.
  if (PagesFor(options.context) * kPageTokens * options.max_sessions >
      std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(options.max_sessions, " sessions of ",
                                                   options.context, " tokens are too many"));
  }
  if (options.micro_batch < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("a micro-batch of ", options.micro_batch, " tokens"));
  }
  // A step never has more tokens than all sessions together, nor fewer than sessions need at once.
  options.micro_batch =
      std::clamp(options.micro_batch, options.max_sessions,
                 std::max(options.max_sessions, options.context * options.max_sessions));
  if (options.kq_limit < kMinKqLimit) {
    return absl::InvalidArgumentError("the limit of attention's temporaries is below 1 MiB");
  }
  if (!IsKvType(options.kv_type)) {
    return absl::InvalidArgumentError(absl::StrCat("the KV cache cannot be ",
                                                   Text(DTypeName(options.kv_type)),
                                                   "; f32, f16, bf16, q8_0 and q4_0 are possible"));
  }
  if (options.threads < 0 || options.threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.threads, " threads; 0 to 1024 are possible"));
  }
  return options;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Model> model, EngineOptions options)
    : model_(std::move(model)), options_(std::move(options)) {}

Engine::~Engine() = default;

absl::StatusOr<std::shared_ptr<Engine>> Engine::Open(std::string_view path,
                                                     const EngineOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(auto model, Model::Open(path));
  return Open(std::move(model), options);
}

absl::StatusOr<std::shared_ptr<Engine>> Engine::Open(std::shared_ptr<const Model> model,
                                                     const EngineOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(EngineOptions resolved, Resolve(options, model->config()));
  auto engine = std::shared_ptr<Engine>(new Engine(std::move(model), std::move(resolved)));
  TANDEM_ASSIGN_OR_RETURN(engine->runner_, StepRunner::Create(engine->model_, engine->options_));
  engine->queue_ = std::make_unique<StepQueue>(*engine->runner_, engine->options_,
                                               engine->model_->config().vocab);
  return engine;
}

absl::Status Engine::CompileKernels(std::shared_ptr<const Model> model,
                                    const EngineOptions& options) {
  TANDEM_ASSIGN_OR_RETURN(const EngineOptions resolved, Resolve(options, model->config()));
  return StepRunner::CompileKernels(std::move(model), resolved);
}

absl::StatusOr<std::unique_ptr<Session>> Engine::NewSession() {
  int64_t open = open_sessions_.load();
  do {
    if (open >= options_.max_sessions) {
      return absl::ResourceExhaustedError(
          absl::StrCat("all ", options_.max_sessions, " sessions of the engine are open"));
    }
  } while (!open_sessions_.compare_exchange_weak(open, open + 1));
  return std::unique_ptr<Session>(new Session(shared_from_this(), std::make_unique<Sequence>()));
}

std::vector<MemoryUse> Engine::memory() const { return runner_->memory(); }

absl::StatusOr<Work> Engine::WorkOfStep(const StepLoad& load) const {
  return runner_->WorkOfStep(load);
}

void Engine::SetTiming(bool on) { runner_->SetTiming(on); }
std::vector<KernelTime> Engine::KernelTimes() const { return runner_->KernelTimes(); }

std::string Engine::DescribePlan(int64_t tokens) const { return runner_->DescribePlan(tokens); }

}  // namespace tandem
