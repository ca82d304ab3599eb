// Sessions and desired leases.
#include "roster.h"

#include <algorithm>
#include <utility>

#include "cd4ml/base/text.h"

namespace cd4ml::daemon {

bool Roster::HasWork(const Agent& agent) {
  return !agent.leases.empty() || !agent.ending.empty() || !agent.services.empty();
}

bool Roster::CanExpire(const Agent& agent) {
  return !agent.session.empty() || !agent.leases.empty() || !agent.ending.empty();
}

std::string Roster::Objection(const AgentHello& hello, Duration now) const {
  const auto found = agents_.find(hello.name);
  if (found == agents_.end()) return "";
  const Agent& agent = found->second;
  if (agent.record.instance.empty() || agent.record.instance == hello.instance) return "";
  const bool is_there = !agent.session.empty() || HasWork(agent);
  if (!is_there || now - agent.heard >= ttl_) return "";
  return "another agent named \"" + hello.name + "\" runs on " + agent.record.host +
         " with a state folder of its own; give this one another name with --name, or, if that one is gone for good, wait " +
         FormatDuration(ttl_);
}

Roster::Opened Roster::Open(const AgentHello& hello, const std::string& session,
                            std::function<void(DesiredState)> on_desired,
                            std::function<void(absl::Status)> on_lost, Duration now, UtcTime wall) {
  Agent& agent = agents_[hello.name];
  Opened opened;
  opened.session = session;
  opened.superseded = std::move(agent.on_lost);
  sessions_.erase(agent.session);
  const bool other_instance = !agent.record.instance.empty() && agent.record.instance != hello.instance;
  if (other_instance) {
    for (const auto& [attempt, task] : agent.leases) opened.orphaned.push_back(attempt);
    for (const auto& [attempt, ending] : agent.ending) opened.orphaned.push_back(attempt);
  }
  AgentRecord& record = agent.record;
  record.name = hello.name;
  record.instance = hello.instance;
  record.host = hello.host;
  record.version = hello.version;
  record.labels = hello.labels;
  record.slots = hello.slots;
  record.resources = hello.resources;
  record.facts = hello.facts;
  if (!record.first_seen.is_set()) record.first_seen = wall;
  record.last_seen = wall;
  opened.record = record;
  agent.session = session;
  agent.heard = now;
  agent.report = {};
  for (auto& [attempt, ending] : agent.ending) ending.unseen = 0;
  agent.on_desired = std::move(on_desired);
  agent.on_lost = std::move(on_lost);
  sessions_[session] = hello.name;
  Recount(hello.name);
  Changed(hello.name);
  return opened;
}

absl::StatusOr<std::string> Roster::Heard(const std::string& session, const AgentReport* report, Duration now) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return absl::NotFoundError("session " + session + " is over; open another one");
  Agent& agent = agents_[found->second];
  agent.heard = now;
  if (report != nullptr) {
    agent.report = *report;
    for (auto& [attempt, ending] : agent.ending) {
      const bool held = std::any_of(report->held.begin(), report->held.end(),
                                    [&id = attempt](const HeldLease& lease) { return lease.attempt == id; });
      ending.unseen = held ? 0 : ending.unseen + 1;
    }
    Recount(found->second);
  }
  return found->second;
}

absl::Status Roster::Close(const std::string& session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return absl::OkStatus();
  Agent& agent = agents_[found->second];
  agent.session.clear();
  agent.on_desired = nullptr;
  agent.on_lost = nullptr;
  const std::string name = found->second;
  sessions_.erase(found);
  Recount(name);
  return absl::OkStatus();
}

void Roster::Know(AgentRecord record) {
  const std::string name = record.name;
  Agent& agent = agents_[name];
  agent.heard = std::max(agent.heard, boot_);
  agent.record = std::move(record);
  Recount(name);
}

