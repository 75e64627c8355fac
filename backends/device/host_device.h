// A device in host memory made from a table of functions: all that a simple backend needs.
//
//   KernelTable table;
//   table.Add<AddArgs>(SupportsAdd, RunAdd);
//   return std::make_unique<HostDevice>(DeviceInfo{.name = "mine"}, std::move(table));
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <variant>

#include "backends/device/device.h"

namespace tandem {

// For each kernel: which arguments it takes, how much workspace it needs, and the function.
class KernelTable {
 public:
  struct Entry {
    std::function<absl::Status(const KernelArgs&)> supports;
    std::function<int64_t(const KernelArgs&)> workspace_bytes;
    std::function<void(const KernelArgs&, const Workspace&)> run;
  };

  // `supports`: absl::Status(const Args&). `run`: void(const Args&).
  template <typename Args, typename Supports, typename Run>
  void Add(Supports supports, Run run) {
    AddWithWorkspace<Args>(
        supports, [](const Args&) { return int64_t{0}; },
        [run](const Args& args, const Workspace&) { run(args); });
  }

  // `bytes`: int64_t(const Args&). `run`: void(const Args&, const Workspace&).
  template <typename Args, typename Supports, typename Bytes, typename Run>
  void AddWithWorkspace(Supports supports, Bytes bytes, Run run) {
    entries_[KernelArgs(Args()).index()] = {
        [supports](const KernelArgs& args) { return supports(std::get<Args>(args)); },
        [bytes](const KernelArgs& args) { return bytes(std::get<Args>(args)); },
        [run](const KernelArgs& args, const Workspace& workspace) {
          run(std::get<Args>(args), workspace);
        }};
  }

  // Null if the kernel was not added.
  const Entry* Find(KernelId id) const;

 private:
  std::array<Entry, kKernelCount> entries_;
};

// Runs each call of a program in turn on the thread that calls Executable::Run.
class HostDevice : public Device {
 public:
  // info.host_memory is set. Work rates for Cost, in bytes and FLOPs a second.
  HostDevice(DeviceInfo info, KernelTable table, Work rates = {1e9, 1e9});

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(int64_t bytes) override;
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream() override;
  absl::StatusOr<std::unique_ptr<Event>> CreateEvent() override;
  absl::Status Supports(const KernelArgs& args) const override;
  int64_t WorkspaceBytes(const KernelArgs& args) const override;
  double Cost(const KernelArgs& args, int64_t kv_tokens) const override;
  absl::StatusOr<std::unique_ptr<Executable>> Prepare(Program program) override;

 private:
  DeviceInfo info_;
  std::shared_ptr<const KernelTable> table_;
  Work rates_;
};

// The parts of HostDevice, for backends that run programs in a way of their own.
// Memory of the host, aligned to 64 bytes; ResourceExhausted when there is none.
absl::StatusOr<std::unique_ptr<Buffer>> AllocateHost(int64_t bytes);
// A stream that does everything at once, on the calling thread.
std::unique_ptr<Stream> CreateHostStream();
// An event that is always reached.
std::unique_ptr<Event> CreateHostEvent();
// Unimplemented, naming the device, the call and the reason, for the first unsupported call.
absl::Status CheckProgram(const Device& device, const Program& program);

}  // namespace tandem
