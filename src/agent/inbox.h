// What other threads want done on the agent's own thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>

#include "cd4ml/base/time.h"

namespace cd4ml::agent {

// Thread-safe. Shared with callbacks that may come after the agent has gone: once closed, it drops
// what it is given.
class Inbox {
 public:
  using Work = std::function<void()>;

  void Post(Work work) {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(work));
    wake_.notify_one();
  }

  // Returns everything that is there; waits for something until `patience` is over or `stop`.
  std::deque<Work> Take(std::optional<Duration> patience, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto filled = [this] { return !queue_.empty(); };
    if (patience) {
      wake_.wait_for(lock, stop, *patience, filled);
    } else {
      wake_.wait(lock, stop, filled);
    }
    return std::exchange(queue_, {});
  }

  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    queue_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<Work> queue_;  // Guarded by mutex_.
  bool closed_ = false;     // Guarded by mutex_.
};

}  // namespace cd4ml::agent
