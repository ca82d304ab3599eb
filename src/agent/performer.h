// Performs one attempt from its task to its outcome on disk, on a thread that is its own meanwhile.
#pragma once

#include <functional>
#include <future>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/attempt.h"

namespace cd4ml::agent {

// What is written down before anything of an attempt begins.
struct AttemptRecord {
  Task task;
  int port = 0;
  std::vector<std::string> gpus;
  std::string store;  // Of the daemon that gave the task: see SessionGrant.
};
absl::Status Save(const AttemptRecord& record, const AttemptPaths& paths);
absl::StatusOr<AttemptRecord> LoadRecord(const AttemptPaths& paths);

// Says why no attempt can begin: the disk is full. "": it can.
std::string DiskTrouble(const AgentConfig& config);

class Performer {
 public:
  struct Listener {                  // Called from the performer's thread.
    std::function<void()> on_began;  // Its command or built-in work runs.
    std::function<void(core::Outcome)> on_ended;
  };

  // Begins to perform a task; with `is_new` false, goes on where an earlier agent stopped: its
  // command is taken up when it was started, and started when it was not.
  Performer(const Tools& tools, AttemptRecord record, bool is_new, AttemptPaths paths,
            Listener listener);
  // Stops waiting and leaves everything to the next agent.
  ~Performer();

  // Kills what runs; the outcome will be `cancelled`.
  void Cancel() { attempt_.Cancel(); }
  // Drops what was kept to find the outcome again. REQUIRES: on_ended was called.
  void Forget();

 private:
  void Run();
  core::Outcome Perform();
  absl::Status Prepare();

  AttemptRecord record_;  // Its thread fills in port and GPUs of a new one.
  const bool is_new_;
  const Listener listener_;
  std::stop_source quit_;
  bool is_saved_ = false;  // The outcome is on disk.
  Attempt attempt_;
  std::future<void> done_;  // Last: what is under way uses the others.
};

}  // namespace cd4ml::agent
