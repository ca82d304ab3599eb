// Work on many items by a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace cd4ml::daemon {

// Calls `work(begin, end)` for ranges of at most `range_max` items that make up [0, count), on up to `threads` threads.
// Returns the first error; ranges that have not begun by then are left out.
inline absl::Status ForRanges(size_t count, size_t range_max, size_t threads,
                              const std::function<absl::Status(size_t begin, size_t end)>& work) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;  // Guards result.
  absl::Status result;
  const auto run = [&] {
    for (size_t begin; (begin = next.fetch_add(range_max)) < count;) {
      const absl::Status done = work(begin, std::min(count, begin + range_max));
      if (done.ok()) continue;
      next = count;
      std::lock_guard lock(mutex);
      if (result.ok()) result = done;
    }
  };
  std::vector<std::jthread> others;
  const size_t ranges = (count + range_max - 1) / range_max;
  for (size_t i = 1; i < std::min(threads, ranges); ++i) others.emplace_back(run);
  run();
  others.clear();
  return result;
}

}  // namespace cd4ml::daemon