absl::StatusOr<AgentRecord> Roster::Drain(const std::string& name, bool drained, const std::string& reason) {
  const auto found = agents_.find(name);
  if (found == agents_.end()) {
    std::vector<std::string> known;
    for (const auto& [key, agent] : agents_) known.push_back(key);
    return absl::NotFoundError("there is no agent \"" + name + "\"" + DidYouMean(name, known));
  }
  AgentRecord& record = found->second.record;
  record.drained = drained;
  record.drain_reason = drained ? reason : "";
  Recount(name);
  return record;
}

void Roster::Lease(const std::string& name, Task task) {
  Agent& agent = agents_[name];
  if (agent.session.empty() && agent.heard < boot_) agent.heard = boot_;
  const core::AttemptId attempt = task.attempt;
  const core::Resources resources = task.resources;
  const bool is_new = !agent.leases.contains(attempt) && !agent.ending.contains(attempt) && !Holds(agent, attempt);
  agent.leases[attempt] = std::make_shared<const Task>(std::move(task));
  is_new ? Count(name, -1, resources) : Recount(name);
  Changed(name);
}

void Roster::Unlease(const std::string& name, const core::AttemptId& attempt) {
  Agent& agent = agents_[name];
  const auto lease = agent.leases.extract(attempt);
  if (!lease) return;
  agent.ending[attempt] = {.resources = lease.mapped()->resources};
  Changed(name);
}

void Roster::End(const std::string& name, const core::AttemptId& attempt) {
  Unlease(name, attempt);
  Agent& agent = agents_[name];
  const auto ending = agent.ending.extract(attempt);
  std::erase_if(agent.report.held, [&](const HeldLease& held) { return held.attempt == attempt; });
  ending ? Count(name, 1, ending.mapped().resources) : Recount(name);
}

void Roster::Serve(const std::string& name, ServiceTask service) {
  const std::string deployment = service.deployment;
  agents_[name].services[deployment] = std::move(service);
  Changed(name);
}

void Roster::Unserve(const std::string& name, const std::string& deployment) {
  if (agents_[name].services.erase(deployment) > 0) Changed(name);
}

void Roster::Forget() {
  for (auto& [name, agent] : agents_) {
    agent.leases.clear();
    agent.services.clear();
    Recount(name);
    Changed(name);
  }
}

std::vector<Roster::Silent> Roster::Expire(Duration now) {
  std::vector<Silent> silent;
  for (auto& [name, agent] : agents_) {
    if (!CanExpire(agent) || now - agent.heard < ttl_) continue;
    const std::string why = "agent \"" + name + "\" has been silent for " + FormatDuration(now - agent.heard);
    for (const auto& [attempt, task] : agent.leases) silent.push_back({name, attempt, why});
    for (const auto& [attempt, ending] : agent.ending) silent.push_back({name, attempt, why});
    if (!agent.session.empty()) {
      const std::function<void(absl::Status)> on_lost = std::move(agent.on_lost);
      Close(agent.session).IgnoreError();
      if (on_lost) on_lost(absl::DeadlineExceededError(why));
    }
  }
  return silent;
}

void Roster::Excuse(Duration span) {
  for (auto& [name, agent] : agents_) {
    if (CanExpire(agent)) agent.heard += span;
  }
}

std::optional<Duration> Roster::NextExpiry() const {
  std::optional<Duration> next;
  for (const auto& [name, agent] : agents_) {
    if (!CanExpire(agent)) continue;
    const Duration at = agent.heard + ttl_;
    if (!next.has_value() || at < *next) next = at;
  }
  return next;
}

// An agent sends its next report after the answer to the one before, and that after the desired states that
// came before: the first report may be of the time when the lease was still on its way, the second is not.
std::vector<core::AttemptId> Roster::NotHeld(const std::string& name) const {
  std::vector<core::AttemptId> gone;
  const auto agent = agents_.find(name);
  if (agent == agents_.end()) return gone;
  for (const auto& [attempt, ending] : agent->second.ending) {
    if (ending.unseen >= 2) gone.push_back(attempt);
  }
  return gone;
}

