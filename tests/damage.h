// Makes damaged copies of model files, to show that no reader trusts one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tandem {

// A copy of `file` with damage that depends on the file and `seed` alone: bytes or bits changed
// near the front, where the headers are; the end cut off; a piece left out, repeated or zeroed; or
// a word of 4 or 8 bytes replaced by a length that is much too large. Never equal to `file` unless
// that is empty.
std::vector<std::byte> Damage(std::span<const std::byte> file, uint64_t seed);

}  // namespace tandem
