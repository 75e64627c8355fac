#include "backends/device/host_device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "backends/device/status.h"

namespace tandem {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

class HostBuffer final : public Buffer {
 public:
  HostBuffer(void* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  ~HostBuffer() override { std::free(data_); }
  void* data() const override { return data_; }
  int64_t bytes() const override { return bytes_; }

 private:
  void* data_;
  int64_t bytes_;
};

class HostEvent final : public Event {
 public:
  absl::Status Synchronize() override { return absl::OkStatus(); }
};

class HostStream final : public Stream {
 public:
  absl::Status CopyIn(void* dst, const void* src, int64_t bytes) override {
    if (bytes > 0) std::memcpy(dst, src, static_cast<size_t>(bytes));
    return absl::OkStatus();
  }
  absl::Status CopyOut(void* dst, const void* src, int64_t bytes) override {
    return CopyIn(dst, src, bytes);
  }
  absl::Status Record(Event&) override { return absl::OkStatus(); }
  absl::Status Wait(Event&) override { return absl::OkStatus(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }
};

class TableExecutable final : public Executable {
 public:
  TableExecutable(std::shared_ptr<const KernelTable> table, Program program)
      : table_(std::move(table)), program_(std::move(program)) {}

  absl::Status Run(Stream&) override {
    for (const Call& call : program_.calls) {
      table_->Find(call.id())->run(call.args, call.workspace);
    }
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const KernelTable> table_;
  Program program_;
};

}  // namespace

const KernelTable::Entry* KernelTable::Find(KernelId id) const {
  const Entry& entry = entries_[static_cast<size_t>(id)];
  return entry.run ? &entry : nullptr;
}

HostDevice::HostDevice(DeviceInfo info, KernelTable table, Work rates)
    : info_(std::move(info)),
      table_(std::make_shared<const KernelTable>(std::move(table))),
      rates_(rates) {
  info_.host_memory = true;
}

absl::StatusOr<std::unique_ptr<Buffer>> HostDevice::Allocate(int64_t bytes) {
  auto buffer = AllocateHost(bytes);
  if (!buffer.ok()) return Annotate(buffer.status(), info_.name);
  return buffer;
}

absl::StatusOr<std::unique_ptr<Stream>> HostDevice::CreateStream() { return CreateHostStream(); }
absl::StatusOr<std::unique_ptr<Event>> HostDevice::CreateEvent() { return CreateHostEvent(); }

absl::Status HostDevice::Supports(const KernelArgs& args) const {
  const KernelTable::Entry* entry = table_->Find(GetKernelId(args));
  if (entry == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(info_.name, " has no kernel ", Text(KernelName(GetKernelId(args)))));
  }
  for (const TensorView& view : Reads(args)) {
    if (view.layout != WeightLayout::kRows) {
      return absl::UnimplementedError(absl::StrCat(Text(info_.name), " reads weights row by row"));
    }
  }
  return entry->supports(args);
}

int64_t HostDevice::WorkspaceBytes(const KernelArgs& args) const {
  const KernelTable::Entry* entry = table_->Find(GetKernelId(args));
  return entry == nullptr ? 0 : entry->workspace_bytes(args);
}

double HostDevice::Cost(const KernelArgs& args, int64_t kv_tokens) const {
  const Work work = WorkOf(args, kv_tokens);
  return work.bytes / rates_.bytes + work.flops / rates_.flops;
}

absl::StatusOr<std::unique_ptr<Executable>> HostDevice::Prepare(Program program) {
  TANDEM_RETURN_IF_ERROR(CheckProgram(*this, program));
  return std::make_unique<TableExecutable>(table_, std::move(program));
}

absl::StatusOr<std::unique_ptr<Buffer>> AllocateHost(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t{1} << 62)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  }
  // Large buffers ask for huge pages: caches are read from end to end.
  const bool huge = bytes >= static_cast<int64_t>(2 * kHugePage);
  const size_t alignment = huge ? kHugePage : kAlignment;
  const size_t size = (static_cast<size_t>(bytes) + alignment) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, size);
  if (data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
  }
  if (huge) madvise(data, size, MADV_HUGEPAGE);  // a hint; may be refused
  return std::make_unique<HostBuffer>(data, bytes);
}

std::unique_ptr<Stream> CreateHostStream() { return std::make_unique<HostStream>(); }
std::unique_ptr<Event> CreateHostEvent() { return std::make_unique<HostEvent>(); }

absl::Status CheckProgram(const Device& device, const Program& program) {
  for (const Call& call : program.calls) {
    TANDEM_RETURN_IF_ERROR(Annotate(device.Supports(call.args), call.name));
    const int64_t needed = device.WorkspaceBytes(call.args);
    if (call.workspace.bytes < needed) {
      return absl::InvalidArgumentError(absl::StrCat(call.name, ": workspace of ",
                                                     call.workspace.bytes, " bytes, ",
                                                     device.info().name, " needs ", needed));
    }
  }
  return absl::OkStatus();
}

}  // namespace tandem
