// Empties the agent's trash folder.
#include "agent/sweeper.h"

#include <chrono>
#include <filesystem>
#include <stop_token>

#include "agent/files.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

constexpr std::chrono::milliseconds kQuiet{300};
constexpr size_t kQueueMax = 200;

}  // namespace

Sweeper::Sweeper(std::string trash, int64_t seed) : trash_(std::move(trash)), next_(seed) {
  for (const std::string& name : ListNames(trash_)) queue_.push_back(trash_ + "/" + name);
  thread_ = std::jthread([this](std::stop_token stop) { Sweep(stop); });
}

void Sweeper::Take(const std::string& path) {
  std::lock_guard lock(mutex_);
  const std::string to = trash_ + "/" + std::to_string(next_++);
  std::error_code error;
  std::filesystem::rename(path, to, error);
  if (error) {
    if (error == std::errc::no_such_file_or_directory) return;
    (void)RemoveAll(path);
    return;
  }
  queue_.push_back(to);
  wake_.notify_one();
}

void Sweeper::Sweep(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
    const int64_t taken = next_;
    if (queue_.size() < kQueueMax &&
        wake_.wait_for(lock, stop, kQuiet, [&] { return next_ != taken; })) {
      continue;
    }
    if (stop.stop_requested()) return;  // The next agent finds it.
    const std::string path = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (absl::Status removed = RemoveAll(path); !removed.ok()) {
      LogWarn("a folder could not be removed", {{"path", path}, {"why", Message(removed)}});
    }
    lock.lock();
  }
}

}  // namespace cd4ml::agent
