// Where the agent's threads wait for the end of processes: one listener of the runner, many
// waiters.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "cd4ml/base/time.h"
#include "cd4ml/ports/process_runner.h"

namespace cd4ml::agent {

// Thread-safe.
class Exits {
 public:
  // Listens to `processes` from now on.
  explicit Exits(ProcessRunner& processes);

  // Returns how the process ended, or nullopt when `patience` is over or at `stop`. One waiter per
  // process.
  std::optional<ProcessStatus> Wait(const std::string& id, Duration patience,
                                    const std::stop_token& stop);
  // Returns how the process ended, however long it takes; nullopt at `stop`.
  std::optional<ProcessStatus> Wait(const std::string& id, const std::stop_token& stop);

  // Kills the process, waits until nothing of it is left and drops its record; also when it is not
  // known. At `stop` the killing goes on without the caller.
  void End(const std::string& id, const std::stop_token& stop);
  // Drops the record of an ended process.
  void Forget(const std::string& id);

 private:
  struct Exit {
    std::condition_variable_any ended;
    std::optional<ProcessStatus> status;
  };
  // Shared with the listener, which the runner keeps for longer than this lives.
  struct Board {
    std::mutex mutex;
    std::map<std::string, Exit> exits;  // Guarded by mutex; entries are dropped by Forget.
  };

  ProcessRunner& processes_;
  const std::shared_ptr<Board> board_ = std::make_shared<Board>();
};

}  // namespace cd4ml::agent
