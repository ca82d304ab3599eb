// Threads that are used again: an attempt is often shorter than what a new thread costs.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace cd4ml::agent {

// Thread-safe. It has as many threads as were needed at once; its destruction waits for the work under way.
class Crew {
 public:
  // Begins to do `work` at once, on a thread that does nothing else meanwhile.
  std::future<void> Start(std::function<void()> work) {
    Work task(std::move(work));
    std::future<void> done = task.get_future();
    std::lock_guard lock(mutex_);
    work_.push_back(std::move(task));
    if (idle_ < work_.size()) threads_.emplace_back([this](std::stop_token stop) { Run(stop); });
    wake_.notify_one();
    return done;
  }

 private:
  using Work = std::packaged_task<void()>;

  void Run(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (true) {
      ++idle_;
      const bool is_there = wake_.wait(lock, stop, [this] { return !work_.empty(); });
      --idle_;
      if (!is_there) return;
      Work task = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;  // Guards all below.
  std::condition_variable_any wake_;
  std::deque<Work> work_;
  size_t idle_ = 0;
  std::vector<std::jthread> threads_;  // Last: they use the others.
};

}  // namespace cd4ml::agent
