// The daemon's machine: the real orchestrator on the real store, on a disk that fails.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/orchestrator.h"
#include "tests/sim/oracle.h"
#include "tests/sim/room.h"
#include "tests/support/crash_vfs.h"

namespace cd4ml::sim {

class DaemonHost : public Program {
 public:
  DaemonHost(Room& room, CrashVfs& vfs, Oracle& oracle);
  ~DaemonHost();

  enum class Death { kKill, kPower };

  void Boot();
  void Crash(Death death);
  // Stops the program for a while; what is sent to it meanwhile it reads after it has gone on.
  void Nap(int64_t span);
  // How long each stop of this life lasted that began at `from` or later.
  std::vector<int64_t> NapsSince(int64_t from) const;
  // Ends the program at its next commit: before or after it is made, or in the middle of it.
  void CrashAtCommit(bool after);
  void JumpWall(int64_t to) { wall_offset_ = to; }
  // Runs `work` in the next turn of the loop; false: there is no daemon.
  bool Post(std::function<void(daemon::Orchestrator&)> work);

  // What a callback of the orchestrator asks first: a dying daemon says nothing any more.
  bool is_silent() const { return dying_ || !up(); }
  void Heard(const std::string& agent) { heard_[agent] = room_.kernel.now(); }
  int64_t LastHeard(const std::string& agent) const;
  History& history() { return *history_; }
  int boots() const { return life(); }

  // Everything at rest: opens the store without a daemon and lets the oracle compare.
  void CompareAll();

  std::function<void()> on_crash;  // Connections break.

 private:
  class Recorder;
  class LazyHistory;
  absl::Status OpenStore();
  void CloseStore();
  void WantTurn();
  void Turn();
  void WatchTime();
  UtcTime Wall() const;
  Duration Steady() const;
  void CheckMonitor(const core::MonitorState& state);

  CrashVfs& vfs_;
  Oracle& oracle_;
  daemon::Settings settings_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<History> history_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<daemon::Orchestrator> orchestrator_;
  std::vector<std::function<void(daemon::Orchestrator&)>> inbox_;
  std::map<std::string, int64_t> heard_;
  struct OneNap {
    int64_t begin, span, reads_after;
  };
  std::vector<OneNap> naps_;  // Of this life.
  int64_t booted_ = 0;
  int64_t turned_ = 0;  // When the last turn began.
  int64_t wall_offset_ = 0;
  int64_t steady_offset_ = 0;
  int power_cuts_ = 0;
  int64_t timer_ = 0;   // Counts timers: only the newest one strikes.
  int failed_boots_ = 0;
  int spins_ = 0;       // Turns in a row that waited for nothing and did nothing.
  bool turn_wanted_ = false;
  bool dying_ = false;
  bool die_after_commit_ = false;
};

// A store with its pipelines, as every history finds it.
CrashVfs::Image MakeImage(CrashVfs& vfs);

}  // namespace cd4ml::sim
