// What may be asked of a run. Commands can be refused; ids, times and answers of the world enter here.
#pragma once

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
  TriggerFacts trigger;
  Pins pins;
  std::vector<StagePlan> stages;      // From MakePlan, in topological order.
};

struct CancelRun {
  std::string reason;
};

struct GrantLease {
  std::string stage;
  std::string agent;
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

// Time has passed: see NextDeadline.
struct Tick {};

using Command = std::variant<StartRun, CancelRun, GrantLease, ReportStarted, ReportFinished, LoseLease, Tick>;

}  // namespace cd4ml::core
