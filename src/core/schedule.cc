// Assigns waiting stages to agents in the order in which they became ready.
#include "cd4ml/core/schedule.h"

#include <algorithm>
#include <map>

namespace cd4ml::core {
namespace {

// Returns the first label that `agent` lacks, or "".
std::string MissingLabel(const std::vector<std::string>& wanted, const FreeAgent& agent) {
  for (const std::string& label : wanted) {
    if (std::find(agent.labels.begin(), agent.labels.end(), label) == agent.labels.end()) return label;
  }
  return "";
}

// Returns the agent that this stage must go to: a deploy goes to the keeper of the live service.
std::string HomeOf(const WaitingStage& stage, const std::map<std::string, std::string>& homes) {
  if (stage.kind != StageKind::kDeploy) return "";
  const auto home = homes.find(stage.environment);
  return home == homes.end() ? "" : home->second;
}

bool Suits(const WaitingStage& stage, const FreeAgent& agent, const std::string& home) {
  return agent.accepts && agent.free_slots > 0 && (home.empty() || home == agent.name) &&
         MissingLabel(stage.labels, agent).empty();
}

std::string Join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

std::string Count(int count, std::string_view one, std::string_view many) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : many);
}

}  // namespace

std::vector<Assignment> Schedule(const std::vector<WaitingStage>& waiting, const std::vector<FreeAgent>& agents,
                                 const std::set<std::string>& locked,
                                 const std::map<std::string, std::string>& homes, UtcTime now) {
  std::vector<const WaitingStage*> order;
  for (const WaitingStage& stage : waiting) order.push_back(&stage);
  std::stable_sort(order.begin(), order.end(),
                   [](const WaitingStage* a, const WaitingStage* b) { return a->ready < b->ready; });
  std::vector<FreeAgent> free = agents;
  std::set<std::string> taken = locked;
  std::vector<Assignment> assignments;
  int slots = 0;
  for (const FreeAgent& agent : free) slots += agent.accepts ? std::max(0, agent.free_slots) : 0;
  for (const WaitingStage* stage : order) {
    if (slots == 0) break;
    if (stage->not_before > now) continue;
    const bool deploys = stage->kind == StageKind::kDeploy;
    if (deploys && taken.contains(stage->environment)) continue;
    const std::string home = HomeOf(*stage, homes);
    // The agent with the most free slots: it spreads work and keeps the rest for stages that need labels.
    FreeAgent* best = nullptr;
    for (FreeAgent& agent : free) {
      if (Suits(*stage, agent, home) && (best == nullptr || agent.free_slots > best->free_slots)) best = &agent;
    }
    if (best == nullptr) continue;
    --best->free_slots;
    --slots;
    if (deploys) taken.insert(stage->environment);
    assignments.push_back({stage->run, stage->stage, best->name});
  }
  return assignments;
}

std::string WhyWaiting(const WaitingStage& stage, const std::vector<FreeAgent>& agents,
                       const std::set<std::string>& locked, const std::map<std::string, std::string>& homes,
                       UtcTime now) {
  if (stage.not_before > now) return "is tried again in " + FormatDuration(stage.not_before - now);
  if (stage.kind == StageKind::kDeploy && locked.contains(stage.environment)) {
    return "environment \"" + stage.environment + "\" is locked by another deploy";
  }
  if (agents.empty()) return "no agent is connected; start one with cd4ml-agent";
  const std::string home = HomeOf(stage, homes);
  std::map<std::string, int> lacking;
  int busy = 0, draining = 0, elsewhere = 0;
  for (const FreeAgent& agent : agents) {
    const std::string label = MissingLabel(stage.labels, agent);
    if (!label.empty()) {
      ++lacking[label];
    } else if (!home.empty() && home != agent.name) {
      ++elsewhere;
    } else if (!agent.accepts) {
      ++draining;
    } else if (agent.free_slots <= 0) {
      ++busy;
    }
  }
  std::vector<std::string> reasons;
  for (const auto& [label, count] : lacking) {
    reasons.push_back(Count(count, "agent lacks", "agents lack") + " label \"" + label + "\"");
  }
  if (busy > 0) reasons.push_back(Count(busy, "agent is busy", "agents are busy"));
  if (draining > 0) reasons.push_back(Count(draining, "agent is draining", "agents are draining"));
  if (elsewhere > 0) reasons.push_back("agent \"" + home + "\" keeps the live service and is not free");
  return reasons.empty() ? "is about to start" : "no agent can take it: " + Join(reasons, "; ");
}

}  // namespace cd4ml::core
