// The library's front door: opens a model on the devices of this machine.
//
//   TANDEM_ASSIGN_OR_RETURN(auto engine, tandem::Engine::Open("model.gguf", {}));
//   TANDEM_ASSIGN_OR_RETURN(auto session, engine->NewSession());
//   auto result = session->Generate("Once upon a time", {.max_tokens = 100},
//                                   [](const tandem::Token& token) {
//                                     std::cout << token.text << std::flush;
//                                     return true;  // false stops
//                                   });
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/device.h"
#include "runtime/model.h"
#include "runtime/session.h"

namespace tandem {

class StepRunner;
class StepQueue;

// Which form of latent attention runs (docs/architecture.md): the cheaper one for each batch by the
// device's cost model, or always the same.
enum class LatentForm { kAuto, kExpanded, kAbsorbed };

struct EngineOptions {
  // In order of preference: a node runs on the first device that supports it. "cpu", "reference",
  // or the path of a plugin.
  std::vector<std::string> devices = {"cpu"};
  int threads = 0;            // CPU threads; 0: one for each core
  int64_t context = 0;        // most tokens of a session; 0: the model's, but at most 4096
  int64_t max_sessions = 1;   // sessions at a time; each has a KV cache of `context` tokens
  // Most tokens of a step. Large steps give each expert more tokens and expand latents less often.
  int64_t micro_batch = 2048;
  int64_t kq_limit = int64_t{256} << 20;  // most bytes of temporaries of attention
  DType kv_type = DType::kF16;            // f32, f16, bf16, q8_0 or q4_0
  LatentForm latent_form = LatentForm::kAuto;
  // Use weights where their file is mapped, also where memory would hold a copy, which is faster
  // (huge pages) but is not shared with other processes.
  bool map_weights = false;
  // Folder in which devices that compile kernels (CUDA) keep them between runs; empty: none.
  std::string kernel_cache;
  bool all_logits = false;  // allow Session::Evaluate, which needs room for logits of every token
  // Called while the weights are loaded, with the part that is done, from 0 to 1.
  std::function<void(double)> progress;
};

// Bytes that the engine uses on each device.
struct MemoryUse {
  std::string device;
  int64_t weights_mapped = 0;  // used where the file is mapped
  int64_t weights_copied = 0;
  int64_t kv_cache = 0;
  int64_t arena = 0;  // activations and workspaces
};

// A step whose cost is asked for.
struct StepLoad {
  int64_t tokens = 1;     // of all sequences together; each has the same share
  int64_t sequences = 1;  // at most as many as there are tokens
  int64_t depth = 0;      // tokens of each that are in the cache
  bool logits = true;     // after the last token of each sequence
};

// Thread-safe. Sessions keep the engine alive.
class Engine : public std::enable_shared_from_this<Engine> {
 public:
  // Plans all memory, then allocates it, then loads. Errors: the model's (not found, damaged, not
  // supported), the devices', InvalidArgument for options out of range, ResourceExhausted, before
  // any weight is read, when the plan does not fit.
  static absl::StatusOr<std::shared_ptr<Engine>> Open(std::string_view path,
                                                      const EngineOptions& options);
  static absl::StatusOr<std::shared_ptr<Engine>> Open(std::shared_ptr<const Model> model,
                                                      const EngineOptions& options);
  ~Engine();
  // Plans as Open does and has the devices prepare the plans without memory and weights: for
  // devices that only compile (DeviceOptions::architecture).
  static absl::Status CompileKernels(std::shared_ptr<const Model> model,
                                     const EngineOptions& options);

  // ResourceExhausted if max_sessions are open.
  absl::StatusOr<std::unique_ptr<Session>> NewSession();

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }  // with 0 replaced by what it means
  std::vector<MemoryUse> memory() const;
  // Least bytes that such a step has to move and operations it has to do: the sum of WorkOf
  // (backends/device/program.h) over the calls of a plan for just this step, in the form of latent
  // attention that would run. Errors: InvalidArgument for a step that the engine cannot run.
  absl::StatusOr<Work> WorkOfStep(const StepLoad& load) const;
  // From now on steps run kernel by kernel, on devices that can time them, and their times are kept;
  // or no longer. Not while a step runs.
  void SetTiming(bool on);
  std::vector<KernelTime> KernelTimes() const;
  // The plan for steps of up to `tokens` tokens as text: nodes, devices, segments, offsets.
  std::string DescribePlan(int64_t tokens) const;

 private:
  friend class Session;
  Engine(std::shared_ptr<const Model> model, EngineOptions options);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<StepQueue> queue_;
  std::atomic<int64_t> open_sessions_ = 0;
};

}  // namespace tandem
