// The loop's logic: take requests, decide, commit everything decided in one turn as one transaction, then
// answer and tell. It owns all state and runs on one thread; it has no clock and no threads of its own.
//
// Within a turn, events are applied to the state in memory before they are durable, so that later requests of
// the turn see them. Nothing leaves the orchestrator before the commit, and a failed commit ends the process:
// what was decided too early dies with it. Only when the disk is full it is known that nothing was recorded:
// then the state is loaded again and the turn's requests are refused.
//
// From the moment that the disk has been full until it has space again the daemon is read-only: it takes no new
// work and grants no leases, but records results and losses in the space that the store has held back.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cd4ml/base/histogram.h"
#include "cd4ml/core/command.h"
#include "cd4ml/core/decide.h"
#include "cd4ml/core/monitor.h"
#include "cd4ml/core/schedule.h"
#include "cd4ml/daemon/daemon.h"
#include "asked.h"
#include "baselines.h"
#include "live.h"
#include "reuse.h"
#include "roster.h"
#include "timeline.h"

namespace cd4ml::daemon {

// A run that is ready to be started: everything resolved and pinned, only its number is missing.
struct PreparedRun {
  core::StartRun command;             // Without id and number.
  std::vector<std::string> warnings;  // Of the definition, for people.
};

// A monitor's check that has been measured and judged; what follows is decided on the loop.
struct JudgedCheck {
  std::string monitor;
  std::string deployment;             // That was watched: a newer one makes the check void.
  core::MonitorSpec spec;
  core::Verdict verdict;
  int64_t requests = 0;
};

class Orchestrator {
 public:
  struct Hooks {
    // What was committed: the runs touched, and the attempts that ended.
    std::function<void(const std::set<core::RunId>&)> committed;
    // Prepares a run in the background and calls `done` on the loop.
    std::function<void(StartRequest, core::TriggerKind, Done<PreparedRun>)> prepare;
    // Measures and judges a monitor in the background and calls FinishCheck on the loop.
    std::function<void(core::MonitorState, std::optional<TaskBaseline> train_data)> check;
    std::function<void(const absl::Status&)> fail_stop;
    // Whether an artifact's bytes are there; quick.
    std::function<bool(const ArtifactRef&)> is_kept = [](const ArtifactRef&) { return true; };
    // For measuring only: see ports/clock.h.
    std::function<int64_t()> ticks = [] { return int64_t{0}; };
  };

  // Where the time of a turn goes.
  struct Steps {
    Histogram decide;                 // What was asked in this turn.
    Histogram assign;                 // Timeouts, monitors that are due, ready stages to agents.
    Histogram commit;                 // One transaction.
    Histogram tell;                   // Watchers, desired states, answers.
  };

  Orchestrator(const Settings& settings, StateStore& store, History& history, Hooks hooks);

  // Takes up everything that the store holds. Call once, before anything else.
  absl::Status Load(UtcTime now, Duration steady);

  // --- requests; answers come after the commit at the end of the turn ---
  void StartRun(PreparedRun prepared, Done<core::Run> done);
  // Answers a request whose key has started a run already; returns false when there is none. ALREADY_EXISTS when that run
  // was asked for otherwise.
  bool AnswerRepeated(const Asked& asked, const Done<core::Run>& done);
  void CancelRun(const core::RunId& run, const std::string& reason, Done<core::Run> done);
  void DrainAgent(const std::string& agent, bool drained, const std::string& reason, Done<AgentRecord> done);
  void PutPipelines(std::vector<PipelineRecord> pipelines, DoneStatus done);
  void FinishCheck(JudgedCheck check);
  // Notes what a person said about a rule of a gate, from now on for `lasting`; or, of one that has an id, that it is revoked.
  void PutOverride(core::OverrideRecord record, Duration lasting, Done<core::OverrideRecord> done);
  // Writes down what is no fact of a run: pins, and what is removed.
  void Record(Change change, DoneStatus done) {
    changes_.push_back(std::move(change));
    Reply(std::move(done));
  }

