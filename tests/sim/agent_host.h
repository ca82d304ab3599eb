// An agent's machine: the real session, a disk that outlives the agent, a keeper whose processes do, too.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/session.h"
#include "tests/sim/daemon_host.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/room.h"

namespace cd4ml::sim {

class AgentHost : public Program {
 public:
  struct Parts {
    Room& room;
    Network& network;
    DaemonHost& daemon;
    Oracle& oracle;
  };
  AgentHost(Parts parts, size_t index, int slots, std::vector<std::string> labels);

  void Boot();
  void Kill(int64_t down_ms);         // The keeper and its processes go on.
  void KillKeeper();                  // Its processes die; the agent goes on.
  void CutPower(int64_t down_ms);     // Everything but the disk is gone.
  void Wipe();                        // At the next power cut the disk goes, too.
  void GoSilent();                    // For ever.
  void BreakStream();

  const std::string& name() const { return name_; }
  int slots() const { return slots_; }
  bool lost_its_state() const { return instance_ > 1; }
  bool is_silent() const { return silent_; }
  // Attempts with a process that exists.
  std::vector<core::AttemptId> Processes() const;
  bool holds_nothing() const { return disk_.empty() && keeper_.empty(); }

 private:
  struct Record {  // On disk.
    Task task;
    std::optional<core::Outcome> outcome;
  };
  struct Process {  // Of the keeper.
    enum class State { kRunning, kExited, kLost };
    State state = State::kRunning;
    core::Outcome outcome;  // Of the command, once it has exited by itself.
    bool dying = false;
    int64_t serial = 0;
  };
  struct Held {  // In the agent's memory.
    Task task;
    bool cancelled = false;
    bool ended = false;
    bool log_delivered = false;
  };

  void Handle(const agent::SessionEvent& event);
  void WatchTime();
  void Do(const agent::OpenSession&);
  void Do(const agent::StartAttempt& action);
  void Do(const agent::StopAttempt& action) { Cancel(action.attempt); }
  void Do(const agent::DropAttempt& action) { Cancel(action.attempt); }
  void Do(const agent::SendFinish& action);
  void Do(const agent::ForgetAttempt& action);
  void Do(const agent::SendReport& action);
  void Do(const agent::ReconcileServices&) {}

  void OpenAtDaemon(const std::shared_ptr<Stream>& stream, int64_t generation);
  void FromDaemon(const std::shared_ptr<Stream>& stream, int64_t generation,
                  std::function<void()> work);
  void Perform(const core::AttemptId& attempt);
  void StartProcess(const core::AttemptId& attempt, const Task& task);
  void CheckSlots(const core::AttemptId& attempt) const;
  void Exit(const core::AttemptId& attempt, int64_t serial, Process::State state);
  void Cancel(const core::AttemptId& attempt);
  void Harvest(const core::AttemptId& attempt);
  void PumpLog(const core::AttemptId& attempt);
  core::Outcome Plan(const core::AttemptId& attempt, const Task& task, int64_t& lasts);

  Network& network_;
  DaemonHost& daemon_;
  Oracle& oracle_;
  const size_t index_;
  const std::string name_;
  const int slots_;
  const std::vector<std::string> labels_;
  int instance_ = 1;
  bool silent_ = false, wipe_ = false;

  std::map<core::AttemptId, Record> disk_;
  std::map<core::AttemptId, Process> keeper_;
  int64_t processes_ = 0;

  agent::Session session_;
  int64_t generation_ = 0;
  int64_t timer_ = 0;
  std::shared_ptr<Stream> stream_;
  std::map<core::AttemptId, Held> held_;
};

}  // namespace cd4ml::sim
