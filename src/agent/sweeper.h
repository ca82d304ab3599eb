// Removes folders slowly and beside the work: a rename takes them out of the way at once.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace cd4ml::agent {

// What of a folder is used again, empty, for the next one of its kind. On ext4 a new file or folder soon costs a
// hundred times more than an old one: it does not take again at once what was deleted in the last minute, and looks
// for what is free past all of it.
struct Mould {
  std::vector<std::string> files;    // Kept as "NAME.next", where WriteText writes first.
  std::vector<std::string> folders;
  std::string log;                   // Kept when nothing was written to it; or "".
};

// Thread-safe. Deleting gets in the way of whoever creates files at the same time, so one thread
// does it when nothing was taken for a while, or when too much has come together.
class Sweeper {
 public:
  // Uses the folder `trash`, which exists; what lies there from before is removed too. `seed` makes
  // names unique.
  Sweeper(std::string trash, int64_t seed);

  // Makes `path` vanish; it may not exist.
  void Take(const std::string& path) { Take(path, nullptr); }

  // The same, for a folder that Reuse may bring back as a new one. No process may hold it any more. `mould` lives on.
  void Retire(const std::string& path, const Mould& mould) { Take(path, &mould); }

  // Makes `path` a folder of this mould that holds nothing of what it held before; returns false when there is none.
  bool Reuse(const Mould& mould, const std::string& path);

 private:
  struct Taken {
    std::string path;
    const Mould* mould = nullptr;
  };

  void Take(const std::string& path, const Mould* mould);
  void Sweep(std::stop_token stop);
  void SweepOne(std::unique_lock<std::mutex>& lock);

  const std::string trash_;
  int64_t next_;  // Guarded by mutex_, as are the next three.
  std::deque<Taken> queue_;
  size_t retired_ = 0;  // Of those in the queue.
  std::deque<Taken> spares_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // Last: it uses the others.
};

}  // namespace cd4ml::agent
