// How long something may take that is not a process, which the keeper would end.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "cd4ml/base/time.h"

namespace cd4ml::agent {

// Requests a stop once what it counts has taken longer than `limit` (0: never), or when `also` is requested. Thread-safe.
class TimeLimit {
 public:
  TimeLimit(Duration limit, std::stop_token also)
      : limit_(limit), on_also_(std::move(also), [this] { stop_.request_stop(); }) {
    if (limit_ > Duration(0)) thread_ = std::jthread([this](std::stop_token ended) { Run(ended); });
  }

  std::stop_token token() const { return stop_.get_token(); }
  // Begins to count anew, and counts no more.
  void Begin() { Set(true); }
  void End() { Set(false); }
  bool passed() const {
    std::lock_guard lock(mutex_);
    return passed_;
  }

 private:
  void Set(bool counts) {
    std::lock_guard lock(mutex_);
    counts_ = counts;
    ++turn_;
    changed_.notify_all();
  }

  void Run(std::stop_token ended) {
    std::unique_lock lock(mutex_);
    while (!ended.stop_requested()) {
      const auto changed = [this, turn = turn_] { return turn_ != turn; };
      if (!counts_) {
        changed_.wait(lock, ended, changed);
      } else if (!changed_.wait_for(lock, ended, limit_, changed) && !ended.stop_requested()) {
        passed_ = true;
        lock.unlock();
        stop_.request_stop();
        return;
      }
    }
  }

  const Duration limit_;
  std::stop_source stop_;
  mutable std::mutex mutex_;   // Guards the next three.
  bool counts_ = false;
  bool passed_ = false;
  int64_t turn_ = 0;
  std::condition_variable_any changed_;
  std::stop_callback<std::function<void()>> on_also_;
  std::jthread thread_;        // Last: it uses the others.
};

}  // namespace cd4ml::agent
