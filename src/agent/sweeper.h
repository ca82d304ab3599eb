// Removes folders slowly and beside the work: a rename takes them out of the way at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace cd4ml::agent {

// Thread-safe. Deleting gets in the way of whoever creates files at the same time, so one thread
// does it when nothing was taken for a while, or when too much has come together.
class Sweeper {
 public:
  // Uses the folder `trash`, which exists; what lies there from before is removed too. `seed` makes
  // names unique.
  Sweeper(std::string trash, int64_t seed);

  // Makes `path` vanish; it may not exist.
  void Take(const std::string& path);

 private:
  void Sweep(std::stop_token stop);

  const std::string trash_;
  int64_t next_;  // Guarded by mutex_, as is the queue.
  std::deque<std::string> queue_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::agent
