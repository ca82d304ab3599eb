// The loop's thread: an inbox of closures, and a turn for what it holds.
#pragma once

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "cd4ml/base/histogram.h"
#include "cd4ml/base/time.h"

namespace cd4ml::daemon {

// What is overtaken by what. Each class has an inbox of its own, so that a flood of one leaves room for the others.
enum class Urgency {
  kResult,    // What agents report, and the results of the daemon's own work: all of it in every turn.
  kRequest,   // What somebody waits for, and logs.
  kBulk,      // Triggers and predictions: what comes in floods and can be sent again.
};

// Share by posting, not by locking: everything that touches the state runs here.
class Loop {
 public:
  struct Turn {
    std::function<void()> begin;                              // Before the closures of a turn.
    std::function<void()> end;                                // After them; also when only time has passed.
    std::function<std::optional<Duration>()> next_wait;       // How long until something is due.
    std::function<int64_t()> ticks;                           // For measuring: see ports/clock.h.
  };

  // `inbox_max` bounds each class.
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
    for (auto& inbox : inboxes_) inbox.clear();
  }

  // Returns false, and does not take the closure, when the inbox of its class is full.
  bool Offer(Urgency urgency, std::function<void()> closure) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_ || InboxOf(urgency).size() >= inbox_max_) return false;
      Push(urgency, std::move(closure));
    }
    ready_.notify_one();
    return true;
  }

  // Takes the closure whatever the inbox holds: for results of the daemon's own work, which is bounded.
  void Post(std::function<void()> closure) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      Push(Urgency::kResult, std::move(closure));
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

  using Inbox = std::deque<Posted>;
  static constexpr size_t kRequestsPerTurn = 256;
  static constexpr size_t kBulkPerTurn = 64;

  // REQUIRES (these four): mutex_ is held.
  Inbox& InboxOf(Urgency urgency) { return inboxes_[static_cast<size_t>(urgency)]; }
  void Push(Urgency urgency, std::function<void()> closure) {
    InboxOf(urgency).push_back({std::move(closure), turn_.ticks()});
  }
  bool IsFilled() const {
    return std::any_of(inboxes_.begin(), inboxes_.end(), [](const Inbox& inbox) { return !inbox.empty(); });
  }
  // Returns what the next turn does; what a flood leaves over waits for the one after it.
  Inbox TakeTurn() {
    Inbox taken = std::exchange(InboxOf(Urgency::kResult), {});
    Take(InboxOf(Urgency::kRequest), kRequestsPerTurn, taken);
    Take(InboxOf(Urgency::kBulk), kBulkPerTurn, taken);
    return taken;
  }
  static void Take(Inbox& inbox, size_t count_max, Inbox& taken) {
    for (size_t count = std::min(inbox.size(), count_max); count > 0; --count) {
      taken.push_back(std::move(inbox.front()));
      inbox.pop_front();
    }
  }

  void Run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      Inbox closures;
      {
        std::unique_lock lock(mutex_);
        const auto filled = [this] { return IsFilled(); };
        if (const std::optional<Duration> wait = turn_.next_wait()) {
          ready_.wait_for(lock, stop, *wait, filled);
        } else {
          ready_.wait(lock, stop, filled);
        }
        closures = TakeTurn();
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
  std::mutex mutex_;  // Guards inboxes_ and stopped_.
  std::condition_variable_any ready_;
  std::array<Inbox, 3> inboxes_;   // By urgency.
  bool stopped_ = false;
  Histogram waits_;
  std::jthread thread_;
};

}  // namespace cd4ml::daemon
