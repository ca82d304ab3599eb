// What a gate judges by beside its inputs that runs of the past and people hold: earlier results and overrides.
//
// Everything is looked up as it was recorded before a moment, so that the same lease gets the same after a restart, and
// what happens in the same turn of the loop does not count yet.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cd4ml/core/override.h"
#include "cd4ml/ports/agent_api.h"
#include "cd4ml/ports/history.h"

namespace cd4ml::daemon {

class Baselines {
 public:
  explicit Baselines(History& history) : history_(history) {}

  // Adds the baselines that the stage's rules name and the overrides of its rules, for a lease that was granted at `at`.
  // A retry and a reproduction are compared with what there was when the run that they do again did it.
  void Add(const core::Run& run, const core::StageRun& stage, UtcTime at, Task& task) const;

  // Returns the overrides in force for this stage; for a reproduction, those that were.
  std::vector<core::Override> OverridesOf(const core::Run& run, const core::StageRun& stage, UtcTime at) const;

 private:
  // When something was done for the first time, and in which run.
  struct Moment {
    int64_t number = 0;
    UtcTime granted, created;
  };
  Moment FirstTime(const core::Run& run, const core::StageRun& stage, UtcTime at) const;

  History& history_;
};

// Returns what the stage is compared with as parts of its recipe, by content.
std::map<std::string, std::string> ComparedParts(const Task& task);

}  // namespace cd4ml::daemon
