// A device with one seeded fault, to test that the conformance suite finds it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "backends/device/host_device.h"
#include "backends/device/status.h"
#include "backends/reference/reference_device.h"

namespace tandem {

// The fault of a device that is right otherwise. Parts that are absent change nothing.
struct Fault {
  std::string name;
  KernelId kernel;
  // Runs instead of the kernel; `reference` is the kernel as it should be.
  using Run = std::function<void(const KernelArgs&)>;
  std::function<void(KernelArgs, const Workspace&, const Run& reference)> run;
  std::function<int64_t(const KernelArgs&)> workspace_bytes;
  std::function<absl::Status(const KernelArgs&)> supports;
  std::function<absl::Status(const KernelArgs&)> prepare;  // instead of asking Supports
};

class BrokenDevice final : public Device {
 public:
  explicit BrokenDevice(Fault fault) : fault_(std::move(fault)) {}

  const DeviceInfo& info() const override { return reference_->info(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override {
    return reference_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override {
    return reference_->CreateStream();
  }
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override {
    return reference_->CreateEvent();
  }
  absl::Status Supports(const KernelArgs& args) const override {
    if (Concerns(args) && fault_.supports) return fault_.supports(args);
    return reference_->Supports(args);
  }
  int64_t WorkspaceBytes(const KernelArgs& args) const override {
    if (Concerns(args) && fault_.workspace_bytes) return fault_.workspace_bytes(args);
    return reference_->WorkspaceBytes(args);
  }
  double Cost(const KernelArgs& args, int64_t kv_tokens) const override {
    return reference_->Cost(args, kv_tokens);
  }
  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override {
    for (const Call& call : program.calls) {
      TANDEM_RETURN_IF_ERROR(fault_.prepare && Concerns(call.args) ? fault_.prepare(call.args)
                                                                   : Supports(call.args));
    }
    return std::make_unique<BrokenExecutable>(*this, std::move(program));
  }

 private:
  class BrokenExecutable final : public Executable {
   public:
    BrokenExecutable(BrokenDevice& device, Program program)
        : device_(device), program_(std::move(program)) {}

    absl::Status Run(Stream& stream) override {
      absl::Status status;
      const auto reference = [&](const KernelArgs& args) {
        Program one;
        one.calls.push_back({.args = args, .name = "call"});
        auto executable = device_.reference_->Prepare(std::move(one));
        status.Update(executable.ok() ? (*executable)->Run(stream) : executable.status());
      };
      for (const Call& call : program_.calls) {
        if (device_.Concerns(call.args) && device_.fault_.run) {
          device_.fault_.run(call.args, call.workspace, reference);
        } else {
          reference(call.args);
        }
      }
      return status;
    }

   private:
    BrokenDevice& device_;
    Program program_;
  };

  bool Concerns(const KernelArgs& args) const { return GetKernelId(args) == fault_.kernel; }

  Fault fault_;
  std::unique_ptr<Device> reference_ = CreateReferenceDevice();
};

}  // namespace tandem
