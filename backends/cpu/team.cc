#include "backends/cpu/team.h"

#include <immintrin.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace tandem::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// How long a thread that finds nothing to do keeps looking, and how long a helper then stays in the
// arena, asleep, before it has to be called again. Between two steps the host samples a token.
constexpr auto kSpin = std::chrono::microseconds(40);
constexpr auto kStay = std::chrono::milliseconds(20);
constexpr int kPausesPerLook = 32;
// How long a team that ends waits for helpers that were called but have not come.
constexpr auto kLastCall = std::chrono::seconds(1);

}  // namespace

class Team::State : public std::enable_shared_from_this<Team::State> {
 public:
  explicit State(TeamOptions options) : options_(std::move(options)) {
    // oneTBB complains on stderr about an arena that is larger than it has threads for.
    const size_t most =
        tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
    options_.threads = std::clamp<int>(options_.threads, 1, static_cast<int>(most));
    if (options_.threads > 1) arena_.initialize(options_.threads - 1, /*reserved_for_masters=*/0);
  }

  int threads() const { return options_.threads; }
  Segment::Hints Hints() const {
    return {.slots = options_.threads, .ahead_bytes = options_.ahead_bytes};
  }
  Segment::Hooks Hooks() {
    // A segment never outlives its run by more than a helper's look at it, and helpers hold both.
    return {.advanced = [this] { Announce(); }, .at_boundary = options_.at_boundary};
  }

  void Run(const std::shared_ptr<Segment>& segment) {
    const bool shared = segment->parallel() && options_.threads > 1 && Enlist(segment);
    Segment::Ahead ahead(*segment);
    segment->Start();
    while (!segment->finished()) {
      // Read before looking for work: what is announced after this look ends the wait.
      const uint32_t seen = news_.load(std::memory_order_seq_cst);
      if (segment->Help(/*slot=*/0) || segment->finished()) continue;
      AwaitNews(seen, Clock::time_point::max(),
                [&] { return segment->FetchAhead(/*slot=*/0, ahead); });
    }
    if (shared) Dismiss(segment);
  }

