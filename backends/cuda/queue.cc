#include "backends/cuda/queue.h"

#include <utility>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

class GpuBuffer final : public Buffer {
 public:
  GpuBuffer(std::shared_ptr<Context> context, CUdeviceptr address, int64_t bytes)
      : context_(std::move(context)), address_(address), bytes_(bytes) {}
  ~GpuBuffer() override {
    const ContextScope scope(context_->driver(), context_->handle());
    if (address_ != 0) context_->driver().MemFree(address_);
  }
  void* data() const override { return reinterpret_cast<void*>(address_); }
  int64_t bytes() const override { return bytes_; }

 private:
  std::shared_ptr<Context> context_;
  CUdeviceptr address_;
  int64_t bytes_;
};

class GpuEvent final : public Event {
 public:
  GpuEvent(std::shared_ptr<Context> context, CUevent event)
      : context_(std::move(context)), event_(event) {}
  ~GpuEvent() override {
    const ContextScope scope(context_->driver(), context_->handle());
    context_->driver().EventDestroy(event_);
  }
  absl::Status Synchronize() override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->driver().Check(context_->driver().EventSynchronize(event_),
                                    "waiting for the GPU");
  }
  CUevent handle() const { return event_; }

 private:
  std::shared_ptr<Context> context_;
  CUevent event_;
};

class GpuStream final : public Stream {
 public:
  GpuStream(std::shared_ptr<Context> context, std::shared_ptr<Staging> staging, CUstream stream)
      : context_(std::move(context)), staging_(std::move(staging)), stream_(stream) {}
  ~GpuStream() override {
    const ContextScope scope(context_->driver(), context_->handle());
    context_->driver().StreamSynchronize(stream_);
    context_->driver().StreamDestroy(stream_);
  }

  absl::Status CopyIn(void* device_dst, const void* host_src, int64_t bytes) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return staging_->CopyIn(stream_, device_dst, host_src, bytes);
  }
  absl::Status CopyOut(void* host_dst, const void* device_src, int64_t bytes) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return staging_->CopyOut(stream_, host_dst, device_src, bytes);
  }
  absl::Status Record(Event& event) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->driver().Check(
        context_->driver().EventRecord(static_cast<GpuEvent&>(event).handle(), stream_),
        "recording an event");
  }
  absl::Status Wait(Event& event) override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->driver().Check(
        context_->driver().StreamWaitEvent(stream_, static_cast<GpuEvent&>(event).handle(), 0),
        "waiting for an event");
  }
  absl::Status Synchronize() override {
    const ContextScope scope(context_->driver(), context_->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    return context_->driver().Check(context_->driver().StreamSynchronize(stream_),
                                    "work on the GPU");
  }
  CUstream handle() const { return stream_; }

 private:
  std::shared_ptr<Context> context_;
  std::shared_ptr<Staging> staging_;
  CUstream stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnGpu(std::shared_ptr<Context> context,
                                                      int64_t bytes) {
  if (bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  }
  CUdeviceptr address = 0;
  if (bytes > 0) {
    const Driver& d = context->driver();
    const ContextScope scope(d, context->handle());
    TANDEM_RETURN_IF_ERROR(scope.status());
    TANDEM_RETURN_IF_ERROR(d.Check(d.MemAlloc(&address, static_cast<size_t>(bytes)),
                                   absl::StrCat(bytes, " bytes on ", context->name())));
  }
  return std::make_unique<GpuBuffer>(std::move(context), address, bytes);
}

absl::StatusOr<std::unique_ptr<Stream>> CreateGpuStream(std::shared_ptr<Context> context,
                                                        std::shared_ptr<Staging> staging) {
  const Driver& d = context->driver();
  const ContextScope scope(d, context->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  CUstream stream = nullptr;
  TANDEM_RETURN_IF_ERROR(
      d.Check(d.StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "creating a stream"));
  return std::make_unique<GpuStream>(std::move(context), std::move(staging), stream);
}

absl::StatusOr<std::unique_ptr<Event>> CreateGpuEvent(std::shared_ptr<Context> context) {
  const Driver& d = context->driver();
  const ContextScope scope(d, context->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  CUevent event = nullptr;
  TANDEM_RETURN_IF_ERROR(
      d.Check(d.EventCreate(&event, CU_EVENT_DISABLE_TIMING), "creating an event"));
  return std::make_unique<GpuEvent>(std::move(context), event);
}

CUstream HandleOf(Stream& stream) { return static_cast<GpuStream&>(stream).handle(); }

}  // namespace tandem::cuda
