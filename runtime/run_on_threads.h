// Work that is cut into parts, on a few threads that end with it.
#pragma once

#include <cstdint>
#include <functional>

namespace tandem {

// `asked`, or one for each core if that is 0; at least 1 and at most 1024.
int ThreadCount(int asked);

// Calls work(i) for every i below `count`, on at most `threads` threads of which this is one, and
// returns when all calls have.
void RunOnThreads(int threads, int64_t count, const std::function<void(int64_t)>& work);

}  // namespace tandem
