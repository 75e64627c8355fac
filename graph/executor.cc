#include "graph/executor.h"

#include <algorithm>

#include "backends/device/status.h"

namespace tandem {

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(std::vector<Device*> devices) {
  auto executor = std::unique_ptr<Executor>(new Executor(std::move(devices)));
  for (Device* device : executor->devices_) {
    TANDEM_ASSIGN_OR_RETURN(auto stream, device->CreateStream());
    executor->streams_.push_back(std::move(stream));
  }
  return executor;
}

absl::Status Executor::SetInput(const Plan& plan, std::string_view name, const void* data,
                                int64_t bytes) {
  for (const Plan::Port& port : plan.inputs()) {
    if (port.name != name) continue;
    if (bytes < 0 || bytes > port.bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", Text(name), " holds ", port.bytes, " bytes, not ", bytes));
    }
    TANDEM_RETURN_IF_ERROR(
        streams_[static_cast<size_t>(port.device)]->CopyIn(port.data, data, bytes));
  }
  return absl::OkStatus();
}

// The source must be ready, and the destination free of work that still uses its old content; when
// this returns, the copy is made, so that what follows may reuse the source.
absl::Status Executor::Copy(const Plan::BoundTransfer& transfer) {
  Stream& from = *streams_[static_cast<size_t>(transfer.from)];
  Stream& to = *streams_[static_cast<size_t>(transfer.to)];
  TANDEM_RETURN_IF_ERROR(from.Synchronize());
  if (devices_[static_cast<size_t>(transfer.from)]->info().host_memory) {
    TANDEM_RETURN_IF_ERROR(to.CopyIn(transfer.dst, transfer.src, transfer.bytes));
    return to.Synchronize();
  }
  if (devices_[static_cast<size_t>(transfer.to)]->info().host_memory) {
    TANDEM_RETURN_IF_ERROR(to.Synchronize());
    TANDEM_RETURN_IF_ERROR(from.CopyOut(transfer.dst, transfer.src, transfer.bytes));
    return from.Synchronize();
  }
  staging_.resize(std::max(staging_.size(), static_cast<size_t>(transfer.bytes)));
  TANDEM_RETURN_IF_ERROR(from.CopyOut(staging_.data(), transfer.src, transfer.bytes));
  TANDEM_RETURN_IF_ERROR(from.Synchronize());
  TANDEM_RETURN_IF_ERROR(to.CopyIn(transfer.dst, staging_.data(), transfer.bytes));
  return to.Synchronize();
}

absl::Status Executor::RunSteps(const Plan& plan) {
  for (const Plan::Step& step : plan.steps()) {
    for (const Plan::BoundTransfer& transfer : step.transfers) {
      TANDEM_RETURN_IF_ERROR(Copy(transfer));
    }
    TANDEM_RETURN_IF_ERROR(RunStep(step));
  }
  return absl::OkStatus();
}

absl::Status Executor::RunStep(const Plan::Step& step) {
  Stream& stream = *streams_[static_cast<size_t>(step.device)];
  if (timing_) {
    auto times = step.executable->RunTimed(stream);
    if (!absl::IsUnimplemented(times.status())) {
      TANDEM_RETURN_IF_ERROR(times.status());
      times_.insert(times_.end(), times->begin(), times->end());
      return absl::OkStatus();
    }
  }
  return step.executable->Run(stream);
}

absl::Status Executor::Run(const Plan& plan) {
  if (plan.steps().empty()) return absl::FailedPreconditionError("the plan is not bound to memory");
  absl::Status status = RunSteps(plan);
  // After an error too: other devices may still use the inputs.
  for (auto& stream : streams_) status.Update(stream->Synchronize());
  return status;
}

absl::Status Executor::GetOutput(const Plan& plan, std::string_view name, void* data,
                                 int64_t bytes) {
  TANDEM_ASSIGN_OR_RETURN(const Plan::Port port, plan.output(name));
  if (bytes < 0 || bytes > port.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("output ", Text(name), " holds ", port.bytes, " bytes, not ", bytes));
  }
  Stream& stream = *streams_[static_cast<size_t>(port.device)];
  TANDEM_RETURN_IF_ERROR(stream.CopyOut(data, port.data, bytes));
  return stream.Synchronize();
}

}  // namespace tandem