  // Waits for the helpers that are here, and a while for those that were called and are on their
  // way. Those that come even later, if oneTBB has no thread for them now, find the team stopped.
  void Stop() {
    stopped_.store(true);
    Announce();
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, kLastCall, [this] { return helpers_ == 0; });
    wake_.wait(lock, [this] { return present_ == 0; });
  }

 private:
  // Puts the segment where helpers look, and calls those who have left. The caller gets along
  // without helpers if there is no memory to call them; false if they cannot even find the segment.
  bool Enlist(const std::shared_ptr<Segment>& segment) {
    int missing = 0;
    bool listed = false;
    try {
      {
        std::lock_guard lock(mutex_);
        segments_.push_back(segment);
        listed = true;
        segments_version_.fetch_add(1);
        missing = options_.threads - 1 - helpers_;
        helpers_ += missing;
      }
      for (; missing > 0; --missing) arena_.enqueue([self = shared_from_this()] { self->Serve(); });
    } catch (const std::exception&) {
      std::lock_guard lock(mutex_);
      helpers_ -= missing;
    }
    return listed;
  }

  void Dismiss(const std::shared_ptr<Segment>& segment) {
    std::lock_guard lock(mutex_);
    segments_.erase(std::ranges::find(segments_, segment));
    segments_version_.fetch_add(1);
  }

  // Counts a helper as present for as long as it lives. oneTBB must not see an exception: it would
  // cancel the tasks of the arena.
  void Serve() {
    {
      // Pairs with Enlist. oneTBB gives that order too, but race detectors do not see into it.
      (void)segments_version_.load(std::memory_order_acquire);
      std::lock_guard lock(mutex_);
      if (stopped_.load()) {
        --helpers_;
        wake_.notify_all();
        return;
      }
      ++present_;
    }
    bool failed = false;
    try {
      Help();
    } catch (const std::exception&) {  // no memory for the list of segments
      failed = true;
    }
    std::lock_guard lock(mutex_);
    if (failed) --helpers_;
    --present_;
    wake_.notify_all();
  }

  // Helps whoever runs a segment, and leaves when nobody has done so for a while. Whoever finds
  // nobody to call in Enlist counts on those that are here, so they stay until the last run ends,
  // however long a phase of one chunk may take.
  void Help() {
    const int slot = 1 + tbb::this_task_arena::current_thread_index();
    std::vector<std::shared_ptr<Segment>> segments;
    std::optional<Segment::Ahead> ahead;
    // Only one segment at a time: several would want the same cache.
    const auto fetch = [&] { return ahead && segments.front()->FetchAhead(slot, *ahead); };
    uint32_t version = segments_version_.load() - 1;
    auto leave_at = Clock::now() + kStay;
    for (;;) {
      const uint32_t seen = news_.load(std::memory_order_seq_cst);
      if (version != segments_version_.load()) {
        std::lock_guard lock(mutex_);
        segments = segments_;
        version = segments_version_.load();
        ahead.reset();
        if (segments.size() == 1) ahead.emplace(*segments.front());
      }
      bool helped = false;
      for (const auto& segment : segments) helped |= segment->Help(slot);
      if (helped) {
        leave_at = Clock::now() + kStay;
      } else if (stopped_.load() || !AwaitNews(seen, leave_at, fetch)) {
        std::lock_guard lock(mutex_);
        if (!stopped_.load() && !segments_.empty()) {
          leave_at = Clock::now() + kStay;
          continue;
        }
        --helpers_;
        return;
      }
    }
  }

  // No wake-up is lost. Announce raises news_, then reads sleepers_; AwaitNews raises sleepers_,
  // then reads news_. All four are seq_cst, so one of them sees the other. If it is Announce, it
  // takes the mutex that the sleeper holds from before it counts itself until it waits. Raising
  // news_ also releases what was stored before, so that who sees the news finds the chunks, or the
  // end.
  void Announce() {
    news_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }

  // Returns true when there is news since `seen`, false when it is `until`. Before it rests, it
  // calls `fetch` until there is nothing left to fetch.
  template <typename Fetch>
  bool AwaitNews(uint32_t seen, Clock::time_point until, Fetch fetch) {
    const auto spin_until = Clock::now() + kSpin;
    bool fetched = false;
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        if (news_.load(std::memory_order_acquire) != seen) return true;
        fetched = fetch();
        if (!fetched) _mm_pause();
      }
    } while (fetched || Clock::now() < spin_until);
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    const auto is_news = [&] { return news_.load(std::memory_order_seq_cst) != seen; };
    bool news = true;
    if (until == Clock::time_point::max()) {
      wake_.wait(lock, is_news);
    } else {
      news = wake_.wait_until(lock, until, is_news);
    }
    sleepers_.fetch_sub(1, std::memory_order_relaxed);  // too high a count only costs a call
    return news;
  }

  TeamOptions options_;  // never changes once made
  tbb::task_arena arena_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Segment>> segments_;  // running; guarded by mutex_
  int helpers_ = 0;                                 // called or present; guarded by mutex_
  int present_ = 0;                                 // guarded by mutex_
  // Written under mutex_; read without it to see whether a copy of segments_ is old. A copy that is
  // missed is made at the next turn, as the news of the segment's first phase comes after it.
  std::atomic<uint32_t> segments_version_ = 0;
  alignas(64) std::atomic<uint32_t> news_ = 0;
  alignas(64) std::atomic<int> sleepers_ = 0;
  std::atomic<bool> stopped_ = false;
};

Team::Team(TeamOptions options) : state_(std::make_shared<State>(std::move(options))) {}
Team::~Team() { state_->Stop(); }
int Team::threads() const { return state_->threads(); }

std::shared_ptr<Segment> Team::MakeSegment(std::vector<Phase> phases) const {
  return std::make_shared<Segment>(std::move(phases), state_->Hints(), state_->Hooks());
}

void Team::Run(const std::shared_ptr<Segment>& segment) { state_->Run(segment); }

}  // namespace tandem::cpu
