#include "backends/cpu/segment.h"

#include <xmmintrin.h>

#include <algorithm>
#include <utility>

namespace tandem::cpu {
namespace {

constexpr int kChunkBits = 12;
constexpr uint64_t kChunkMask = (uint64_t{1} << kChunkBits) - 1;
static_assert(kMaxChunks <= static_cast<int>(kChunkMask));
constexpr int kParts = 4;  // of a range: one is claimed at a time
constexpr int64_t kLine = 64;
constexpr int64_t kFetchBytes = 16 * kLine;  // as many lines as a core can wait for at a time
constexpr int kPhasesAhead = 32;             // the farthest that is looked for something to fetch

uint64_t Pack(uint64_t tag, int next, int end) {
  return tag << (2 * kChunkBits) | static_cast<uint64_t>(next) << kChunkBits |
         static_cast<uint64_t>(end);
}

int Next(uint64_t cursor) { return static_cast<int>(cursor >> kChunkBits & kChunkMask); }
int End(uint64_t cursor) { return static_cast<int>(cursor & kChunkMask); }

// Where ranges of about the same work begin, and where the last one ends.
std::vector<int> CutByWork(const Phase& phase, int64_t ranges) {
  const int64_t all = TotalWork(phase);
  std::vector<int> cuts = {0};
  auto kind = phase.kinds.begin();
  int before = 0;  // chunks of the kinds before this one
  int64_t work = 0;
  for (int64_t r = 1; r < ranges; ++r) {
    const int64_t target = all * r / ranges;
    while (work + kind->chunks * kind->work < target) {
      work += kind->chunks * kind->work;
      before += kind++->chunks;
    }
    cuts.push_back(before + static_cast<int>((target - work) / kind->work));
  }
  cuts.push_back(phase.chunks);
  return cuts;
}

}  // namespace

Segment::Segment(std::vector<Phase> phases, Hints hints, Hooks hooks)
    : phases_(std::move(phases)),
      cuts_(phases_.size()),
      hints_(hints),
      hooks_(std::move(hooks)),
      cursors_(std::max(hints.slots, 1)) {
  for (size_t p = 0; p < phases_.size(); ++p) {
    parallel_ |= phases_[p].chunks > 1;
    if (!phases_[p].kinds.empty()) {
      cuts_[p] = CutByWork(phases_[p], static_cast<int64_t>(cursors_.size()));
    }
  }
}

void Segment::Start() {
  finished_.store(false, std::memory_order_relaxed);
  current_.store(-1, std::memory_order_relaxed);
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
    RunChunks(phase, claimed.first, claimed.count);
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
    const auto [begin, end] = RangeOf(phase, chunks, r);
    cursors_[r].value.store(Pack(tag, begin, end), std::memory_order_release);
  }
  hooks_.advanced();
}

Segment::Range Segment::RangeOf(int phase, int chunks, int64_t slot) const {
  const auto ranges = static_cast<int64_t>(cursors_.size());
  const int64_t r = slot % ranges;
  const std::vector<int>& cuts = cuts_[phase];
  if (!cuts.empty() && chunks == phases_[phase].chunks) return {cuts[r], cuts[r + 1]};
  return {static_cast<int>(chunks * r / ranges), static_cast<int>(chunks * (r + 1) / ranges)};
}

bool Segment::FetchAhead(int slot, Ahead& ahead) const {
  // Whatever this reads, it only decides what is fetched.
  const int opened = current_.load(std::memory_order_relaxed);
  if (opened != ahead.opened_) {
    for (int p = ahead.opened_ + 1; p <= opened; ++p) {
      ahead.bytes_ -= std::exchange(ahead.phases_[p].bytes, 0);
    }
    ahead.opened_ = opened;
    ahead.next_ = opened + 1;
    if (ahead.left_of_ <= opened) ahead.left_ = {};
  }
  if (ahead.left_.bytes <= 0 && !FindStretch(slot, ahead)) return false;
  Stretch& left = ahead.left_;
  const int64_t bytes = std::min(left.bytes, kFetchBytes);
  const auto* from = reinterpret_cast<const char*>(left.first);
  for (int64_t i = 0; i < bytes; i += kLine) _mm_prefetch(from + i, _MM_HINT_T1);
  left = {left.first + bytes, left.bytes - bytes};
  ahead.phases_[ahead.left_of_].bytes += bytes;
  ahead.bytes_ += bytes;
  return true;
}

// A phase of which nothing is known yet is passed over, until the next one opens.
bool Segment::FindStretch(int slot, Ahead& ahead) const {
  const int end = std::min(static_cast<int>(phases_.size()), ahead.opened_ + 1 + kPhasesAhead);
  for (; ahead.next_ < end && ahead.bytes_ < hints_.ahead_bytes; ++ahead.next_) {
    const Phase& phase = phases_[ahead.next_];
    if (!phase.reads) continue;
    const Range range = RangeOf(ahead.next_, phase.chunks, slot);
    auto& at = ahead.phases_[ahead.next_];
    at.chunk = std::max(at.chunk, range.begin);
    while (at.chunk < range.end) {
      ahead.left_ = phase.reads(at.chunk, at.part);
      if (ahead.left_.bytes > 0) {
        ++at.part;
        at.known = true;
        ahead.left_of_ = ahead.next_;
        return true;
      }
      ++at.chunk;
      at.part = 0;
    }
    if (!at.known) at.chunk = range.begin;
  }
  return false;
}

}  // namespace tandem::cpu
