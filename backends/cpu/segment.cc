#include "backends/cpu/segment.h"

#include <algorithm>
#include <utility>

namespace tandem::cpu {
namespace {

constexpr int kChunkBits = 12;
constexpr uint64_t kChunkMask = (uint64_t{1} << kChunkBits) - 1;
static_assert(kMaxChunks <= static_cast<int>(kChunkMask));
constexpr int kParts = 4;  // of a range: one is claimed at a time

uint64_t Pack(uint64_t tag, int next, int end) {
  return tag << (2 * kChunkBits) | static_cast<uint64_t>(next) << kChunkBits |
         static_cast<uint64_t>(end);
}

int Next(uint64_t cursor) { return static_cast<int>(cursor >> kChunkBits & kChunkMask); }
int End(uint64_t cursor) { return static_cast<int>(cursor & kChunkMask); }

}  // namespace

Segment::Segment(std::vector<Phase> phases, int slots, Hooks hooks)
    : phases_(std::move(phases)), hooks_(std::move(hooks)), cursors_(std::max(slots, 1)) {
  for (const Phase& phase : phases_) parallel_ |= phase.chunks > 1;
}

void Segment::Start() {
  finished_.store(false, std::memory_order_relaxed);
  OpenFrom(0);
}

bool Segment::Help(int slot) {
  bool helped = false;
  for (;;) {
    if (hooks_.at_boundary) hooks_.at_boundary(slot);
    const Claimed claimed = Claim(slot);
    if (claimed.count == 0) return helped;
    helped = true;
    // The claim keeps the phase open, so this is its index.
    const int current = current_.load(std::memory_order_relaxed);
    const Phase& phase = phases_[current];
    for (int i = 0; i < claimed.count; ++i) phase.run(claimed.first + i);
    // Releases what the chunks wrote; the last one acquires what all have written, tag_ included.
    if (left_.fetch_sub(claimed.count, std::memory_order_acq_rel) != claimed.count) continue;
    OpenFrom(phase.again && phase.again() ? current - phase.back : current + 1);
  }
}

Segment::Claimed Segment::Claim(int slot) {
  const size_t ranges = cursors_.size();
  size_t range = static_cast<size_t>(slot) % ranges;
  for (size_t i = 0; i < ranges; ++i) {
    std::atomic<uint64_t>& cursor = cursors_[range].value;
    uint64_t seen = cursor.load(std::memory_order_relaxed);
    while (Next(seen) < End(seen)) {
      const int count = (End(seen) - Next(seen) + kParts - 1) / kParts;
      const uint64_t claimed = seen + (static_cast<uint64_t>(count) << kChunkBits);
      // Acquires what Publish stored before the cursor, also from a cursor that others have moved
      // since, as their exchanges continue its release sequence.
      if (cursor.compare_exchange_weak(seen, claimed, std::memory_order_acq_rel,
                                       std::memory_order_relaxed)) {
        return {Next(seen), count};
      }
    }
    if (++range == ranges) range = 0;
  }
  return {};
}

void Segment::OpenFrom(int phase) {
  while (phase < static_cast<int>(phases_.size())) {
    const Phase& p = phases_[phase];
    const int chunks = p.begin ? std::min(p.begin(), p.chunks) : p.chunks;
    if (chunks > 1) return Publish(phase, chunks);
    if (chunks == 1) p.run(0);
    phase = p.again && p.again() ? phase - p.back : phase + 1;
  }
  finished_.store(true, std::memory_order_release);
  hooks_.advanced();
}

// Runs by one thread at a time: no chunk is left of the phase before, and none of this one can be
// the last before the last cursor is stored, as the last range is never empty.
void Segment::Publish(int phase, int chunks) {
  current_.store(phase, std::memory_order_relaxed);
  left_.store(chunks, std::memory_order_relaxed);
  ++tag_;
  // Each range can be claimed from as soon as it is stored.
  const int64_t ranges = static_cast<int64_t>(cursors_.size());
  const uint64_t tag = tag_;
  for (int64_t r = 0; r < ranges; ++r) {
    const int begin = static_cast<int>(chunks * r / ranges);
    const int end = static_cast<int>(chunks * (r + 1) / ranges);
    cursors_[r].value.store(Pack(tag, begin, end), std::memory_order_release);
  }
  hooks_.advanced();
}

}  // namespace tandem::cpu
