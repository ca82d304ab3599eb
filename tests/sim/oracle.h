// The judge: sees every commit and every answer, knows what the world really did, and says what must not be.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cd4ml/core/retry.h"
#include "cd4ml/ports/history.h"
#include "cd4ml/ports/state_store.h"

namespace cd4ml::sim {

// What an agent has to give.
struct Machine {
  std::string name;
  std::string state;  // Names its state folder: agents of one name may differ in it.
  int slots = 1;
  std::vector<std::string> labels;
  core::Resources resources;
};

// A run that is to be done again, and what must come of it.
struct Rerun {
  core::RunId of;
  core::RetryScope scope = core::RetryScope::kFailed;
  std::string stage;              // kFrom, kOnly.
  std::set<std::string> changed;  // Stages with other parameters now.

  struct Expected {
    std::set<std::string> carried, left_out;
  };
  std::optional<Expected> expected;  // Absent: it must be refused.
};

// What the world knows better than the daemon.
struct Facts {
  std::function<int64_t()> now;                            // In milliseconds.
  std::function<int64_t(const std::string&)> heard;        // Last sign of life of an agent, or the boot.
  // Processes of a run that exist, by attempt.
  std::function<std::vector<core::AttemptId>(const core::RunId&)> processes;
  std::function<const Machine&(const std::string&)> machine;
  std::function<bool()> only_the_daemon_fails;
  std::function<std::vector<int64_t>(int64_t from)> naps;  // How long the daemon was stopped each time since then.
  int64_t ttl = 0, heartbeat = 0;
};

class Oracle {
 public:
  explicit Oracle(Facts facts) : facts_(std::move(facts)) {}

  // --- what was asked for and answered ---
  void Asked(const std::string& key, std::vector<core::StagePlan> stages) {
    asked_[key] = std::move(stages);
  }
  // The same for a run that does another one again; fills in what is expected of it.
  const Rerun& AskedAgain(const std::string& key, Rerun rerun);
  void Acknowledged(const std::string& key, const core::RunId& run);

  // --- what agents do ---

  void Started(const core::AttemptId& attempt);
  // Everything at rest: returns what is wrong with the services that an agent keeps, by deployment; "" when nothing is.
  std::string CompareServices(const std::string& agent, const std::set<std::string>& kept) const;

  // --- what the daemon does ---
  void Committed(const std::vector<Change>& changes);
  // A commit whose outcome is unknown: the next Loaded tells.
  void Unknown(const std::vector<Change>& changes) { unknown_ = changes; }
  void Loaded(const StoredState& state, History& history);
  // After every turn.
  void TurnEnded();

  // Compares everything with the store. `events` gives a run's events as they are recorded.
  void CompareAll(History& history,
                  const std::function<std::vector<core::Event>(const core::RunId&)>& events);

  // --- what is known ---
  void Fail(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  const std::string& violation() const { return violation_; }
  const std::map<core::RunId, core::Run>& runs() const { return runs_; }
  const core::Run* FindRun(const core::RunId& id) const {
    const auto found = runs_.find(id);
    return found == runs_.end() ? nullptr : &found->second;
  }
  // Whether the daemon's books still count an attempt.
  bool IsLive(const core::AttemptId& attempt) const;
  bool IsLost(const core::AttemptId& attempt) const;
  core::Resources ResourcesOf(const core::AttemptId& attempt) const;
  std::vector<core::RunId> OpenRuns() const;
  int64_t events() const { return events_; }

  // Says which attempt an outcome is of: nothing else may end it. Set by the agents.
  static Value Signature(const core::AttemptId& attempt);

 private:
  void Check(const core::Run& run, const core::Event& event);
  void CheckLease(const core::Run& run, const core::LeaseGranted& event);
  void CheckRoom(const core::Run& run, const core::LeaseGranted& event);
  void CheckRerun(const core::Run& run);
  void CheckAgent(const AgentRecord& agent, bool had_work);
  void CheckAttemptEnd(const core::Run& run, const core::AttemptEnded& event);
  void CheckProduced(const core::Run& run, const core::VersionsProduced& event);
  void CheckRunEnd(const core::Run& run, const core::RunEnded& event);
  void CheckAsked(const core::RunStarted& event);
  void CheckGroup(const core::RunId& id, const core::ConcurrencySpec& concurrency);
  void CheckPolicy(const core::Run& run, const std::vector<core::Event>& events);
  void Note(const core::Run& run, const core::Event& event);
  void Resolve(History& history);
  // How long an agent was silent, as far as the daemon listened; of each time that it was stopped, `of_each` counts.
  int64_t Silence(const std::string& agent, int64_t of_each) const;
  // The stage as it was asked for; null when it was not.
  const core::StagePlan* FindAsked(const core::Run& run, const std::string& stage) const;

  Facts facts_;
  std::string violation_;
  std::map<std::string, std::vector<core::StagePlan>> asked_;  // By idempotency key.
  std::map<std::string, Rerun> reruns_;                         // By idempotency key.
  std::map<std::string, core::RunId> acknowledged_, started_;  // By idempotency key.
  std::map<core::RunId, core::Run> runs_;
  std::vector<Change> unknown_;
  bool late_ = false;  // What is checked now was decided in an earlier life: the world has gone on.
  std::map<std::string, std::set<core::AttemptId>> live_;         // By agent.
  std::map<std::string, std::set<core::AttemptId>> locks_;        // By environment.
  std::map<std::string, core::AttemptId> producers_;              // By version.
  std::map<std::string, bool> drained_;                           // By agent.
  std::map<std::string, std::string> instances_;                  // By agent: whose session was the last.
  std::set<core::AttemptId> begun_;
  std::map<std::string, core::Deployment> deployed_;              // By environment.
  int64_t events_ = 0;
};

// A run in one text: what must be the same in memory, in the tables and after the events.
std::string Describe(const core::Run& run);

}  // namespace cd4ml::sim