bool Roster::Holds(const Agent& agent, const core::AttemptId& attempt) {
  return std::any_of(agent.report.held.begin(), agent.report.held.end(),
                     [&](const HeldLease& held) { return held.attempt == attempt; });
}

void Roster::Count(const std::string& name, int slots, const core::Resources& resources) {
  const auto free = free_.find(name);
  if (free == free_.end()) return;
  free->second.free_slots += slots;
  slots > 0 ? free->second.free += resources : free->second.free -= resources;
}

void Roster::Recount(const std::string& name) {
  const Agent& agent = agents_[name];
  if (agent.session.empty()) {
    free_.erase(name);
    return;
  }
  core::FreeAgent& free = free_[name];
  free.name = name;
  free.labels = agent.record.labels;
  free.total = free.free = agent.record.resources;
  free.free_slots = agent.record.slots;
  free.accepts = !agent.record.drained && !agent.report.draining && agent.report.trouble.empty();
  free.trouble = agent.report.trouble;
  const auto take = [&free](const core::Resources& resources) {
    --free.free_slots;
    free.free -= resources;
  };
  for (const auto& [attempt, task] : agent.leases) take(task->resources);
  // What is cancelled or was lost holds its slot until the agent has ended it.
  for (const auto& [attempt, ending] : agent.ending) take(ending.resources);
  for (const HeldLease& held : agent.report.held) {
    if (!agent.leases.contains(held.attempt) && !agent.ending.contains(held.attempt)) take(held.resources);
  }
}

std::vector<AgentView> Roster::Views(UtcTime now) const {
  std::vector<AgentView> views;
  for (const auto& [name, agent] : agents_) {
    AgentView view;
    view.agent = agent.record;
    for (const auto& [attempt, task] : agent.leases) view.running.push_back(attempt);
    if (agent.session.empty()) {
      view.state = "lost";
    } else {
      view.agent.last_seen = now;
      const bool draining = agent.report.draining || agent.record.drained;
      view.state = draining ? (agent.leases.empty() ? "drained" : "draining")
                   : !agent.report.trouble.empty() ? "unable" : agent.leases.empty() ? "idle" : "busy";
      view.free = free_.at(name).free;
    }
    views.push_back(std::move(view));
  }
  return views;
}

bool Roster::HasHostLike(const Value& environment) const {
  if (!environment.is_map() || free_.empty()) return true;
  Value::Map host = environment.map();
  // Not the program: which of its versions give the same results is what core/recipe.cc knows.
  for (const char* own : {"agent", "cd4ml"}) host.erase(own);
  host.erase("runtime");
  return std::any_of(free_.begin(), free_.end(),
                     [&](const auto& entry) { return agents_.at(entry.first).record.facts == Value(host); });
}

int64_t Roster::RevisionOf(const std::string& agent) const {
  const auto found = agents_.find(agent);
  return found == agents_.end() ? 0 : found->second.revision;
}

std::string Roster::AgentOf(const std::string& session) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? "" : found->second;
}

bool Roster::IsLeasedTo(const std::string& name, const core::AttemptId& attempt) const {
  const auto agent = agents_.find(name);
  return agent != agents_.end() && agent->second.leases.contains(attempt);
}

void Roster::Push() {
  for (const std::string& name : std::exchange(changed_, {})) {
    const Agent& agent = agents_[name];
    if (!agent.on_desired) continue;
    DesiredState desired;
    desired.revision = agent.revision;
    for (const auto& [attempt, task] : agent.leases) desired.leases.push_back(task);
    for (const auto& [deployment, service] : agent.services) desired.services.push_back(service);
    agent.on_desired(std::move(desired));
  }
}

// The revision counts within this life of the daemon; agents compare revisions of one session only.
void Roster::Changed(const std::string& name) {
  ++agents_[name].revision;
  changed_.insert(name);
}

}  // namespace cd4ml::daemon
