// Empties the agent's trash folder.
#include "agent/sweeper.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <stop_token>
#include <utility>

#include "agent/files.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"

namespace cd4ml::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kQuiet{300};
constexpr size_t kQueueMax = 200;
constexpr size_t kBatch = 8;        // So many retired folders are emptied together, without waiting for quiet.
constexpr size_t kSparesMax = 128;

bool Has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Empties one folder down to its mould. Whatever is not as a new one would be is not kept.
class Cleaner {
 public:
  // `like` was made by this process: its mode is what folders have that nobody touched.
  Cleaner(const Mould& mould, const std::string& like) : mould_(mould), mode_(fs::status(like, error_).permissions()) {}

  // Returns whether the folder is fit for use again.
  bool Clean(const std::string& path) {
    if (!IsNewFolder(path)) return false;
    for (const std::string& name : ListNames(path)) {
      if (!CleanEntry(path, name) && !RemoveAll(path + "/" + name).ok()) return false;
    }
    for (const std::string& folder : mould_.folders) {
      if (!Exists(path + "/" + folder)) return false;
    }
    return !error_;
  }

 private:
  // Returns whether the entry is one of the mould, and empty or only to be written over now.
  bool CleanEntry(const std::string& path, const std::string& name) {
    const std::string entry = path + "/" + name;
    if (Has(mould_.folders, name)) {
      if (!IsNewFolder(entry)) {
        error_ = std::make_error_code(std::errc::not_a_directory);
        return false;
      }
      for (const std::string& inner : ListNames(entry)) {
        if (!RemoveAll(entry + "/" + inner).ok()) error_ = std::make_error_code(std::errc::directory_not_empty);
      }
      return true;
    }
    if (!IsNewFile(entry)) return false;
    if (name == mould_.log) return FileSize(entry) == 0;
    if (!Has(mould_.files, name)) return false;
    fs::rename(entry, entry + ".next", error_);
    return true;
  }

  bool IsNewFolder(const std::string& path) {
    const fs::file_status status = fs::symlink_status(path, error_);
    return fs::is_directory(status) && status.permissions() == mode_;
  }
  bool IsNewFile(const std::string& path) {
    std::error_code gone;
    const fs::file_status status = fs::symlink_status(path, gone);
    const fs::perms own = mode_ & fs::perms{0666}, logs = mode_ & fs::perms{0644};
    return fs::is_regular_file(status) && (status.permissions() == own || status.permissions() == logs) &&
           fs::hard_link_count(path, gone) == 1 && !gone;
  }

  const Mould& mould_;
  std::error_code error_;
  const fs::perms mode_;
};

}  // namespace

Sweeper::Sweeper(std::string trash, int64_t seed) : trash_(std::move(trash)), next_(seed) {
  for (const std::string& name : ListNames(trash_)) queue_.push_back({trash_ + "/" + name});
  thread_ = std::jthread([this](std::stop_token stop) { Sweep(stop); });
}

void Sweeper::Take(const std::string& path, const Mould* mould) {
  std::lock_guard lock(mutex_);
  const std::string to = trash_ + "/" + std::to_string(next_++);
  std::error_code error;
  fs::rename(path, to, error);
  if (error) {
    if (error == std::errc::no_such_file_or_directory) return;
    (void)RemoveAll(path);
    return;
  }
  queue_.push_back({to, mould});
  if (mould != nullptr) ++retired_;
  // In between the sweeper waits for quiet, and looks by itself.
  if (queue_.size() == 1 || queue_.size() == kQueueMax || retired_ == kBatch) wake_.notify_one();
}

bool Sweeper::Reuse(const Mould& mould, const std::string& path) {
  std::lock_guard lock(mutex_);
  const auto spare = std::find_if(spares_.begin(), spares_.end(), [&](const Taken& taken) { return taken.mould == &mould; });
  if (spare == spares_.end()) return false;
  std::error_code error;
  fs::rename(spare->path, path, error);
  if (error) return false;
  spares_.erase(spare);
  return true;
}

void Sweeper::Sweep(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !queue_.empty(); })) {
    const int64_t taken = next_;
    if (queue_.size() < kQueueMax && retired_ < kBatch &&
        wake_.wait_for(lock, stop, kQuiet, [&] { return next_ != taken; })) {
      continue;
    }
    for (size_t left = retired_ < kBatch ? 1 : kBatch; left > 0 && !queue_.empty(); --left) {
      if (stop.stop_requested()) return;  // The next agent finds it.
      SweepOne(lock);
    }
  }
}

void Sweeper::SweepOne(std::unique_lock<std::mutex>& lock) {
  const Taken one = std::move(queue_.front());
  queue_.pop_front();
  if (one.mould != nullptr) --retired_;
  const bool is_wanted = one.mould != nullptr && spares_.size() < kSparesMax;
  lock.unlock();
  const bool is_spare = is_wanted && Cleaner(*one.mould, trash_).Clean(one.path);
  if (!is_spare) {
    if (absl::Status removed = RemoveAll(one.path); !removed.ok()) {
      LogWarn("a folder could not be removed", {{"path", one.path}, {"why", Message(removed)}});
    }
  }
  lock.lock();
  if (is_spare) spares_.push_back(one);
}

}  // namespace cd4ml::agent
