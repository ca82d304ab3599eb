// The loop's thread: an inbox of closures, and a turn for whatever it holds.
#pragma once

#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cd4ml/base/histogram.h"
#include "cd4ml/base/time.h"

namespace cd4ml::daemon {

// Share by posting, not by locking: everything that touches the state runs here.
class Loop {
 public:
  struct Turn {
    std::function<void()> begin;                              // Before the closures of a turn.
    std::function<void()> end;                                // After them; also when only time has passed.
    std::function<std::optional<Duration>()> next_wait;       // How long until something is due.
    std::function<int64_t()> ticks;                           // For measuring: see ports/clock.h.
  };

  Loop(size_t inbox_max, Turn turn) : inbox_max_(inbox_max), turn_(std::move(turn)) {}
  ~Loop() { Stop(); }

  void Start() {
    thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
  }

  // Finishes the present turn; what is still in the inbox is dropped. Idempotent.
  void Stop() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
    std::lock_guard lock(mutex_);
    stopped_ = true;
    inbox_.clear();
  }

  // Returns false, and does not take the closure, when the inbox is full.
  bool Offer(std::function<void()> closure) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_ || inbox_.size() >= inbox_max_) return false;
      Push(std::move(closure));
    }
    ready_.notify_one();
    return true;
  }

  // Takes the closure whatever the inbox holds: for results of the daemon's own work, which is bounded.
  void Post(std::function<void()> closure) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      Push(std::move(closure));
    }
    ready_.notify_one();
  }

  // Runs `question` on the loop and returns its answer; a default T when the loop has stopped. Never call it
  // on the loop itself.
  template <typename T>
  T Ask(std::function<T()> question) {
    auto promise = std::make_shared<std::promise<T>>();
    std::future<T> answer = promise->get_future();
    Post([promise, question = std::move(question)] { promise->set_value(question()); });
    try {
      return answer.get();
    } catch (const std::future_error&) {
      return T();  // The loop stopped and dropped the closure.
    }
  }

  // How long closures waited for their turn.
  const Histogram& waits() const { return waits_; }

 private:
  struct Posted {
    std::function<void()> closure;
    int64_t at;  // Ticks.
  };

  // REQUIRES: mutex_ is held.
  void Push(std::function<void()> closure) { inbox_.push_back({std::move(closure), turn_.ticks()}); }

  void Run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::vector<Posted> closures;
      {
        std::unique_lock lock(mutex_);
        const auto filled = [this] { return !inbox_.empty(); };
        if (const std::optional<Duration> wait = turn_.next_wait()) {
          ready_.wait_for(lock, stop, *wait, filled);
        } else {
          ready_.wait(lock, stop, filled);
        }
        closures.swap(inbox_);
      }
      turn_.begin();
      const int64_t now = turn_.ticks();
      for (Posted& posted : closures) {
        waits_.Add(now - posted.at);
        posted.closure();
      }
      turn_.end();
    }
  }

  const size_t inbox_max_;
  Turn turn_;
  std::mutex mutex_;  // Guards inbox_ and stopped_.
  std::condition_variable_any ready_;
  std::vector<Posted> inbox_;
  bool stopped_ = false;
  Histogram waits_;
  std::jthread thread_;
};

}  // namespace cd4ml::daemon