  void OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                   std::function<void(absl::Status)> on_lost, Done<SessionGrant> done);
  void Report(const std::string& session, AgentReport report, DoneStatus done);
  void Finish(const std::string& session, const core::AttemptId& attempt, core::Outcome outcome,
              Done<int64_t> done);
  void RecordPredictions(const std::string& deployment, std::vector<PredictionRecord> predictions,
                         Done<int64_t> done);
  void CloseSession(const std::string& session, DoneStatus done);

  // A log could not be written because the disk is full.
  void RunShort();

  // --- the turn ---
  // Sets the time that everything until the next call is decided at; wall time never runs backwards.
  void BeginTurn(UtcTime now, Duration steady);
  // Fires what is due, schedules, commits, answers, pushes.
  void EndTurn();
  // Returns how long until something is due, or nullopt.
  std::optional<Duration> NextWait() const;

  // --- what is known now ---
  // RESOURCE_EXHAUSTED, with what to do, while the disk is full and no new work is taken.
  const absl::Status& read_only() const { return read_only_; }
  // Records that could not be read at the start, and why.
  const std::vector<std::string>& quarantined() const { return quarantined_; }
  std::map<std::string, std::string> Waiting(const core::RunId& run) const;
  // Returns what a queued run waits for; "" when it is not queued.
  std::string QueuedBehind(const core::RunId& run) const;
  std::vector<AgentView> Agents() const { return roster_.Views(now_); }
  const std::map<std::string, PipelineRecord>& pipelines() const { return pipelines_; }
  const std::map<std::string, core::MonitorState>& monitors() const { return monitors_; }
  // Returns which stages could be taken by whom: for plans.
  std::string WhoCouldTake(const std::string& pipeline, const core::StagePlan& stage) const;
  // Returns what would become of the run's stages: "reuses car/11", "runs: code changed since car/11". For plans.
  std::map<std::string, std::string> WhatWouldBeReused(const core::StartRun& command) const;
  // Returns whether `agent`'s session may write the attempt's log.
  absl::Status MayAppend(const std::string& session, const core::AttemptId& attempt) const;
  const Steps& steps() const { return steps_; }

 private:
  // Decides, applies and notes for the commit. Returns the number of events.
  absl::StatusOr<size_t> Handle(core::Run& run, const core::Command& command);
  void Follow(const core::Run& run, const core::Event& event);
  core::WaitingStage ToWaiting(const core::Run& run, const core::StageRun& stage) const;
  void AddWaiting(const core::Run& run, const core::StageRun& stage);
  void LeaseAgain(const core::Run& run);
  void NoteRun(const core::Run& run);
  void NoteDeploy(const core::Run& run, const core::StageRun& stage);
  void NoteLease(const core::Run& run, const core::StageRun& stage);
  core::Supply Supply() const { return {roster_.Free(), locks_, homes_, leased_, full_}; }
  // Lets the runs of groups and the deploys of environments that have changed follow their policies.
  void Regroup();
  void RegroupRuns(const std::string& group);
  void RegroupDeploys(const std::string& environment);
  std::set<std::string> HopefulStages(core::Run& run) const;
  void NoteDeadline(const core::RunId& id);
  void MakeLive(const core::Run& run, core::Deployment deployment);
  void ArmMonitor(const core::Run& run, const core::MonitorArmed& event);
  void FireDeadlines();
  void StartChecks();
  // Looks for earlier results of what has become ready.
  void OfferResults();
  ReuseJudgement JudgeReuse(const core::Run& run, const core::StageRun& stage) const;
  // What the gate would be compared with if it began now, as parts of its recipe.
  std::map<std::string, std::string> ComparedNow(const core::Run& run, const core::StageRun& stage) const;
  // Holds a gate's report to the overrides that are on record.
  void CheckOverrides(const core::Run& run, const std::string& stage, core::Outcome& outcome) const;
  LiveMap LiveThen(const core::Run& run, const core::StageRun& stage) const;
  void Assign();
  // `starts`: run time goes on from what the store knows of it.
  absl::Status TakeUp(bool starts);
  void MarkClock();
  // RESOURCE_EXHAUSTED: nothing was recorded, and the turn is undone. Other errors: the outcome is unknown.
  absl::Status Commit();
  absl::Status Undo(const absl::Status& why);
  void CheckSpace();
  // Returns the run that `key` has started already.
  absl::StatusOr<std::optional<core::RunId>> FindByKey(const std::string& key);
  bool IsDeployment(const std::string& id) const;
  core::Run* FindOpen(const core::RunId& run);
  absl::StatusOr<core::Run*> FindForCommand(const core::RunId& run);
  void ReplyRun(const core::RunId& run, Done<core::Run> done);
  // `reply` is told whether this turn was recorded.
  void Reply(std::function<void(const absl::Status&)> reply) { replies_.push_back(std::move(reply)); }
  void RecordCheck(const core::MonitorState& state, MonitorCheckRecord record);
  void Retrain(JudgedCheck check, core::MonitorDecision decision, MonitorCheckRecord record);

