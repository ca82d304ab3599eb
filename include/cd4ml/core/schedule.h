// Which agent gets which ready stage, and when it is whose turn.
//
// Order: the highest priority first, where every ten minutes of waiting count as one step of priority, so that nothing
// starves; then the pipeline that holds the fewest leases, so that a large one leaves room for the others; then whoever
// waits longest. A stage that has waited that long for more than an agent has free gets that agent to itself: small
// stages no longer go past it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cd4ml/base/time.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/resources.h"
#include "cd4ml/core/run.h"

namespace cd4ml::core {

// A stage that could start now as far as its run is concerned.
struct WaitingStage {
  RunId run;
  std::string stage;
  std::string pipeline;
  int priority = 0;
  StageKind kind = StageKind::kCommand;
  std::vector<std::string> labels;
  Resources resources;
  std::string environment;           // kDeploy: must not be locked.
  std::string matrix;                // Cells of a matrix that may not all be under way at once: which one.
  std::string avoid;                 // The agent that could not do it the last time: any other one is better.
  UtcTime ready;
  UtcTime not_before;
};

// An agent and what it has left.
struct FreeAgent {
  std::string name;
  std::vector<std::string> labels;
  int free_slots = 0;
  Resources total, free;
  bool accepts = true;               // false: draining, or in trouble.
  std::string trouble;               // Why it cannot begin anything now; empty: it can.
};

// The other side: what there is to be had. Looked at anew for every assignment, so that a lease that was granted counts
// at once.
struct Supply {
  const std::map<std::string, FreeAgent>& agents;
  const std::map<std::string, AttemptId>& locked;      // Environments that a leased deploy holds.
  // Which agent keeps an environment's live service: its next deploy goes there, because that agent has the old one to
  // replace.
  const std::map<std::string, std::string>& homes;
  const std::map<std::string, int>& leased;            // By pipeline: how many leases it holds.
  const std::map<std::string, int>& full;              // Matrices of which no more cells may be leased: how many are.
};

struct Assignment {
  RunId run;
  std::string stage;
  std::string agent;

  bool operator==(const Assignment&) const = default;
};

// The stages that wait for an agent. Costs depend on how many different requirements wait, not on how many stages.
class ReadyQueue {
 public:
  void Add(WaitingStage stage);
  // Does nothing when it is not there.
  void Remove(const RunId& run, const std::string& stage);
  bool empty() const { return places_.empty(); }
  size_t size() const { return places_.size(); }

  // One look through the queue: what could not be placed once is not tried again within it.
  class Pass {
   public:
    explicit Pass(UtcTime now) : now_(now) {}

   private:
    friend class ReadyQueue;
    UtcTime now_;
    std::set<const void*> stuck_;
    std::set<std::string, std::less<>> reserved_;   // Agents that are emptied for one that has waited long.
  };
  // Returns who comes next and where it goes, or nullopt when nothing more can be placed. The caller grants the lease,
  // which removes the stage and takes from the supply, and asks again.
  std::optional<Assignment> Next(Pass& pass, const Supply& supply);

  // Returns when the next back-off ends, or nullopt.
  std::optional<UtcTime> NextBackoffEnd() const;

 private:
  // Stages of one pipeline with one priority that any agent takes or refuses alike.
  using ClassKey = std::tuple<int, std::string, std::string>;
  using Order = std::tuple<UtcTime, RunId, std::string>;
  using Class = std::map<Order, WaitingStage>;

  void Enqueue(WaitingStage stage);

  std::map<ClassKey, Class> classes_;
  std::set<std::pair<UtcTime, std::pair<RunId, std::string>>> delayed_;   // Stages whose back-off has not ended.
  std::map<std::pair<RunId, std::string>, WaitingStage> held_back_;       // Those stages.
  std::map<std::pair<RunId, std::string>, std::pair<ClassKey, Order>> places_;   // Where every stage stands.
};

// Returns whether an agent that is connected now could take the stage if it had nothing else to do.
bool CouldEverTake(const WaitingStage& stage, const Supply& supply);

// Returns why `stage` has no agent, in one sentence for people: "no agent is connected", "no agent can take it: 1 agent
// lacks label "gpu"; 2 agents are busy".
std::string WhyWaiting(const WaitingStage& stage, const Supply& supply, UtcTime now);

}  // namespace cd4ml::core
