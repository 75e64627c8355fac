// Pinned host memory through which pageable memory is copied.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "backends/cuda/context.h"

namespace tandem::cuda {

// A ring of pieces. Safe from several threads.
class Staging {
 public:
  static absl::StatusOr<std::unique_ptr<Staging>> Create(std::shared_ptr<Context> context);
  ~Staging();

  // Queues the copy on the stream. The source may be reused when this returns.
  absl::Status CopyIn(CUstream stream, void* device_dst, const void* host_src, int64_t bytes);
  // Waits for what is queued on the stream and for the copy.
  absl::Status CopyOut(CUstream stream, void* host_dst, const void* device_src, int64_t bytes);

 private:
  static constexpr int kPieces = 32;
  static constexpr int64_t kPieceBytes = int64_t{512} << 10;

  explicit Staging(std::shared_ptr<Context> context) : context_(std::move(context)) {}
  // The next piece, free of copies. Locked.
  absl::StatusOr<int> NextPiece();
  std::byte* piece(int i) const { return memory_ + i * kPieceBytes; }

  std::shared_ptr<Context> context_;
  std::mutex mutex_;
  std::byte* memory_ = nullptr;
  std::array<CUevent, kPieces> done_ = {};
  int next_ = 0;
};

}  // namespace tandem::cuda
