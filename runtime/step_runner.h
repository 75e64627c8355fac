// Runs steps: a few tokens of a few sequences through the model.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/executor.h"
#include "runtime/engine.h"
#include "runtime/families/step_graph.h"
#include "runtime/host_weights.h"
#include "runtime/step_inputs.h"

namespace tandem {

// Owns the devices, the plans, and all memory on the devices. One thread at a time.
class StepRunner {
 public:
  // Plans first; then allocates; then loads the weights. `options` with no zeros left.
  // `keep_routing` allows ReadRouting.
  static absl::StatusOr<std::unique_ptr<StepRunner>> Create(std::shared_ptr<const Model> model,
                                                            const EngineOptions& options,
                                                            bool keep_routing = false);

  // The layouts in which the first of the devices wants the weights of `model`, by name.
  static absl::StatusOr<std::map<std::string, WeightLayout>> PreferredLayouts(
      std::shared_ptr<const Model> model, const EngineOptions& options);

  // As Engine::CompileKernels. `options` with no zeros left.
  static absl::Status CompileKernels(std::shared_ptr<const Model> model,
                                     const EngineOptions& options);

  // At most micro_batch tokens and max_sessions sequences in all.
  absl::Status Run(std::span<const SequenceStep> sequences);

  // The experts that `layer` chose for the first tokens of the last step, [tokens, top_k].
  // NotFound for a layer without experts, FailedPrecondition before the first step.
  absl::Status ReadRouting(int64_t layer, std::span<int32_t> ids);

  int64_t pages() const { return pages_; }
  std::vector<MemoryUse> memory() const;
  absl::StatusOr<Work> WorkOfStep(const StepLoad& load) const;
  void SetTiming(bool on) { executor_->set_timing(on); }
  std::vector<KernelTime> KernelTimes() const { return executor_->times(); }
  std::string DescribePlan(int64_t tokens) const;

 private:
  // Plans for steps of up to `tokens` tokens. One of the forms of latent attention may be missing.
  struct Bucket {
    int64_t tokens = 0;
    StepShape shape;
    std::unique_ptr<Plan> absorbed, expanded;
    // Seconds of a step by the devices' cost model: fixed + per_key * keys of the longest sequence.
    struct Cost {
      double fixed = 0, per_key = 0;
    } absorbed_cost, expanded_cost;
  };
  StepRunner(std::shared_ptr<const Model> model, EngineOptions options)
      : model_(std::move(model)), options_(std::move(options)) {}

  using Key = std::pair<int, std::string>;  // device and name

  absl::Status OpenDevices();
  absl::Status MakePlans();
  absl::StatusOr<std::unique_ptr<Plan>> MakePlan(const StepShape& shape, bool expanded) const;
  std::map<Key, WeightLayout> CollectLayouts() const;
  absl::Status AllocateMemory();
  absl::Status CheckMemory() const;
  bool IsUsedInPlace(const Key& key, const Weight& weight) const;
  HostWeights::Weights MappedWeights() const;
  absl::Status CopyMappedWeights();
  absl::Status LoadWeights();
  absl::Status LoadWeight(const Key& key);
  absl::Status LoadOnDevice(const Key& key, const Weight& weight);
  absl::Status BindPlans();
  std::vector<Plan*> AllPlans() const;
  const Bucket& BucketFor(int64_t tokens) const;
  const Plan& Choose(const Bucket& bucket, int64_t keys) const;
  absl::Status ReadLogits(const Plan& plan, std::span<const SequenceStep> sequences);

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  bool keep_routing_ = false;
  const Plan* last_ = nullptr;  // that ran
  int64_t pages_ = 0;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Device*> device_pointers_;
  std::vector<Bucket> buckets_;
  std::vector<std::unique_ptr<Buffer>> arenas_;  // for each device
  // By device and name: where weights and caches are, and the buffers of those that were copied.
  std::map<Key, void*> address_of_;
  std::map<Key, WeightLayout> layout_of_;  // of weights on a device
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<MemoryUse> memory_;
  std::unique_ptr<HostWeights> copies_;  // null if weights are used where they are mapped
  std::unique_ptr<Executor> executor_;
  StepInputs inputs_;
  std::vector<float> logits_;  // staging
};

}  // namespace tandem
