#include "backends/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "backends/device/status.h"

namespace tandem::cuda {
namespace {

CUdeviceptr Address(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }

}  // namespace

absl::StatusOr<std::unique_ptr<Staging>> Staging::Create(std::shared_ptr<Context> context) {
  auto staging = std::unique_ptr<Staging>(new Staging(std::move(context)));
  const Driver& d = staging->context_->driver();
  const ContextScope scope(d, staging->context_->handle());
  TANDEM_RETURN_IF_ERROR(scope.status());
  void* memory = nullptr;
  TANDEM_RETURN_IF_ERROR(
      d.Check(d.MemHostAlloc(&memory, kPieces * kPieceBytes, 0), "pinned host memory for copies"));
  staging->memory_ = static_cast<std::byte*>(memory);
  for (CUevent& event : staging->done_) {
    TANDEM_RETURN_IF_ERROR(
        d.Check(d.EventCreate(&event, CU_EVENT_DISABLE_TIMING), "creating an event"));
  }
  return staging;
}

Staging::~Staging() {
  const Driver& d = context_->driver();
  const ContextScope scope(d, context_->handle());
  for (CUevent event : done_) {
    if (event == nullptr) continue;
    d.EventSynchronize(event);
    d.EventDestroy(event);
  }
  if (memory_ != nullptr) d.MemFreeHost(memory_);
}

absl::StatusOr<int> Staging::NextPiece() {
  const Driver& d = context_->driver();
  const int i = next_;
  TANDEM_RETURN_IF_ERROR(d.Check(d.EventSynchronize(done_[i]), "waiting for a copy"));
  next_ = (next_ + 1) % kPieces;
  return i;
}

absl::Status Staging::CopyIn(CUstream stream, void* device_dst, const void* host_src,
                             int64_t bytes) {
  const Driver& d = context_->driver();
  const std::lock_guard lock(mutex_);
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t n = std::min(kPieceBytes, bytes - at);
    TANDEM_ASSIGN_OR_RETURN(const int i, NextPiece());
    std::memcpy(piece(i), static_cast<const std::byte*>(host_src) + at, static_cast<size_t>(n));
    TANDEM_RETURN_IF_ERROR(
        d.Check(d.MemcpyHtoDAsync(Address(device_dst) + static_cast<CUdeviceptr>(at), piece(i),
                                  static_cast<size_t>(n), stream),
                "a copy to the GPU"));
    TANDEM_RETURN_IF_ERROR(d.Check(d.EventRecord(done_[i], stream), "recording an event"));
  }
  return absl::OkStatus();
}

absl::Status Staging::CopyOut(CUstream stream, void* host_dst, const void* device_src,
                              int64_t bytes) {
  const Driver& d = context_->driver();
  const std::lock_guard lock(mutex_);
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t n = std::min(kPieceBytes, bytes - at);
    TANDEM_ASSIGN_OR_RETURN(const int i, NextPiece());
    TANDEM_RETURN_IF_ERROR(
        d.Check(d.MemcpyDtoHAsync(piece(i), Address(device_src) + static_cast<CUdeviceptr>(at),
                                  static_cast<size_t>(n), stream),
                "a copy from the GPU"));
    TANDEM_RETURN_IF_ERROR(d.Check(d.StreamSynchronize(stream), "a copy from the GPU"));
    std::memcpy(static_cast<std::byte*>(host_dst) + at, piece(i), static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace tandem::cuda