  const Settings& settings_;
  StateStore& store_;
  History& history_;
  Hooks hooks_;
  Roster roster_;
  const Reuse reuse_;
  const Baselines baselines_;
  UtcTime now_;
  Duration steady_{0};
  Timeline timeline_{{}, Duration(0)};
  std::optional<ClockMark> clock_mark_;                     // As it is stored.
  std::string store_id_;
  int64_t sessions_ = 0;
  absl::Status read_only_;
  Duration look_at_{0};                                     // Steady time of the next look for space.
  std::vector<std::string> quarantined_;
  std::set<std::string> checking_;                          // Monitors whose check is under way.

  // Follows from the store: Undo takes it up again.
  std::map<core::RunId, core::Run> runs_;                   // Open ones only.
  std::map<std::string, int64_t> last_number_;              // By pipeline.
  std::map<std::string, PipelineRecord> pipelines_;
  std::map<std::string, core::MonitorState> monitors_;
  LiveMap live_;
  core::ReadyQueue queue_;
  std::map<std::pair<core::RunId, std::string>, ReuseJudgement> reusable_;   // Ready stages that must be performed.
  std::set<std::pair<core::RunId, std::string>> offers_;    // Not looked at yet.
  std::map<std::string, core::AttemptId> locks_;            // EnvironmentKey -> the deploy that holds it.
  std::map<std::string, std::string> homes_;                // EnvironmentKey -> the agent that keeps its service.
  std::map<std::string, int> leased_;                       // Pipeline -> how many leases it holds.
  std::map<std::string, int> leased_cells_;                 // Matrix with a limit -> how many of its cells are leased.
  std::map<std::string, int> full_;                         // Those that have reached it -> the limit.
  std::map<std::string, core::RunId> keys_;                 // Idempotency keys of open runs.
  std::map<std::string, std::vector<core::RunId>> groups_;  // Concurrency group -> its open runs, as they came.
  // EnvironmentKey -> deploys that wait for it or hold it, by the number of their run.
  std::map<std::string, std::map<int64_t, std::pair<core::RunId, std::string>>> deploys_;
  std::set<std::string> regroup_runs_, regroup_deploys_;    // Changed, and not looked at yet.
  std::set<std::pair<UtcTime, core::RunId>> deadlines_;
  std::map<core::RunId, UtcTime> deadline_of_;

  // Of this turn.
  std::vector<Change> changes_;
  std::vector<std::function<void(const absl::Status&)>> replies_;
  std::set<core::RunId> touched_;
  int64_t began_ticks_ = 0, committed_ticks_ = 0;

  Steps steps_;
};

}  // namespace cd4ml::daemon
