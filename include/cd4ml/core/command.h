// What may be asked of a run. Commands can be refused; ids, times and answers of the world enter here.
#pragma once

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cd4ml/core/run.h"

namespace cd4ml::core {

// Begins a run. Decided on an empty Run.
struct StartRun {
  RunId id;
  std::string pipeline;
  int64_t number = 0;
  std::string lane;
  int priority = 0;
  ConcurrencySpec concurrency;
  bool queued = false;                // Its group is full.
  RunId retry_of;
  TriggerFacts trigger;
  Pins pins;
  std::vector<StagePlan> stages;      // From MakePlan, in topological order.
  // Of a retry: what need not be done again, and what was not asked for.
  std::map<std::string, Carried> carried;
  std::set<std::string> left_out;
};

// A queued run's turn has come.
struct AdmitRun {};

struct CancelRun {
  std::string reason;
  RunId superseded_by;                // Empty: somebody asked.
};

// A stage that waits for or holds its environment gives way to that of a newer run.
struct SupersedeStage {
  std::string stage;
  RunId by;
};

struct GrantLease {
  std::string stage;
  std::string agent;
  Recipe recipe;
  std::string reuse_note;
};

// An earlier run has made what this ready stage would make.
struct OfferResult {
  std::string stage;
  Carried carried;
};

struct ReportStarted {
  std::string stage;
  int number = 0;
  std::string agent;
};

struct ReportFinished {
  std::string stage;
  int number = 0;
  std::string agent;
  Outcome outcome;
};

// The agent of an attempt went silent or says that it does not know it.
struct LoseLease {
  std::string stage;
  int number = 0;
  std::string why;
};

// Time has passed: see NextDeadline. `hopeful` names stages that an agent will take when it has room: they wait for their
// turn, which is no reason to give up.
struct Tick {
  std::set<std::string> hopeful;
};

using Command = std::variant<StartRun, AdmitRun, CancelRun, SupersedeStage, GrantLease, OfferResult, ReportStarted, ReportFinished,
                             LoseLease, Tick>;

}  // namespace cd4ml::core
