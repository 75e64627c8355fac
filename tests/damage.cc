#include "tests/damage.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace tandem {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every platform, which the
// distributions of the standard library are not.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, n), n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }

 private:
  uint64_t state_;
};

using Bytes = std::vector<std::byte>;

// A position that is likely in the headers: half of all within the first 256 bytes, half within
// the first sixteenth of the file or 64 KiB.
uint64_t Position(Random& random, uint64_t size) {
  const uint64_t near = std::min<uint64_t>(size, 256);
  const uint64_t far = std::min(size, std::max<uint64_t>(size / 16, 65536));
  return random.Below(random.Below(2) == 0 ? near : far);
}

void FlipBits(Random& random, Bytes& bytes) {
  for (uint64_t n = 1 + random.Below(4); n > 0; --n) {
    bytes[Position(random, bytes.size())] ^= std::byte(1) << random.Below(8);
  }
}

void ReplaceBytes(Random& random, Bytes& bytes) {
  for (uint64_t n = 1 + random.Below(8); n > 0; --n) {
    bytes[Position(random, bytes.size())] = static_cast<std::byte>(random.Below(256));
  }
}

void Cut(Random& random, Bytes& bytes) {
  const bool in_header = random.Below(2) == 0;
  bytes.resize(in_header ? Position(random, bytes.size()) : random.Below(bytes.size()));
}

void BlowUpLength(Random& random, Bytes& bytes) {
  constexpr uint64_t kLengths[] = {
      0,          0xff,       0x7fffffff,    0x80000000,         0xffffffff,
      1ull << 32, 1ull << 40, 1ull << 60,    0x7fffffffffffffff, 1ull << 63,
      ~0ull,      ~0ull - 7,  0x10000000000, 0x5555555555555555, 0x2000000000000001,
  };
  const uint64_t length = kLengths[random.Below(std::size(kLengths))];
  const uint64_t width = std::min<uint64_t>(random.Below(2) == 0 ? 4 : 8, bytes.size());
  const uint64_t position = std::min(Position(random, bytes.size()), bytes.size() - width);
  std::memcpy(bytes.data() + position, &length, width);
}

void ChangePiece(Random& random, Bytes& bytes) {
  const uint64_t begin = Position(random, bytes.size());
  const uint64_t length = 1 + random.Below(std::min<uint64_t>(bytes.size() - begin, 64));
  const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto last = first + static_cast<std::ptrdiff_t>(length);
  switch (random.Below(3)) {
    case 0:
      bytes.erase(first, last);
      return;
    case 1:
      std::fill(first, last, std::byte{0});
      return;
    default:
      const Bytes piece(first, last);
      bytes.insert(last, piece.begin(), piece.end());
  }
}

}  // namespace

std::vector<std::byte> Damage(std::span<const std::byte> file, uint64_t seed) {
  constexpr void (*kKinds[])(Random&, Bytes&) = {FlipBits, ReplaceBytes, Cut, BlowUpLength,
                                                 ChangePiece};
  Bytes bytes(file.begin(), file.end());
  Random random(seed);
  // Some damage changes nothing (zeros zeroed), so go on until there is a difference.
  while (!file.empty() && std::ranges::equal(bytes, file)) {
    kKinds[random.Below(std::size(kKinds))](random, bytes);
  }
  return bytes;
}

}  // namespace tandem
