// A cursor over bytes that are not trusted: every read is checked against what is left.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "backends/device/status.h"

namespace tandem {

static_assert(std::endian::native == std::endian::little,
              "model files are little endian and are read in place");

// The number at `bytes[offset]`, which need not be aligned. The caller has checked the range.
template <typename T>
T LoadNumber(std::span<const std::byte> bytes, uint64_t offset) {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  // The next `n` bytes, in place. `what` is named in the error if the input ends before.
  absl::StatusOr<std::span<const std::byte>> ReadBytes(uint64_t n, std::string_view what) {
    if (n > remaining()) return EndOfInput(n, what);
    const auto result = bytes_.subspan(position_, n);
    position_ += n;
    return result;
  }

  template <typename T>
  absl::StatusOr<T> ReadNumber(std::string_view what) {
    if (sizeof(T) > remaining()) return EndOfInput(sizeof(T), what);
    const T value = LoadNumber<T>(bytes_, position_);
    position_ += sizeof(T);
    return value;
  }

  // A length of 8 bytes, then that many bytes of text, in place.
  absl::StatusOr<std::string_view> ReadString(std::string_view what) {
    TANDEM_ASSIGN_OR_RETURN(const uint64_t length, ReadNumber<uint64_t>(what));
    if (length > remaining()) return EndOfInput(length, what);
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += length;
    return std::string_view(text, length);
  }

 private:
  absl::Status EndOfInput(uint64_t wanted, std::string_view what) const {
    return absl::OutOfRangeError(absl::StrCat("the file ends inside ", Text(what), ": ", wanted,
                                              " bytes are needed at offset ", position_, ", ",
                                              remaining(), " are left"));
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

}  // namespace tandem
