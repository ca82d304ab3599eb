// Backups and scrubs of the running daemon: one at a time, on a thread of their own, and a scrub whenever one is due.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "cd4ml/daemon/daemon.h"
#include "cd4ml/daemon/upkeep.h"
#include "pool.h"

namespace cd4ml::daemon {

class Caretaker {
 public:
  // Keeps blobs from being removed for as long as the answer lives.
  using Hold = std::function<absl::StatusOr<std::shared_ptr<void>>()>;

  // The inspector and the blobs of `ports` are what is looked after.
  Caretaker(const Settings& settings, const Ports& ports, Hold hold);
  ~Caretaker();

  // Ends what is under way; what comes later is refused.
  void Stop() { stop_.request_stop(); }
  void BackUp(std::string dir, Done<BackupReport> done);
  void Scrub(int64_t bytes_per_second, Done<ScrubReport> done);

  // When the last scrub ended, also before this start, and what it found.
  struct Last {
    UtcTime ended;
    int64_t damage = 0;
  };
  Last last() const;

 private:
  template <typename Report>
  void Perform(Done<Report> done, std::function<absl::StatusOr<Report>()> work);
  absl::StatusOr<ScrubReport> ScrubNow(int64_t bytes_per_second);
  void Remember(const ScrubReport& report);
  void Recall();
  void Watch(std::stop_token stop);

  const Settings& settings_;
  const Ports& ports_;
  const Hold hold_;
  std::stop_source stop_;
  std::atomic<bool> busy_ = false;
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  Last last_;              // Guarded by mutex_.
  Pool pool_{1};           // Last but one: joined before what its work uses goes.
  std::jthread watcher_;
};

}  // namespace cd4ml::daemon
