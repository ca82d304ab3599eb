// Running commands so that they outlive the agent: the agent's side of its keeper process.
//
// A *process* here is a stage's command or a service with everything it starts. It is known by an
// id that the caller chose, lives on when the caller dies, and is found again by that id.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/time.h"

namespace cd4ml {

struct ProcessSpec {
  std::string id;  // [A-Za-z0-9][A-Za-z0-9._-]{0,199}, unique among those not yet forgotten.
  std::vector<std::string> argv;  // argv[0] is looked up in PATH of `env`.
  // The whole environment, but for CD4ML_PROCESS, which the keeper adds: by it a process's
  // leftovers are known.
  std::map<std::string, std::string> env;
  std::string dir;          // Working directory, absolute.
  std::string log;          // Absolute; standard output and error are appended to this file.
  Duration timeout{0};      // 0: none. Then it is killed as by Kill.
  Duration silence{0};      // Without a byte in its log for so long, the same; 0: however long.
  Duration grace{5'000};    // Between SIGTERM and SIGKILL.
  bool keep_alive = false;  // A service: started again when it exits, with back-off, until killed.
};

enum class ProcessState { kRunning, kExited };

struct ProcessStatus {
  std::string id;
  ProcessState state = ProcessState::kRunning;
  int pid = 0;        // 0 while a service waits to be started again.
  int exit_code = 0;  // kExited: 0..255; 128+n after signal n; -1 when lost.
  int signal = 0;     // kExited: the signal that ended it, or 0.
  bool timed_out = false;
  bool silent = false;  // Ended because it wrote nothing for `silence`.
  bool killed = false;  // Ended through Kill.
  bool lost =
      false;  // The keeper died meanwhile or the machine was restarted; ended, exit code unknown.
  int restarts = 0;     // keep_alive: how often it was started again.
  std::string message;  // Why it could not be started, when it could not.
  UtcTime started, ended;
  int64_t max_rss_bytes = 0;
  double cpu_seconds = 0;
};

// What a process takes of the machine's memory, with everything that it started.
struct ProcessMemory {
  int64_t bytes = 0;       // Now. What several of it share counts once.
  int64_t peak_of_one = 0;  // The most that any one that still runs has taken since it was started.
};

// Thread-safe. All calls are short; waiting happens through the listener.
class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;

  // Starts a process. ALREADY_EXISTS when the id is known: the caller then looks at Status. A
  // command that cannot be executed is not an error here but ends with exit code 127 and a message.
  virtual absl::Status Start(const ProcessSpec& spec) = 0;

  // Returns one process, or NOT_FOUND.
  virtual absl::StatusOr<ProcessStatus> Status(const std::string& id) = 0;
  virtual absl::StatusOr<std::vector<ProcessStatus>> List() = 0;

  // Measures a process; nothing is left of one that has ended.
  virtual absl::StatusOr<ProcessMemory> Memory(const std::string& id) = 0;

  // Ends a process and everything it started: SIGTERM, `grace`, then every kill there is. Returns
  // at once; the listener hears of the end when nothing of it is left. Killing what has ended is
  // OK.
  virtual absl::Status Kill(const std::string& id) = 0;

  // Drops the record of an ended process.
  virtual absl::Status Forget(const std::string& id) = 0;

  // `listener` is called from a thread of the runner once for each process that has ended: first
  // for those that are not yet forgotten, then for each as it ends. It may call the runner. Call
  // OnExit once.
  virtual void OnExit(std::function<void(const ProcessStatus&)> listener) = 0;
};

}  // namespace cd4ml
