// Logs of attempts: appended by agents, read and followed by people.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "cd4ml/base/time.h"
#include "cd4ml/ports/log_store.h"

namespace cd4ml::daemon {

// Wakes those who wait for more when something was appended or an attempt ended. Thread-safe.
class LogHub {
 public:
  // Returns a number that changes with every wake-up.
  uint64_t Version() {
    std::lock_guard lock(mutex_);
    return version_;
  }

  void Wake() {
    {
      std::lock_guard lock(mutex_);
      ++version_;
    }
    changed_.notify_all();
  }

  // Waits until the version differs from `seen`, for at most `span`.
  void Wait(uint64_t seen, Duration span) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, span, [&] { return version_ != seen; });
  }

 private:
  std::mutex mutex_;  // Guards version_.
  std::condition_variable changed_;
  uint64_t version_ = 0;
};

}  // namespace cd4ml::daemon
