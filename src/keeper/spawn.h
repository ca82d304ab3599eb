// Starting one process of a stage or service.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/ports/process_runner.h"
#include "reaper.h"

namespace cd4ml::keeper {

struct SpawnResult {
  pid_t pid = -1;       // Of the command; -1: the kernel gave no process.
  pid_t reaper = -1;    // Its parent, a child of the calling process.
  uint64_t reaper_ticks = 0;   // When that was started.
  std::string message;  // Why.
};

// The reapers (reaper.h) of a keeper: those whose command runs, and some that wait for the next one, because a fork of the
// keeper takes longer than most of what else a start consists of. Not thread-safe: the calling process must have one thread only.
class Reapers {
 public:
  Reapers();
  ~Reapers();
  Reapers(const Reapers&) = delete;
  Reapers& operator=(const Reapers&) = delete;

  // Starts `spec` below a reaper, in a session of its own, with kMarker=`marker` added to its environment, in the control
  // group at `cgroup` unless that is "". Returns when there is a process, which tells at its end why it could not become its
  // program.
  SpawnResult Spawn(const ProcessSpec& spec, const std::string& marker, const std::string& cgroup);

  // The end of the pipe in which reapers tell, to be waited for; and what stands in it.
  int reports() const { return reports_[0]; }
  std::optional<Ended> TakeReport();

  // A reaper has told that nothing of its command is left.
  void Return(pid_t reaper);
  // A child of the calling process has been waited for; others than reapers are ignored.
  void Forget(pid_t reaper);
  bool contains(pid_t pid) const { return reapers_.contains(pid); }

 private:
  struct Reaper {
    int orders;
    uint64_t start_ticks;
  };

  // Returns -1, and errno, when there is none.
  pid_t Fork();
  // Returns nothing, and errno, when the reaper did not take the order or has ended over it.
  std::optional<SpawnResult> Ask(pid_t reaper, const Order& order);
  void End(pid_t reaper);

  int reports_[2] = {-1, -1};
  std::map<pid_t, Reaper> reapers_;   // All that are not waited for.
  std::vector<pid_t> idle_;
};

// Returns `failure` of `spec` in words; "" for none.
std::string Explain(const Failure& failure, const ProcessSpec& spec);

}  // namespace cd4ml::keeper
