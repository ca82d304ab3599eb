// The life of every process: started, restarted, timed out, ended with all that it left behind,
// recorded.
//
// A process has ended when nothing of it is left, not when its command exits. What belongs to it is what lives below its
// reaper (reaper.h), and what its control group holds where there is one. When a command has killed its reaper, what was
// below comes to the keeper, which is a subreaper. When the keeper was killed, the next one also looks for the session
// and for the variable CD4ML_PROCESS in the environment.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cd4ml/ports/process_runner.h"
#include "process_table.h"
#include "records.h"
#include "spawn.h"

namespace cd4ml::keeper {

// Not thread-safe. REQUIRES: the calling process is a subreaper without other children.
class Supervisor {
 public:
  // Keeps its records in `folder` and puts processes into groups below `cgroup_root` ("": none).
  Supervisor(const std::string& folder, std::string cgroup_root);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Takes up the records of an earlier keeper: what still lives of its processes is ended, and they
  // are lost.
  absl::Status Load();

  absl::Status Start(const ProcessSpec& spec);
  absl::StatusOr<ProcessStatus> Status(const std::string& id) const;
  // Returns at most `count_max` processes in the order of their ids, from after `after`.
  std::vector<ProcessStatus> List(const std::string& after, size_t count_max) const;
  absl::StatusOr<ProcessMemory> Memory(const std::string& id) const;
  absl::Status Kill(const std::string& id);
  void KillAll();
  absl::Status Forget(const std::string& id);

  // Takes in which children have exited. Call after SIGCHLD.
  void Reap();
  // Takes in which commands have ended. Call when `reports` can be read.
  void TakeReports();
  int reports() const { return reapers_.reports(); }
  // Does what is due now. Call at the latest when `MillisecondsLeft` have passed; -1 is never.
  void Tick();
  int MillisecondsLeft() const;

  // Returns the processes that have ended since the last call.
  std::vector<ProcessStatus> TakeEnded() { return std::exchange(just_ended_, {}); }
  const RecordMap& ended() const { return ended_; }
  bool idle() const { return live_.empty(); }

 private:
  enum class Phase {
    kUp,       // Its command runs.
    kEnding,   // SIGTERM is sent; SIGKILL follows at due_ms, until nothing is left.
    kWaiting,  // Nothing runs; a service that is started again at due_ms.
  };
  struct Process : Record {
    bool main_alive = false;    // The command runs below a reaper of ours, and its end is not known.
    bool reaper_alive = false;  // A child of ours that is not waited for, and serves no other command.
    bool is_all_gone = false;   // As its reaper has said.
    bool adopted = false;     // A child of an earlier keeper.
    bool stopping = false;    // Not started again.
    int quick_exits = 0;      // In a row, of a service.
    Phase phase = Phase::kUp;
    int64_t up_ms = 0;  // These, and all below: steady clock.
    int64_t due_ms = 0;
    int64_t timeout_ms = 0;  // 0: none.
    int64_t log_size = 0;    // When it was last looked at,
    int64_t look_ms = 0;     // which is done again then,
    int64_t heard_ms = 0;    // and when it last was another one than before.
  };

  absl::Status Launch(Process& process);
  void Adopt(Record record);
  void RewriteRecords();
  void Stop(Process& process);
  void BeginEnding(Process& process);
  void TickOne(Process& process, int64_t now);
  // Returns whether its time is over, or it has said nothing for too long; notes which.
  bool HasRunOut(Process& process, int64_t now);
  bool IsSilent(Process& process, int64_t now);
  // Moves to what follows the end of everything of `process`.
  void Conclude(Process& process);
  void Restart(Process& process);

  // Returns the value of the variable by which all that `process` starts is known.
  std::string Marker(const Process& process) const { return folder_ + "/" + process.spec.id; }
  static void SetEnded(Process& process, int wait_status, const rusage& usage);
  static void SetLost(Process& process);
  // Returns whether `entry` is of a process of an earlier keeper.
  bool IsMember(const Process& process, const ProcessEntry& entry) const;
  std::vector<pid_t> Roots(const Process& process) const;
  // Returns all that lives of `process`. With `freeze`, each is stopped before its children are
  // looked for, so that none can fork meanwhile.
  std::vector<ProcessEntry> Members(const Process& process, bool freeze) const;
  bool IsAnythingLeft(const Process& process) const;
  // Returns whether a child of the keeper is known for another reason than having lost its reaper.
  bool IsKnown(pid_t pid) const;
  static void WakeReaper(const Process& process);
  void KillEverything(const Process& process) const;
  void MoveConcluded();

  const std::string folder_;
  const std::string cgroup_root_;
  const std::string boot_id_;
  Records records_;
  Reapers reapers_;
  std::map<std::string, Process> live_;
  RecordMap ended_;
  std::vector<ProcessStatus> just_ended_;
};

}  // namespace cd4ml::keeper
