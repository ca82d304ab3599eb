// Queues of stages with equal requirements, and the choice among their heads.
#include "cd4ml/core/schedule.h"

#include <algorithm>

namespace cd4ml::core {
namespace {

constexpr Duration kAgingStep(600'000);

// Returns the first label that `agent` lacks, or "".
std::string_view MissingLabel(const std::vector<std::string>& wanted, const FreeAgent& agent) {
  for (const std::string& label : wanted) {
    if (std::find(agent.labels.begin(), agent.labels.end(), label) == agent.labels.end()) return label;
  }
  return "";
}

// Returns the agent that this stage must go to: a deploy goes to the keeper of the live service.
std::string_view HomeOf(const WaitingStage& stage, const Supply& supply) {
  if (stage.kind != StageKind::kDeploy) return "";
  const auto home = supply.homes.find(stage.environment);
  return home == supply.homes.end() ? std::string_view() : home->second;
}

bool IsLocked(const WaitingStage& stage, const Supply& supply) {
  if (!stage.matrix.empty() && supply.full.contains(stage.matrix)) return true;
  return stage.kind == StageKind::kDeploy && supply.locked.contains(stage.environment);
}

// Whatever the agent has to do just now.
bool Suits(const WaitingStage& stage, const FreeAgent& agent, std::string_view home) {
  return agent.accepts && (home.empty() || home == agent.name) && MissingLabel(stage.labels, agent).empty() &&
         Shortage(stage.resources, agent.total).empty();
}

using Names = std::set<std::string, std::less<>>;

// The agent with the most free slots: it spreads work and keeps the rest for stages that need labels. The one to avoid
// only when there is no other.
const FreeAgent* FindAgent(const WaitingStage& stage, const Supply& supply, const Names& reserved) {
  if (IsLocked(stage, supply)) return nullptr;
  const std::string_view home = HomeOf(stage, supply);
  const auto rank = [&stage](const FreeAgent& agent) { return std::pair(agent.name != stage.avoid, agent.free_slots); };
  const FreeAgent* best = nullptr;
  for (const auto& [name, agent] : supply.agents) {
    if (agent.free_slots <= 0 || (best != nullptr && rank(agent) <= rank(*best))) continue;
    if (reserved.contains(name) || !Suits(stage, agent, home)) continue;
    if (Shortage(stage.resources, agent.free).empty()) best = &agent;
  }
  return best;
}

// How much of what the stage wants is missing on an agent: of the resource that it is shortest of, as a share.
double MissingShare(const Resources& wants, const Resources& free) {
  const auto share = [](int64_t wanted, int64_t has) {
    return wanted <= has ? 0.0 : static_cast<double>(wanted - has) / static_cast<double>(wanted);
  };
  return std::max({share(wants.cpu_millis, free.cpu_millis), share(wants.memory_bytes, free.memory_bytes),
                   share(wants.gpus, free.gpus)});
}

// The agent that will soonest have room among those that are not spoken for: the one that lacks least of what the stage
// wants, and of those that lack the same the one with the most free cores.
const FreeAgent* FindAgentToEmpty(const WaitingStage& stage, const Supply& supply, const Names& reserved) {
  if (IsLocked(stage, supply)) return nullptr;
  const std::string_view home = HomeOf(stage, supply);
  const auto rank = [&stage](const FreeAgent& agent) {
    return std::pair(-MissingShare(stage.resources, agent.free), agent.free.cpu_millis);
  };
  const FreeAgent* best = nullptr;
  for (const auto& [name, agent] : supply.agents) {
    if (reserved.contains(name) || !Suits(stage, agent, home)) continue;
    if (best == nullptr || rank(agent) > rank(*best)) best = &agent;
  }
  return best;
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

// What an agent looks at when it takes a stage or not, as text.
std::string RequirementOf(const WaitingStage& stage) {
  std::string text = Join(stage.labels, ",");
  const Resources& wants = stage.resources;
  for (const int64_t amount : {wants.cpu_millis, wants.memory_bytes, wants.gpus}) {
    text += '|';
    if (amount != 0) text += std::to_string(amount);
  }
  if (stage.kind == StageKind::kDeploy) text += '|' + stage.environment;
  if (!stage.avoid.empty()) text += '|' + stage.avoid;
  if (!stage.matrix.empty()) text += "|@" + stage.matrix;
  return text;
}

int LeasedBy(const std::string& pipeline, const Supply& supply) {
  const auto found = supply.leased.find(pipeline);
  return found == supply.leased.end() ? 0 : found->second;
}

std::string CpuText(int64_t millis) {
  const std::string whole = std::to_string(millis / 1000);
  return millis % 1000 == 0 ? whole : whole + "." + std::to_string(millis % 1000 + 1000).substr(1);
}

}  // namespace

std::string Shortage(const Resources& wanted, const Resources& free) {
  const auto lacks = [](std::string_view what, const std::string& wants, const std::string& has) {
    return std::string(what) + " " + wants + " is more than " + has;
  };
  if (wanted.cpu_millis > free.cpu_millis) return lacks("cpu", CpuText(wanted.cpu_millis), CpuText(free.cpu_millis));
  if (wanted.memory_bytes > free.memory_bytes) {
    return lacks("memory", FormatSize(wanted.memory_bytes), FormatSize(free.memory_bytes));
  }
  if (wanted.gpus > free.gpus) return lacks("gpu", std::to_string(wanted.gpus), std::to_string(free.gpus));
  return "";
}

void ReadyQueue::Add(WaitingStage stage) {
  std::pair key(stage.run, stage.stage);
  if (places_.contains(key)) return;
  if (stage.not_before.is_set()) {
    delayed_.emplace(stage.not_before, key);
    places_[key];
    held_back_[std::move(key)] = std::move(stage);
  } else {
    Enqueue(std::move(stage));
  }
}

void ReadyQueue::Enqueue(WaitingStage stage) {
  ClassKey key(stage.priority, stage.pipeline, RequirementOf(stage));
  Order order(stage.ready, stage.run, stage.stage);
  places_[{stage.run, stage.stage}] = {key, order};
  classes_[std::move(key)].emplace(std::move(order), std::move(stage));
}

void ReadyQueue::Remove(const RunId& run, const std::string& stage) {
  const auto place = places_.find({run, stage});
  if (place == places_.end()) return;
  if (const auto held = held_back_.find(place->first); held != held_back_.end()) {
    delayed_.erase({held->second.not_before, held->first});
    held_back_.erase(held);
  } else {
    const auto found = classes_.find(place->second.first);
    found->second.erase(place->second.second);
    if (found->second.empty()) classes_.erase(found);
  }
  places_.erase(place);
}

std::optional<Assignment> ReadyQueue::Next(Pass& pass, const Supply& supply) {
  while (!delayed_.empty() && delayed_.begin()->first <= pass.now_) {
    const auto held = held_back_.find(delayed_.begin()->second);
    WaitingStage stage = std::move(held->second);
    held_back_.erase(held);
    delayed_.erase(delayed_.begin());
    Enqueue(std::move(stage));
  }
  while (true) {
    const Class* best = nullptr;
    std::tuple<int64_t, int, UtcTime> best_rank;
    for (const auto& [key, queue] : classes_) {
      if (pass.stuck_.contains(&queue)) continue;
      const WaitingStage& head = queue.begin()->second;
      const int64_t waited = std::max<int64_t>(0, (pass.now_ - head.ready) / kAgingStep);
      const std::tuple rank(-(head.priority + waited), LeasedBy(head.pipeline, supply), head.ready);
      if (best != nullptr && best_rank <= rank) continue;
      best = &queue;
      best_rank = rank;
    }
    if (best == nullptr) return std::nullopt;
    const WaitingStage& head = best->begin()->second;
    if (const FreeAgent* agent = FindAgent(head, supply, pass.reserved_)) {
      return Assignment{head.run, head.stage, agent->name};
    }
    pass.stuck_.insert(best);
    if (head.resources == Resources() || pass.now_ - head.ready < kAgingStep) continue;
    const FreeAgent* agent = FindAgentToEmpty(head, supply, pass.reserved_);
    if (agent != nullptr) pass.reserved_.insert(agent->name);
  }
}

std::optional<UtcTime> ReadyQueue::NextBackoffEnd() const {
  if (delayed_.empty()) return std::nullopt;
  return delayed_.begin()->first;
}

bool CouldEverTake(const WaitingStage& stage, const Supply& supply) {
  const std::string_view home = HomeOf(stage, supply);
  return std::any_of(supply.agents.begin(), supply.agents.end(),
                     [&](const auto& entry) { return Suits(stage, entry.second, home); });
}

std::string WhyWaiting(const WaitingStage& stage, const Supply& supply, UtcTime now) {
  if (stage.not_before > now) return "is tried again in " + FormatDuration(stage.not_before - now);
  if (const auto full = supply.full.find(stage.matrix); !stage.matrix.empty() && full != supply.full.end()) {
    return Count(full->second, "cell", "cells") + " of its matrix " + (full->second == 1 ? "is" : "are") +
           " under way, as many as max_parallel allows";
  }
  if (IsLocked(stage, supply)) {
    return "environment \"" + stage.environment + "\" is locked by " + ToText(supply.locked.at(stage.environment));
  }
  if (supply.agents.empty()) return "no agent is connected; start one with cd4ml-agent";
  const std::string_view home = HomeOf(stage, supply);
  std::map<std::string, int> lacking, short_of, troubled;
  int busy = 0, draining = 0, elsewhere = 0;
  for (const auto& [name, agent] : supply.agents) {
    const std::string_view label = MissingLabel(stage.labels, agent);
    const std::string never = Shortage(stage.resources, agent.total);
    if (!label.empty()) {
      ++lacking[std::string(label)];
    } else if (!home.empty() && home != name) {
      ++elsewhere;
    } else if (!never.empty()) {
      ++short_of[never + " of the whole agent"];
    } else if (!agent.trouble.empty()) {
      ++troubled[agent.trouble];
    } else if (!agent.accepts) {
      ++draining;
    } else if (const std::string now_short = Shortage(stage.resources, agent.free); agent.free_slots <= 0) {
      ++busy;
    } else if (!now_short.empty()) {
      ++short_of[now_short + " that is free"];
    }
  }
  std::vector<std::string> reasons;
  for (const auto& [label, count] : lacking) {
    reasons.push_back(Count(count, "agent lacks", "agents lack") + " label \"" + label + "\"");
  }
  for (const auto& [what, count] : short_of) reasons.push_back(Count(count, "agent: ", "agents: ") + what);
  for (const auto& [what, count] : troubled) reasons.push_back(Count(count, "agent: ", "agents: ") + what);
  if (busy > 0) reasons.push_back(Count(busy, "agent is busy", "agents are busy"));
  if (draining > 0) reasons.push_back(Count(draining, "agent is draining", "agents are draining"));
  if (elsewhere > 0) reasons.push_back("agent \"" + std::string(home) + "\" keeps the live service and is not free");
  return reasons.empty() ? "is about to start" : "no agent can take it: " + Join(reasons, "; ");
}

}  // namespace cd4ml::core
