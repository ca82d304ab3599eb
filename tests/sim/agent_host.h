// An agent's machine: the real session, a disk that outlives the agent, a keeper whose processes do, too.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
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
  // `index` is its place in the network. Two machines of one name are two agents that do not know of each other.
  AgentHost(Parts parts, size_t index, Machine machine);

  void Boot();
  void Kill(int64_t down_ms);         // The keeper and its processes go on.
  void KillKeeper();                  // Its processes die; the agent goes on.
  void CutPower(int64_t down_ms);     // Everything but the disk is gone.
  void Wipe();                        // At the next power cut the disk goes, too.
  void GoSilent();                    // For ever.
  void BreakStream();

  const std::string& name() const { return name_; }
  const Machine& machine() const { return machine_; }
  bool is_silent() const { return silent_; }
  // Attempts with a process that exists.
  std::vector<core::AttemptId> Processes() const;
  // Deployments whose services it keeps up.
  std::set<std::string> Services() const;
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
    std::string deployment, environment;  // Of a deploy.
  };
  struct Claim {  // A deploy has its environment to itself until the daemon has said what follows from it.
    std::string environment;
    std::optional<int64_t> until;  // The revision of the desired state that says so, once known.
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
  void Do(const agent::ReconcileServices& action);

  void OpenAtDaemon(const std::shared_ptr<Stream>& stream, int64_t generation);
  void FromDaemon(const std::shared_ptr<Stream>& stream, int64_t generation,
                  std::function<void()> work);
  void Perform(const core::AttemptId& attempt);
  void StartProcess(const core::AttemptId& attempt, const Task& task);
  void CheckRoom(const core::AttemptId& attempt) const;
  void ClaimEnvironment(const Task& task);
  void ReleaseEnvironment(const core::AttemptId& deploy, int64_t revision);
  void ReconcileServices();
  void GiveUpAlone();
  void Exit(const core::AttemptId& attempt, int64_t serial, Process::State state);
  void Cancel(const core::AttemptId& attempt);
  void Harvest(const core::AttemptId& attempt);
  void PumpLog(const core::AttemptId& attempt);
  core::Outcome Plan(const core::AttemptId& attempt, const Task& task, int64_t& lasts);

  Network& network_;
  DaemonHost& daemon_;
  Oracle& oracle_;
  const size_t index_;
  const Machine machine_;
  const std::string name_;
  int instance_ = 1;
  bool silent_ = false, wipe_ = false;

  std::map<core::AttemptId, Record> disk_;
  std::map<core::AttemptId, Process> keeper_;
  std::map<std::string, std::string> services_;  // Deployment -> its environment. The keeper's, too.
  int64_t processes_ = 0;

  agent::Session session_;
  int64_t generation_ = 0;
  int64_t timer_ = 0;
  std::shared_ptr<Stream> stream_;
  std::map<core::AttemptId, Held> held_;
  std::map<core::AttemptId, Claim> claims_;
  std::optional<std::vector<ServiceTask>> desired_services_;
  int64_t services_revision_ = 0;
  int64_t alone_since_ = 0;
};

}  // namespace cd4ml::sim
