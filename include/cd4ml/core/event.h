// Facts about a run. An event is never refused: it has been decided and committed.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cd4ml/core/deployment.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

struct RunStarted {
  RunId id;
  std::string pipeline;
  int64_t number = 0;
  std::string lane;
  int priority = 0;
  ConcurrencySpec concurrency;
  bool queued = false;                // Its group is full: RunAdmitted follows when it may go on.
  RunId retry_of;
  TriggerFacts trigger;
  Pins pins;
  std::vector<StagePlan> stages;      // In topological order.
};

struct RunAdmitted {};

// A stage has the result that an earlier run made.
struct StageCarried {
  std::string stage;
  Carried carried;
};

struct StageReady {
  std::string stage;
  UtcTime not_before;                 // Back-off of a retry; unset: at once.
};

struct LeaseGranted {
  std::string stage;
  int number = 0;
  std::string agent;
  Recipe recipe;                      // Complete; empty: not reusable.
  std::string reuse_note;             // Why no earlier result was taken over.
};

struct AttemptStarted {
  std::string stage;
  int number = 0;
};

struct AttemptEnded {
  std::string stage;
  int number = 0;
  AttemptState state = AttemptState::kFailed;
  Outcome outcome;                    // For lost attempts only reason and message are set.
};

// What an accepted attempt used and produced: the edges of lineage.
struct VersionsProduced {
  std::string stage;
  int number = 0;
  std::vector<Version> used;
  std::vector<Version> produced;
};

struct Deployed {
  std::string stage;
  Deployment deployment;              // `replaced` and times are filled in by whoever knows the ledger.
};

struct MonitorArmed {
  std::string stage;
  std::string environment;
  std::string deployment;             // The deployment it watches.
};

// A leased stage is to end; its agent is told by no longer wanting the lease.
struct StopRequested {
  std::string stage;
  Stop stop;
};

struct StageEnded {
  std::string stage;
  StageState state = StageState::kSucceeded;
  Reason reason = Reason::kNone;
  std::string message;
};

struct CancelRequested {
  std::string reason;
  RunId superseded_by;                // Empty: somebody asked.
};

struct RunEnded {
  RunState state = RunState::kSucceeded;
  Reason reason = Reason::kNone;
  std::string message;
};

using Event = std::variant<RunStarted, StageReady, LeaseGranted, AttemptStarted, AttemptEnded,
                           VersionsProduced, Deployed, MonitorArmed, StageEnded, CancelRequested, RunEnded,
                           RunAdmitted, StageCarried, StopRequested>;

// Returns "run_started", "stage_ready", ...
std::string_view EventName(const Event& event);

}  // namespace cd4ml::core
