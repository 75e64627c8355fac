#include "runtime/step_runner.h"

#include <algorithm>
#include <map>
#include <utility>

#include "backends/device/layout.h"
#include "backends/device/status.h"
#include "backends/open_device.h"
#include "runtime/page_pool.h"

namespace tandem {
namespace {

// Seconds of all nodes of a plan when queries see `keys` keys.
double PlanCost(const Plan& plan, int64_t keys) {
  double seconds = 0;
  for (size_t i = 0; i < plan.graph().nodes.size(); ++i) {
    const KernelArgs args =
        LowerNode(plan.graph(), plan.graph().nodes[i], [](ValueId) { return nullptr; });
    const auto device = static_cast<size_t>(plan.schedule().device_of[i]);
    seconds += plan.devices()[device]->Cost(args, keys);
  }
  return seconds;
}

constexpr int64_t kStagingBytes = int64_t{8} << 20;

// Whole panels of a weight, from its layout to another one.
void Rearrange(const Weight& weight, std::span<const std::byte> from, WeightLayout layout,
               std::byte* to) {
  const int64_t row_bytes = RowBytes(weight.dtype, weight.shape.back());
  const int64_t rows = static_cast<int64_t>(from.size()) / row_bytes;
  if (weight.layout == WeightLayout::kRows) {
    return Arrange(layout, weight.dtype, row_bytes, rows, from.data(), to);
  }
  std::vector<std::byte> in_rows(from.size());
  Restore(weight.layout, weight.dtype, row_bytes, rows, from.data(), in_rows.data());
  Arrange(layout, weight.dtype, row_bytes, rows, in_rows.data(), to);
}

// Copies a part of a weight to a device, through staging memory if it changes its layout.
absl::Status CopyPart(const Weight& weight, std::span<const std::byte> part, WeightLayout layout,
                      Stream& stream, std::byte* to) {
  if (weight.layout == layout) {
    return stream.CopyIn(to, part.data(), static_cast<int64_t>(part.size()));
  }
  const int64_t panel = kPanelRows * RowBytes(weight.dtype, weight.shape.back());
  const auto step = static_cast<size_t>(std::max<int64_t>(kStagingBytes / panel, 1) * panel);
  std::vector<std::byte> staging(std::min(step, part.size()));
  while (!part.empty()) {
    const auto piece = part.first(std::min(step, part.size()));
    const auto bytes = static_cast<int64_t>(piece.size());
    Rearrange(weight, piece, layout, staging.data());
    TANDEM_RETURN_IF_ERROR(stream.CopyIn(to, staging.data(), bytes));
    TANDEM_RETURN_IF_ERROR(stream.Synchronize());
    part = part.subspan(piece.size());
    to += bytes;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::map<std::string, WeightLayout>> StepRunner::PreferredLayouts(
    std::shared_ptr<const Model> model, const EngineOptions& options) {
  StepRunner runner(std::move(model), options);
  runner.pages_ = options.max_sessions * PagesFor(options.context);
  TANDEM_RETURN_IF_ERROR(runner.OpenDevices());
  TANDEM_RETURN_IF_ERROR(runner.MakePlans());
  std::map<std::string, WeightLayout> layouts;
  for (const auto& [key, layout] : runner.CollectLayouts()) layouts.emplace(key.second, layout);
  return layouts;
}

absl::Status StepRunner::CompileKernels(std::shared_ptr<const Model> model,
                                        const EngineOptions& options) {
  StepRunner runner(std::move(model), options);
  runner.pages_ = options.max_sessions * PagesFor(options.context);
  TANDEM_RETURN_IF_ERROR(runner.OpenDevices());
  TANDEM_RETURN_IF_ERROR(runner.MakePlans());
  const std::map<Key, WeightLayout> layouts = runner.CollectLayouts();
  void* const nowhere = reinterpret_cast<void*>(uintptr_t{1} << 40);
  const std::vector<void*> arenas(runner.devices_.size(), nowhere);
  for (Plan* plan : runner.AllPlans()) {
    for (const Plan::Resident& r : plan->weights()) {
      plan->SetLayout(r.root, layouts.at({r.device, plan->graph().value(r.root).name}));
    }
    TANDEM_RETURN_IF_ERROR(plan->Bind(arenas, [=](const Plan::Resident&) { return nowhere; }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StepRunner>> StepRunner::Create(std::shared_ptr<const Model> model,
                                                               const EngineOptions& options,
                                                               bool keep_routing) {
  auto runner = std::unique_ptr<StepRunner>(new StepRunner(std::move(model), options));
  runner->keep_routing_ = keep_routing;
  runner->pages_ = options.max_sessions * PagesFor(options.context);
  TANDEM_RETURN_IF_ERROR(runner->OpenDevices());
  TANDEM_ASSIGN_OR_RETURN(runner->executor_, Executor::Create(runner->device_pointers_));
  TANDEM_RETURN_IF_ERROR(runner->MakePlans());
  TANDEM_RETURN_IF_ERROR(runner->AllocateMemory());
  TANDEM_RETURN_IF_ERROR(runner->LoadWeights());
  TANDEM_RETURN_IF_ERROR(runner->BindPlans());
  return runner;
}

absl::Status StepRunner::OpenDevices() {
  for (const std::string& name : options_.devices) {
    TANDEM_ASSIGN_OR_RETURN(auto device, OpenDevice(name, {.threads = options_.threads,
                                                      .cache_folder = options_.kernel_cache}));
    device_pointers_.push_back(device.get());
    memory_.push_back({.device = device->info().name});
    devices_.push_back(std::move(device));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Plan>> StepRunner::MakePlan(const StepShape& shape,
                                                           bool expanded) const {
  const StepOptions step = {options_.kv_type, expanded, options_.kq_limit, keep_routing_};
  TANDEM_ASSIGN_OR_RETURN(Graph graph,
                          BuildStepGraph(model_->config(), model_->weights(), shape, step));
  return Plan::Make(std::move(graph), device_pointers_);
}

// Buckets of 1, 2, 4 ... tokens up to the micro-batch.
absl::Status StepRunner::MakePlans() {
  const bool latent = model_->config().family == Family::kDeepSeek2;
  const int64_t longest = PagesFor(options_.context);
  for (int64_t tokens = 1;; tokens = std::min(2 * tokens, options_.micro_batch)) {
    Bucket bucket;
    bucket.tokens = tokens;
    const int64_t sequences = std::min(tokens, options_.max_sessions);
    bucket.shape = {tokens, sequences, options_.all_logits ? tokens : sequences, pages_, longest};
    // One token never gains from expanding the latents of all the others.
    const bool want_expanded =
        latent && (options_.latent_form == LatentForm::kExpanded ||
                   (options_.latent_form == LatentForm::kAuto && tokens > 1));
    if (want_expanded) {
      auto plan = MakePlan(bucket.shape, true);
      if (plan.ok()) bucket.expanded = *std::move(plan);
      // A device that cannot expand latents runs the other form alone, unless this one is asked for.
      const bool optional = options_.latent_form == LatentForm::kAuto;
      if (!optional || !absl::IsUnimplemented(plan.status())) {
        TANDEM_RETURN_IF_ERROR(plan.status());
      }
    }
    if (bucket.expanded == nullptr || options_.latent_form == LatentForm::kAuto) {
      TANDEM_ASSIGN_OR_RETURN(bucket.absorbed, MakePlan(bucket.shape, false));
    }
    if (bucket.expanded != nullptr && bucket.absorbed != nullptr) {
      const auto cost = [this](const Plan& plan) {
        const double none = PlanCost(plan, 0), all = PlanCost(plan, options_.context);
        return Bucket::Cost{none, (all - none) / static_cast<double>(options_.context)};
      };
      bucket.absorbed_cost = cost(*bucket.absorbed);
      bucket.expanded_cost = cost(*bucket.expanded);
    }
    buckets_.push_back(std::move(bucket));
    if (tokens == options_.micro_batch) return absl::OkStatus();
  }
}

std::vector<Plan*> StepRunner::AllPlans() const {
  std::vector<Plan*> plans;
  for (const Bucket& bucket : buckets_) {
    if (bucket.absorbed != nullptr) plans.push_back(bucket.absorbed.get());
    if (bucket.expanded != nullptr) plans.push_back(bucket.expanded.get());
  }
  return plans;
}

// A weight that is not wanted interleaved everywhere lies in rows.
std::map<StepRunner::Key, WeightLayout> StepRunner::CollectLayouts() const {
  std::map<Key, WeightLayout> layouts;
  for (const Plan* plan : AllPlans()) {
    for (const Plan::Resident& r : plan->weights()) {
      const Key key = {r.device, plan->graph().value(r.root).name};
      const auto [known, added] = layouts.emplace(key, r.preferred_layout);
      if (!added && known->second != r.preferred_layout) known->second = WeightLayout::kRows;
    }
  }
  return layouts;
}

absl::Status StepRunner::AllocateMemory() {
  std::map<Key, int64_t> caches;
  layout_of_ = CollectLayouts();
  for (const Plan* plan : AllPlans()) {
    for (size_t d = 0; d < devices_.size(); ++d) {
      memory_[d].arena = std::max(memory_[d].arena, plan->arena_bytes(static_cast<int>(d)));
    }
    for (const Plan::Resident& r : plan->states()) {
      caches[{r.device, plan->graph().value(r.root).name}] = plan->graph().StorageBytes(r.root);
    }
  }
  for (const auto& [key, bytes] : caches) memory_[static_cast<size_t>(key.first)].kv_cache += bytes;
  for (const auto& [key, layout] : layout_of_) {
    const Weight& weight = *model_->weights().Find(key.second);
    MemoryUse& use = memory_[static_cast<size_t>(key.first)];
    (IsUsedInPlace(key, weight) ? use.weights_mapped : use.weights_copied) += weight.bytes();
    address_of_[key] = nullptr;
  }
  TANDEM_RETURN_IF_ERROR(CheckMemory());
  if (model_->is_mapped() && !options_.map_weights) {
    TANDEM_RETURN_IF_ERROR(CopyMappedWeights());
  }
  for (size_t d = 0; d < devices_.size(); ++d) {
    TANDEM_ASSIGN_OR_RETURN(auto arena, devices_[d]->Allocate(memory_[d].arena));
    arenas_.push_back(std::move(arena));
  }
  for (const auto& [key, bytes] : caches) {
    TANDEM_ASSIGN_OR_RETURN(auto buffer, devices_[static_cast<size_t>(key.first)]->Allocate(bytes));
    address_of_[key] = buffer->data();
    buffers_.push_back(std::move(buffer));
  }
  return absl::OkStatus();
}

// A host device reads rows of any weight where they are, panels where it wants them.
bool StepRunner::IsUsedInPlace(const Key& key, const Weight& weight) const {
  const bool host = devices_[static_cast<size_t>(key.first)]->info().host_memory;
  const bool readable = weight.layout == WeightLayout::kRows || weight.layout == layout_of_.at(key);
  return host && weight.in_place() && readable;
}

HostWeights::Weights StepRunner::MappedWeights() const {
  HostWeights::Weights weights;
  for (const auto& [key, layout] : layout_of_) {
    const Weight& weight = *model_->weights().Find(key.second);
    if (!IsUsedInPlace(key, weight)) continue;
    const auto [known, added] = weights.emplace(key.second, HostWeights::Entry{&weight, layout});
    if (!added && known->second.layout != layout) known->second.layout = WeightLayout::kRows;
  }
  return weights;
}

// Leaves them where they are mapped if memory has no room for them beside all else.
absl::Status StepRunner::CopyMappedWeights() {
  const HostWeights::Weights weights = MappedWeights();
  int64_t needed = HostWeights::BytesFor(weights);
  for (const MemoryUse& use : memory_) needed += use.weights_copied + use.kv_cache + use.arena;
  if (weights.empty() || needed > AvailableMemory()) return absl::OkStatus();
  auto copies = HostWeights::Copy(weights, options_.threads, options_.progress);
  if (!copies.ok()) return Annotate(copies.status(), model_->path());
  copies_ = *std::move(copies);
  for (auto& [key, layout] : layout_of_) {
    const auto copy = weights.find(key.second);
    if (copy != weights.end()) layout = copy->second.layout;
  }
  for (MemoryUse& use : memory_) use.weights_copied += std::exchange(use.weights_mapped, 0);
  return absl::OkStatus();
}

absl::Status StepRunner::CheckMemory() const {
  for (size_t d = 0; d < devices_.size(); ++d) {
    const MemoryUse& use = memory_[d];
    const int64_t limit = devices_[d]->info().memory_bytes;
    const int64_t needed = use.weights_copied + use.kv_cache + use.arena;
    if (limit == 0 || needed <= limit) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat(use.device, ": the plan needs ", needed >> 20, " MiB (weights ",
                     use.weights_copied >> 20, ", KV cache ", use.kv_cache >> 20,
                     ", activations and workspaces ", use.arena >> 20, "), there are ", limit >> 20,
                     " MiB; a shorter context, fewer sessions or a smaller micro-batch need less"));
  }
  return absl::OkStatus();
}

absl::Status StepRunner::LoadWeights() {
  int64_t total = 0, done = 0;
  std::vector<Key> keys;
  for (const auto& [key, address] : address_of_) {
    const Weight* weight = model_->weights().Find(key.second);
    if (weight == nullptr) continue;
    keys.push_back(key);
    total += weight->bytes();
  }
  for (const Key& key : keys) {
    TANDEM_RETURN_IF_ERROR(LoadWeight(key));
    done += model_->weights().Find(key.second)->bytes();
    if (options_.progress && copies_ == nullptr)
      options_.progress(static_cast<double>(done) / static_cast<double>(total));
  }
  return absl::OkStatus();
}

absl::Status StepRunner::LoadWeight(const Key& key) {
  const Weight& weight = *model_->weights().Find(key.second);
  Device& device = *devices_[static_cast<size_t>(key.first)];
  std::byte* copy = copies_ != nullptr ? copies_->Find(key.second) : nullptr;
  if (IsUsedInPlace(key, weight)) {
    // Kernels take void* for what they only read; the mapping is read-only.
    address_of_[key] = copy != nullptr ? copy : const_cast<std::byte*>(weight.parts[0].data());
    if (copy == nullptr) layout_of_[key] = weight.layout;
    return absl::OkStatus();
  }
  if (weight.layout == WeightLayout::kRows && layout_of_.at(key) != WeightLayout::kRows &&
      !device.info().host_memory) {
    const absl::Status arranged = LoadOnDevice(key, weight);
    if (!absl::IsUnimplemented(arranged)) return arranged;
  }
  auto buffer = device.Allocate(weight.bytes());
  if (!buffer.ok()) return Annotate(buffer.status(), key.second);
  TANDEM_ASSIGN_OR_RETURN(auto stream, device.CreateStream());
  auto* to = static_cast<std::byte*>((*buffer)->data());
  for (const auto part : weight.parts) {
    TANDEM_RETURN_IF_ERROR(CopyPart(weight, part, layout_of_.at(key), *stream, to));
    to += part.size();
  }
  TANDEM_RETURN_IF_ERROR(stream->Synchronize());
  address_of_[key] = (*buffer)->data();
  buffers_.push_back(*std::move(buffer));
  return absl::OkStatus();
}

// Copies a piece of the rows at a time and has the device arrange it.
absl::Status StepRunner::LoadOnDevice(const Key& key, const Weight& weight) {
  Device& device = *devices_[static_cast<size_t>(key.first)];
  const int64_t width = weight.shape.back();
  const int64_t panel = kPanelRows * RowBytes(weight.dtype, width);
  const int64_t step = std::max<int64_t>(kStagingBytes / panel, 1) * panel;
  TANDEM_ASSIGN_OR_RETURN(auto buffer, device.Allocate(weight.bytes()));
  TANDEM_ASSIGN_OR_RETURN(const auto staging, device.Allocate(std::min(step, weight.bytes())));
  TANDEM_ASSIGN_OR_RETURN(const auto stream, device.CreateStream());
  auto* to = static_cast<std::byte*>(buffer->data());
  for (auto part : weight.parts) {
    while (!part.empty()) {
      const auto piece = part.first(std::min(static_cast<size_t>(step), part.size()));
      const auto bytes = static_cast<int64_t>(piece.size());
      TANDEM_RETURN_IF_ERROR(stream->CopyIn(staging->data(), piece.data(), bytes));
      TensorView view = MakeView(to, weight.dtype, {bytes / panel * kPanelRows, width});
      view.layout = layout_of_.at(key);
      TANDEM_RETURN_IF_ERROR(device.Arrange(*stream, staging->data(), view));
      part = part.subspan(piece.size());
      to += bytes;
    }
  }
  TANDEM_RETURN_IF_ERROR(stream->Synchronize());
  address_of_[key] = buffer->data();
  buffers_.push_back(std::move(buffer));
  return absl::OkStatus();
}

absl::Status StepRunner::BindPlans() {
  std::vector<void*> arenas;
  for (const auto& arena : arenas_) arenas.push_back(arena->data());
  for (Plan* plan : AllPlans()) {
    for (const Plan::Resident& r : plan->weights()) {
      plan->SetLayout(r.root, layout_of_.at({r.device, plan->graph().value(r.root).name}));
    }
    TANDEM_RETURN_IF_ERROR(plan->Bind(arenas, [&](const Plan::Resident& r) {
      return address_of_[{r.device, plan->graph().value(r.root).name}];
    }));
  }
  return absl::OkStatus();
}

const StepRunner::Bucket& StepRunner::BucketFor(int64_t tokens) const {
  const auto it = std::ranges::lower_bound(buckets_, tokens, {}, &Bucket::tokens);
  return it == buckets_.end() ? buckets_.back() : *it;
}

const Plan& StepRunner::Choose(const Bucket& bucket, int64_t keys) const {
  if (bucket.expanded == nullptr) return *bucket.absorbed;
  if (bucket.absorbed == nullptr) return *bucket.expanded;
  const auto seconds = [keys](const Bucket::Cost& cost) {
    return cost.fixed + cost.per_key * static_cast<double>(keys);
  };
  return seconds(bucket.expanded_cost) < seconds(bucket.absorbed_cost) ? *bucket.expanded
                                                                       : *bucket.absorbed;
}

absl::Status StepRunner::Run(std::span<const SequenceStep> sequences) {
  int64_t tokens = 0, rows = 0, keys = 0;
  for (const SequenceStep& s : sequences) {
    const auto count = static_cast<int64_t>(s.tokens.size());
    tokens += count;
    rows += CountRows(s);
    keys = std::max(keys, s.position + count);
  }
  const Bucket& bucket = BucketFor(tokens);
  const auto count = static_cast<int64_t>(sequences.size());
  if (tokens < 1 || tokens > bucket.shape.tokens || count > bucket.shape.sequences ||
      rows > bucket.shape.outputs || keys > options_.context) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a step of ", tokens, " tokens, ", count, " sequences, ", rows, " rows of logits and ",
        keys, " keys does not fit a plan for ", bucket.shape.tokens, ", ", bucket.shape.sequences,
        ", ", bucket.shape.outputs, " and ", options_.context));
  }
  const Plan& plan = Choose(bucket, keys);
  inputs_.Fill(sequences, bucket.shape.pages_per_sequence);
  for (const auto& [name, values] : inputs_.All()) {
    TANDEM_RETURN_IF_ERROR(
        executor_->SetInput(plan, name, values.data(), static_cast<int64_t>(values.size_bytes())));
  }
  TANDEM_RETURN_IF_ERROR(executor_->Run(plan));
  last_ = &plan;
  return ReadLogits(plan, sequences);
}

absl::Status StepRunner::ReadLogits(const Plan& plan, std::span<const SequenceStep> sequences) {
  const auto vocab = static_cast<size_t>(model_->config().vocab);
  size_t rows = 0;
  for (const SequenceStep& s : sequences) rows += static_cast<size_t>(CountRows(s));
  if (rows == 0) return absl::OkStatus();
  if (sequences.size() == 1) {
    return executor_->GetOutput(plan, port::kLogits, sequences[0].logits,
                                static_cast<int64_t>(rows * vocab * sizeof(float)));
  }
  logits_.resize(std::max(logits_.size(), rows * vocab));
  TANDEM_RETURN_IF_ERROR(executor_->GetOutput(plan, port::kLogits, logits_.data(),
                                              static_cast<int64_t>(rows * vocab * sizeof(float))));
  const float* from = logits_.data();
  for (const SequenceStep& s : sequences) {
    const size_t count = static_cast<size_t>(CountRows(s)) * vocab;
    std::copy_n(from, count, s.logits);
    from += count;
  }
  return absl::OkStatus();
}

absl::Status StepRunner::ReadRouting(int64_t layer, std::span<int32_t> ids) {
  if (last_ == nullptr) return absl::FailedPreconditionError("no step has run");
  return executor_->GetOutput(*last_, port::Routing(layer), ids.data(),
                              static_cast<int64_t>(ids.size_bytes()));
}

std::vector<MemoryUse> StepRunner::memory() const { return memory_; }

absl::StatusOr<Work> StepRunner::WorkOfStep(const StepLoad& load) const {
  const int64_t share = load.sequences > 0 ? load.tokens / load.sequences : 0;
  const int64_t keys = load.depth + share;
  if (share < 1 || load.tokens > options_.micro_batch || load.sequences > options_.max_sessions ||
      load.depth < 0 || keys > options_.context) {
    return absl::InvalidArgumentError(absl::StrCat("no step has ", load.tokens, " tokens of ",
                                                   load.sequences, " sequences at a depth of ",
                                                   load.depth));
  }
  const Bucket& bucket = BucketFor(load.tokens);
  const bool expanded = &Choose(bucket, keys) == bucket.expanded.get();
  const StepShape shape = {load.tokens, load.sequences, load.sequences, pages_, PagesFor(keys)};
  TANDEM_ASSIGN_OR_RETURN(const auto plan, MakePlan(shape, expanded));
  // All keys are read once; a token sees those before it, which is half of its own step's.
  const int64_t visible = load.depth + (share + 1) / 2;
  Work sum;
  for (const Node& node : plan->graph().nodes) {
    const KernelArgs args = LowerNode(plan->graph(), node, [](ValueId) { return nullptr; });
    // From here on there are only rows whose logits are wanted.
    if (GetKernelId(args) == KernelId::kGatherRows && !load.logits) break;
    sum.bytes += WorkOf(args, keys).bytes;
    sum.flops += WorkOf(args, visible).flops;
  }
  return sum;
}

std::string StepRunner::DescribePlan(int64_t tokens) const {
  const Bucket& bucket = BucketFor(tokens);
  return DumpPlan(Choose(bucket, std::min(tokens, options_.context)));
}

}  // namespace tandem
