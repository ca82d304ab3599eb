// Which agent gets which ready stage. Pure; in the order of readiness, so that nothing starves.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// A stage that could start now as far as its run is concerned.
struct WaitingStage {
  RunId run;
  std::string stage;
  StageKind kind = StageKind::kCommand;
  std::vector<std::string> labels;
  std::string environment;           // kDeploy: must not be locked.
  UtcTime ready;
  UtcTime not_before;
};

// An agent that could take more.
struct FreeAgent {
  std::string name;
  std::vector<std::string> labels;
  int free_slots = 0;
  bool accepts = true;               // false: draining.
};

struct Assignment {
  RunId run;
  std::string stage;
  std::string agent;

  bool operator==(const Assignment&) const = default;
};

// `locked` holds the environments that a leased deploy holds. `homes` says which agent keeps an
// environment's live service: its next deploy goes there, because that agent has the old one to replace.
std::vector<Assignment> Schedule(const std::vector<WaitingStage>& waiting, const std::vector<FreeAgent>& agents,
                                 const std::set<std::string>& locked,
                                 const std::map<std::string, std::string>& homes, UtcTime now);

// Returns why `stage` has no agent, in one sentence for people: "no agent is connected", "1 agent lacks
// label gpu; 2 are busy".
std::string WhyWaiting(const WaitingStage& stage, const std::vector<FreeAgent>& agents,
                       const std::set<std::string>& locked, const std::map<std::string, std::string>& homes,
                       UtcTime now);

}  // namespace cd4ml::core
