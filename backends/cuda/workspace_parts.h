// Divides a workspace into aligned parts. The same calls with a null workspace count its bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tandem::cuda {

class WorkspaceParts {
 public:
  explicit WorkspaceParts(void* data = nullptr) : data_(static_cast<std::byte*>(data)) {}

  template <class T>
  T* Take(int64_t count) {
    std::byte* part = data_ == nullptr ? nullptr : data_ + bytes_;
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(part);
  }

  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kAlignment = 256;
  std::byte* data_;
  int64_t bytes_ = 0;
};

}  // namespace tandem::cuda
