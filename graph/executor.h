// Runs plans.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/plan.h"

namespace tandem {

// Streams and staging for the plans of one set of devices. One thread at a time.
class Executor {
 public:
  // `devices` as given to the plans; they must outlive the executor.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(std::vector<Device*> devices);

  // Copies `bytes` bytes to the start of the input, on each device that reads it. An input that no
  // node reads is accepted. InvalidArgument if it is smaller than `bytes`. The copy may be made
  // later: `data` must stay as it is until Run returns.
  absl::Status SetInput(const Plan& plan, std::string_view name, const void* data, int64_t bytes);
  // Runs all steps of a plan and waits for the last; no work is left when it returns, with an error
  // or without. FailedPrecondition if it is not bound.
  absl::Status Run(const Plan& plan);
  // From now on runs kernel by kernel on devices that can, and keeps their times; or no longer.
  void set_timing(bool on) {
    if (on) times_.clear();
    timing_ = on;
  }
  // Of the runs since timing was last switched on, one entry for each kernel of each call.
  const std::vector<KernelTime>& times() const { return times_; }

  // Copies the first `bytes` bytes of an output.
  absl::Status GetOutput(const Plan& plan, std::string_view name, void* data, int64_t bytes);

 private:
  explicit Executor(std::vector<Device*> devices) : devices_(std::move(devices)) {}
  absl::Status RunSteps(const Plan& plan);
  absl::Status RunStep(const Plan::Step& step);
  absl::Status Copy(const Plan::BoundTransfer& transfer);

  std::vector<Device*> devices_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<char> staging_;
  bool timing_ = false;
  std::vector<KernelTime> times_;
};

}  // namespace tandem
