// The rules, stated a second time and independently of src/core.
#include "tests/sim/oracle.h"

#include <algorithm>

#include "cd4ml/core/decide.h"

namespace cd4ml::sim {
namespace {

using core::AttemptState;
using core::StageState;

// The mutation "no idempotency" makes keys unique by what follows a '#'.
std::string BareKey(const std::string& key) { return key.substr(0, key.find('#')); }

std::string EnvironmentOf(const core::Run& run, const core::StagePlan& plan) {
  return run.pipeline + "/" + BareKey(plan.environment);
}

core::AttemptId IdOf(const core::Run& run, const std::string& stage, int number) {
  return {run.id, stage, number};
}

std::string Category(core::Reason reason) {
  switch (reason) {
    case core::Reason::kAgentLost:
      return "agent_lost";
    case core::Reason::kInfra:
      return "infra";
    case core::Reason::kTimeout:
      return "timeout";
    case core::Reason::kExitCode:
      return "exit_code";
    default:
      return "";
  }
}

// All stages that need `first`, directly or not, and itself.
void AddWhatFollows(const std::vector<core::StagePlan>& plans, const std::string& first, std::set<std::string>& found) {
  if (!found.insert(first).second) return;
  for (const core::StagePlan& plan : plans) {
    if (std::find(plan.needs.begin(), plan.needs.end(), first) != plan.needs.end()) AddWhatFollows(plans, plan.name, found);
  }
}

// All stages that `last` needs, directly or not, and itself.
void AddWhatIsNeeded(const std::vector<core::StagePlan>& plans, const std::string& last, std::set<std::string>& found) {
  if (!found.insert(last).second) return;
  for (const core::StagePlan& plan : plans) {
    if (plan.name != last) continue;
    for (const std::string& need : plan.needs) AddWhatIsNeeded(plans, need, found);
  }
}

// What a retry takes over and leaves out; nullopt when there is nothing to do, or something to do first.
std::optional<Rerun::Expected> Expect(const core::Run& run, const std::vector<core::StagePlan>& plans, const Rerun& rerun) {
  Rerun::Expected expected;
  std::set<std::string> again, asked;
  for (const std::string& stage : rerun.changed) AddWhatFollows(plans, stage, again);
  if (rerun.scope == core::RetryScope::kFrom) AddWhatFollows(plans, rerun.stage, again);
  if (rerun.scope == core::RetryScope::kOnly) AddWhatIsNeeded(plans, rerun.stage, asked);
  for (const core::StagePlan& plan : plans) {
    const bool has_result = run.FindStage(plan.name)->state == StageState::kSucceeded && !again.contains(plan.name);
    if (rerun.scope != core::RetryScope::kOnly) {
      if (has_result) expected.carried.insert(plan.name);
    } else if (!asked.contains(plan.name)) {
      expected.left_out.insert(plan.name);
    } else if (plan.name != rerun.stage) {
      if (!has_result) return std::nullopt;
      expected.carried.insert(plan.name);
    }
  }
  if (expected.carried.size() == plans.size()) return std::nullopt;
  return expected;
}

}  // namespace

Value Oracle::Signature(const core::AttemptId& attempt) {
  return Value::Map{{"attempt", core::ToText(attempt)}};
}

std::string Describe(const core::Run& run) {
  std::string text = run.id + " " + std::string(core::ToText(run.state)) + " " +
                     std::string(core::ToText(run.reason)) + " key=" + run.trigger.key +
                     (run.retry_of.empty() ? "" : " retry-of=" + run.retry_of) + " seq=" + std::to_string(run.next_seq) +
                     (run.cancel_requested ? " cancel=" + run.cancel_reason : "") + " " +
                     run.message + "\n";
  for (const core::StageRun& stage : run.stages) {
    text += "  " + stage.plan.name + " " + std::string(core::ToText(stage.state)) + " " +
            std::string(core::ToText(stage.reason)) + " ready=" + std::to_string(stage.ready.ms) +
            " ended=" + std::to_string(stage.ended.ms) + " " + stage.message +
            (stage.carried ? " made by " + core::ToText(stage.carried->from) : "") + "\n";
    for (const core::Attempt& attempt : stage.attempts) {
      text += "    " + std::to_string(attempt.number) + " " + attempt.agent + " " +
              std::string(core::ToText(attempt.state)) + " " + std::to_string(attempt.granted.ms) +
              " " + std::to_string(attempt.started.ms) + " " + std::to_string(attempt.ended.ms) +
              " " + attempt.outcome.message + "\n";
    }
  }
  return text;
}

bool Oracle::IsLive(const core::AttemptId& attempt) const {
  return std::any_of(live_.begin(), live_.end(),
                     [&](const auto& entry) { return entry.second.contains(attempt); });
}

bool Oracle::IsLost(const core::AttemptId& attempt) const {
  const core::Run* run = FindRun(attempt.run);
  const core::StageRun* stage = run == nullptr ? nullptr : run->FindStage(attempt.stage);
  if (stage == nullptr || attempt.number > static_cast<int>(stage->attempts.size())) return false;
  return stage->attempts[static_cast<size_t>(attempt.number) - 1].state == AttemptState::kLost;
}

const core::StagePlan* Oracle::FindAsked(const core::Run& run, const std::string& stage) const {
  const auto asked = asked_.find(BareKey(run.trigger.key));
  if (asked == asked_.end()) return nullptr;
  const auto plan = std::find_if(asked->second.begin(), asked->second.end(),
                                 [&](const core::StagePlan& one) { return one.name == stage; });
  return plan == asked->second.end() ? nullptr : &*plan;
}

core::Resources Oracle::ResourcesOf(const core::AttemptId& attempt) const {
  const core::Run* run = FindRun(attempt.run);
  const core::StagePlan* plan = run == nullptr ? nullptr : FindAsked(*run, attempt.stage);
  return plan == nullptr ? core::Resources() : plan->resources;
}

const Rerun& Oracle::AskedAgain(const std::string& key, Rerun rerun) {
  const core::Run& run = *FindRun(rerun.of);
  const std::vector<core::StagePlan> plans = asked_[BareKey(run.trigger.key)];
  rerun.expected = Expect(run, plans, rerun);
  asked_[key] = plans;
  return reruns_[key] = std::move(rerun);
}

// Whatever is lost, cut off, restarted or doubled: one attempt is one process.
void Oracle::Started(const core::AttemptId& attempt) {
  if (!begun_.insert(attempt).second) Fail(core::ToText(attempt) + " was started a second time");
}

std::string Oracle::CompareServices(const std::string& agent, const std::set<std::string>& kept) const {
  std::set<std::string> wanted;
  for (const auto& [environment, deployment] : deployed_) {
    if (deployment.agent == agent) wanted.insert(deployment.id);
  }
  for (const std::string& service : kept) {
    if (!wanted.contains(service)) return agent + " still keeps " + service + ", which is not live there";
  }
  for (const std::string& service : wanted) {
    if (!kept.contains(service)) return agent + " does not keep " + service + ", which is live";
  }
  return "";
}

std::vector<core::RunId> Oracle::OpenRuns() const {
  std::vector<core::RunId> open;
  for (const auto& [id, run] : runs_) {
    if (!core::IsTerminal(run.state)) open.push_back(id);
  }
  return open;
}

void Oracle::Acknowledged(const std::string& key, const core::RunId& run) {
  const auto [place, is_new] = acknowledged_.emplace(key, run);
  if (!is_new && place->second != run) {
    Fail("key " + key + " was answered with " + place->second + " and with " + run);
  }
  if (!runs_.contains(run)) Fail("run " + run + " was acknowledged before it was committed");
}

void Oracle::Committed(const std::vector<Change>& changes) {
  std::set<std::string> busy;
  for (const auto& [agent, attempts] : live_) {
    if (!attempts.empty()) busy.insert(agent);
  }
  for (const Change& change : changes) {
    if (const auto* of_agent = std::get_if<AgentChange>(&change)) {
      CheckAgent(of_agent->agent, busy.contains(of_agent->agent.name));
      drained_[of_agent->agent.name] = of_agent->agent.drained;
    }
    const auto* of_run = std::get_if<RunChange>(&change);
    if (of_run == nullptr) continue;
    core::Run& run = runs_[of_run->run];
    if (of_run->first_seq != run.next_seq) {
      return Fail("events of " + of_run->run + " have a gap at " + std::to_string(run.next_seq));
    }
    CheckPolicy(run, of_run->events);
    for (const core::Event& event : of_run->events) {
      if (!violation_.empty()) return;
      Check(run, event);
      if (!violation_.empty()) return;  // Apply would crash on what makes no sense.
      core::Apply(event, of_run->at, run);
      Note(run, event);
      ++events_;
    }
    if (std::holds_alternative<core::RunStarted>(of_run->events.front())) CheckRerun(run);
  }
}

void Oracle::Check(const core::Run& run, const core::Event& event) {
  if (core::IsTerminal(run.state) && !run.id.empty()) {
    return Fail("run " + run.id + " had ended and goes on with " +
                std::string(core::EventName(event)));
  }
  if (const auto* started = std::get_if<core::RunStarted>(&event)) {
    CheckAsked(*started);
    if (!started->queued) CheckGroup(started->id, started->concurrency);
    return;
  }
  if (std::holds_alternative<core::RunAdmitted>(event)) return CheckGroup(run.id, run.concurrency);
  if (const auto* granted = std::get_if<core::LeaseGranted>(&event)) return CheckLease(run, *granted);
  if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) return CheckAttemptEnd(run, *ended);
  if (const auto* made = std::get_if<core::VersionsProduced>(&event)) return CheckProduced(run, *made);
  if (const auto* over = std::get_if<core::RunEnded>(&event)) return CheckRunEnd(run, *over);
  if (const auto* stage_ended = std::get_if<core::StageEnded>(&event)) {
    const core::StageRun* stage = run.FindStage(stage_ended->stage);
    if (core::IsTerminal(stage->state)) {
      return Fail("stage " + run.id + "/" + stage_ended->stage + " ended twice");
    }
    if (stage->latest() != nullptr && !core::IsTerminal(stage->latest()->state)) {
      return Fail("stage " + run.id + "/" + stage_ended->stage + " ended before its attempt");
    }
  }
}

// One run per key, with the stages that were asked for.
void Oracle::CheckAsked(const core::RunStarted& event) {
  const std::string key = BareKey(event.trigger.key);
  if (key.empty()) return;
  if (!started_.emplace(key, event.id).second) {
    Fail("key " + key + " has started " + started_[key] + " and " + event.id);
  }
}

// Nobody takes the name of an agent that has work and was heard of late.
void Oracle::CheckAgent(const AgentRecord& agent, bool had_work) {
  std::string& instance = instances_[agent.name];
  const int64_t silent = facts_.now() - facts_.heard(agent.name);
  if (!instance.empty() && instance != agent.instance && had_work && !late_ && silent < facts_.ttl) {
    Fail("another agent was taken for " + agent.name + ", which has work and was heard " + std::to_string(silent) +
         " ms ago");
  }
  instance = agent.instance;
}

// What a retry does again is what was asked for, and what it takes over is what was made.
void Oracle::CheckRerun(const core::Run& run) {
  const auto rerun = reruns_.find(BareKey(run.trigger.key));
  if (rerun == reruns_.end()) {
    if (!run.retry_of.empty()) Fail("run " + run.id + " does " + run.retry_of + " again, and nobody asked for that");
    return;
  }
  const Rerun& asked = rerun->second;
  if (run.retry_of != asked.of) return Fail("run " + run.id + " does \"" + run.retry_of + "\" again, not " + asked.of);
  if (!asked.expected) return Fail("run " + run.id + " does again what had to be refused");
  const core::Run& original = *FindRun(asked.of);
  for (const core::StageRun& stage : run.stages) {
    const std::string& name = stage.plan.name;
    if (stage.carried.has_value() != asked.expected->carried.contains(name)) {
      return Fail("run " + run.id + (stage.carried ? " takes over " : " does not take over ") + name + " of " + asked.of);
    }
    if ((stage.reason == core::Reason::kNotSelected) != asked.expected->left_out.contains(name)) {
      return Fail("run " + run.id + " is not to leave out exactly what it does: " + name);
    }
    if (!stage.carried) continue;
    const core::StageRun& before = *original.FindStage(name);
    const core::AttemptId made_by = before.carried ? before.carried->from
                                                   : IdOf(original, name, static_cast<int>(before.attempts.size()));
    const bool has_maker = made_by.number > 0;  // A monitor is armed by no agent.
    if (stage.carried->from != made_by ||
        (has_maker && stage.carried->outcome.environment != Signature(made_by))) {
      return Fail("run " + run.id + " takes over " + name + " from " + core::ToText(stage.carried->from) + ", not from " +
                  core::ToText(made_by));
    }
  }
}

// No more runs of a group at a time than it allows.
void Oracle::CheckGroup(const core::RunId& id, const core::ConcurrencySpec& concurrency) {
  if (concurrency.group.empty()) return;
  int under_way = 0;
  for (const auto& [other, run] : runs_) {
    under_way += other != id && run.state == core::RunState::kRunning &&
                 run.concurrency.group == concurrency.group && !run.id.empty();
  }
  if (under_way >= concurrency.limit) {
    Fail("run " + id + " goes on beside " + std::to_string(under_way) + " of its group, which allows " +
         std::to_string(concurrency.limit));
  }
}

void Oracle::CheckLease(const core::Run& run, const core::LeaseGranted& event) {
  const std::string name = core::ToText(IdOf(run, event.stage, event.number));
  const core::StageRun* stage = run.FindStage(event.stage);
  if (stage->state != StageState::kReady) return Fail(name + " was leased and not ready");
  if (event.number != static_cast<int>(stage->attempts.size()) + 1) {
    return Fail(name + " is not the next attempt");
  }
  const core::StagePlan* asked = FindAsked(run, event.stage);
  for (const std::string& need : asked == nullptr ? stage->plan.needs : asked->needs) {
    const StageState state = run.FindStage(need)->state;
    const bool fits = stage->plan.condition.empty() ? state == StageState::kSucceeded
                                                    : core::IsTerminal(state);
    if (!fits) return Fail(name + " was leased while its need " + need + " is " + std::string(core::ToText(state)));
  }
  if (run.cancel_requested) return Fail(name + " was leased after its run was cancelled");
  if (drained_[event.agent]) return Fail(name + " was leased to " + event.agent + ", which is drained");
  CheckRoom(run, event);
  if (stage->plan.kind == core::StageKind::kDeploy) {
    const auto& holders = locks_[EnvironmentOf(run, stage->plan)];
    if (!holders.empty()) {
      return Fail(name + " was leased while " + core::ToText(*holders.begin()) +
                  " holds its environment");
    }
  }
}

// The agent is one that can take the stage, and has left what it takes.
void Oracle::CheckRoom(const core::Run& run, const core::LeaseGranted& event) {
  const std::string name = core::ToText(IdOf(run, event.stage, event.number));
  const Machine& machine = facts_.machine(event.agent);
  const std::set<core::AttemptId>& held = live_[event.agent];
  if (static_cast<int>(held.size()) >= machine.slots) {
    return Fail(name + " was leased to " + event.agent + ", whose " + std::to_string(machine.slots) +
                " slots are taken");
  }
  const core::StagePlan* asked = FindAsked(run, event.stage);
  if (asked == nullptr) return;
  for (const std::string& label : asked->labels) {
    if (std::find(machine.labels.begin(), machine.labels.end(), label) == machine.labels.end()) {
      return Fail(name + " was leased to " + event.agent + ", which lacks label " + label);
    }
  }
  core::Resources left = machine.resources;
  for (const core::AttemptId& other : held) left -= ResourcesOf(other);
  left -= asked->resources;
  if (left.cpu_millis < 0 || left.memory_bytes < 0 || left.gpus < 0) {
    Fail(name + " was leased to " + event.agent + ", which has then left: cpu " + std::to_string(left.cpu_millis) +
         ", memory " + std::to_string(left.memory_bytes) + ", gpu " + std::to_string(left.gpus));
  }
}

void Oracle::CheckAttemptEnd(const core::Run& run, const core::AttemptEnded& event) {
  const core::AttemptId id = IdOf(run, event.stage, event.number);
  const std::string name = core::ToText(id);
  const core::StageRun* stage = run.FindStage(event.stage);
  const core::Attempt* latest = stage->latest();
  if (latest == nullptr || latest->number != event.number) {
    return Fail(name + " is stale and was recorded");
  }
  if (core::IsTerminal(latest->state)) return Fail(name + " has two results");
  if (event.state == AttemptState::kCancelled && !run.cancel_requested && !stage->stop.has_value()) {
    return Fail(name + " was cancelled, and nobody had asked for that");
  }
  if (event.state != AttemptState::kLost) {
    // Only what the attempt itself did may be recorded for it.
    const bool never_began = event.state == AttemptState::kCancelled && event.outcome.environment.is_null();
    if (!never_began && event.outcome.environment != Signature(id)) {
      Fail(name + " was given the result of " + ToJson(event.outcome.environment));
    }
    return;
  }
  if (late_) return;
  // A stopped daemon hears nobody, and may take a heartbeat's time of that for silence.
  const int64_t silent = Silence(latest->agent, facts_.heartbeat);
  if (silent < facts_.ttl) {
    return Fail(name + " was lost although " + latest->agent + " was heard " + std::to_string(silent) +
                " ms ago, not counting that the daemon was stopped");
  }
  if (facts_.only_the_daemon_fails()) Fail(name + " was lost although nothing but the daemon ever failed");
}

int64_t Oracle::Silence(const std::string& agent, int64_t of_each) const {
  const int64_t heard = facts_.heard(agent);
  int64_t silent = facts_.now() - heard;
  for (const int64_t nap : facts_.naps(heard)) silent -= std::max<int64_t>(0, nap - of_each);
  return silent;
}

void Oracle::CheckProduced(const core::Run& run, const core::VersionsProduced& event) {
  const core::AttemptId id = IdOf(run, event.stage, event.number);
  for (const core::Version& version : event.produced) {
    const auto [producer, is_new] = producers_.emplace(core::VersionId(version), id);
    if (!is_new) {
      Fail(core::VersionId(version) + " was produced by " + core::ToText(producer->second) + " and by " +
           core::ToText(id));
    }
  }
}

void Oracle::CheckRunEnd(const core::Run& run, const core::RunEnded&) {
  for (const core::StageRun& stage : run.stages) {
    if (!core::IsTerminal(stage.state)) {
      return Fail("run " + run.id + " ended before its stage " + stage.plan.name);
    }
  }
  for (const core::AttemptId& attempt : facts_.processes(run.id)) {
    // A lost one is on an agent that nobody can ask; it is ended when its agent is back.
    if (!IsLost(attempt)) Fail("run " + run.id + " ended while a process of " + core::ToText(attempt) + " exists");
  }
}

// Whatever ends an attempt says in the same breath what follows: the next try or the stage's end.
void Oracle::CheckPolicy(const core::Run& run, const std::vector<core::Event>& events) {
  std::optional<core::AttemptEnded> open;
  for (const core::Event& event : events) {
    if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) open = *ended;
    const auto* ready = std::get_if<core::StageReady>(&event);
    const auto* over = std::get_if<core::StageEnded>(&event);
    if (open && ready != nullptr && ready->stage == open->stage) open.reset();
    if (!open || over == nullptr || over->stage != open->stage) continue;
    const core::StagePlan& plan = run.FindStage(over->stage)->plan;
    const auto& when = plan.retry.when;
    const bool counts = std::find(when.begin(), when.end(), Category(open->outcome.reason)) != when.end();
    // Errors of ours and failures of the user's code have budgets of their own.
    const bool ours = core::IsInfrastructure(open->outcome.reason);
    int used = 0;
    for (const core::Attempt& attempt : run.FindStage(over->stage)->attempts) {
      const bool same = core::IsInfrastructure(attempt.outcome.reason) == ours;
      used += core::IsTerminal(attempt.state) && same ? 1 : 0;
    }
    const bool left = used < (ours ? plan.retry.error_limit : plan.retry.limit);
    const bool stopped = run.cancel_requested || run.FindStage(over->stage)->stop.has_value() ||
                         over->reason == core::Reason::kCancelled || plan.total_timeout.count() > 0;
    if (over->state == StageState::kFailed && counts && !stopped && left &&
        plan.kind != core::StageKind::kDeploy) {
      Fail("stage " + run.id + "/" + over->stage + " was not tried again after " +
           Category(open->outcome.reason));
    }
    open.reset();
  }
  if (open) Fail("nothing follows from the end of " + run.id + "/" + open->stage);
}

void Oracle::Note(const core::Run& run, const core::Event& event) {
  if (const auto* granted = std::get_if<core::LeaseGranted>(&event)) {
    const core::AttemptId id = IdOf(run, granted->stage, granted->number);
    live_[granted->agent].insert(id);
    const core::StagePlan& plan = run.FindStage(granted->stage)->plan;
    if (plan.kind == core::StageKind::kDeploy) locks_[EnvironmentOf(run, plan)].insert(id);
  } else if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) {
    const core::AttemptId id = IdOf(run, ended->stage, ended->number);
    for (auto& [agent, attempts] : live_) attempts.erase(id);
    for (auto& [environment, holders] : locks_) holders.erase(id);
  } else if (const auto* deployed = std::get_if<core::Deployed>(&event)) {
    deployed_[run.pipeline + "/" + deployed->deployment.environment] = deployed->deployment;
  }
}

void Oracle::Resolve(History& history) {
  if (unknown_.empty()) return;
  // All of it or none: the first run tells, the comparison of all runs checks the rest.
  for (const Change& change : unknown_) {
    const auto* of_run = std::get_if<RunChange>(&change);
    if (of_run == nullptr) continue;
    const absl::StatusOr<core::Run> stored = history.GetRun(of_run->run);
    const bool there = stored.ok() && stored->next_seq > of_run->first_seq;
    const std::vector<Change> changes = std::exchange(unknown_, {});
    late_ = true;
    if (there) Committed(changes);
    late_ = false;
    return;
  }
  unknown_.clear();
}

void Oracle::Loaded(const StoredState& state, History& history) {
  Resolve(history);
  std::set<core::RunId> stored;
  for (const core::Run& run : state.open_runs) {
    stored.insert(run.id);
    const core::Run* known = FindRun(run.id);
    if (known == nullptr) return Fail("run " + run.id + " came out of nowhere");
    if (Describe(*known) != Describe(run)) {
      return Fail("after the restart\n" + Describe(run) + "is not what was committed:\n" + Describe(*known));
    }
  }
  for (const core::RunId& id : OpenRuns()) {
    if (!stored.contains(id)) return Fail("run " + id + " is gone after a restart");
  }
}

void Oracle::TurnEnded() {
  for (const auto& [agent, attempts] : live_) {
    if (attempts.empty()) continue;
    const int64_t silent = Silence(agent, 0);
    if (silent > facts_.ttl + 1'000) {
      Fail(core::ToText(*attempts.begin()) + " is still leased although " + agent +
           " has been silent for " + std::to_string(silent) + " ms");
    }
  }
}

void Oracle::CompareAll(History& history,
                        const std::function<std::vector<core::Event>(const core::RunId&)>& events) {
  Resolve(history);
  for (const auto& [key, run] : acknowledged_) {
    if (!history.GetRun(run).ok()) return Fail("run " + run + " was acknowledged and is gone");
  }
  for (const auto& [id, run] : runs_) {
    const absl::StatusOr<core::Run> stored = history.GetRun(id);
    if (!stored.ok()) return Fail("run " + id + " was committed and is gone");
    if (Describe(*stored) != Describe(run)) {
      return Fail("the tables say\n" + Describe(*stored) + "but committed was\n" + Describe(run));
    }
    core::Run folded;
    // Times are those of the tables: an event does not repeat its own.
    for (const core::Event& event : events(id)) core::Apply(event, run.created, folded);
    if (folded.state != run.state || folded.next_seq != run.next_seq) {
      return Fail("the events of " + id + " lead to " + Describe(folded) + "not to " + Describe(run));
    }
    for (size_t i = 0; i < run.stages.size(); ++i) {
      if (folded.stages[i].state != run.stages[i].state ||
          folded.stages[i].attempts.size() != run.stages[i].attempts.size()) {
        return Fail("the events of " + id + " lead to " + Describe(folded) + "not to " + Describe(run));
      }
    }
  }
  const absl::StatusOr<std::vector<RunSummary>> all = history.ListRuns({.limit = 1'000});
  if (!all.ok() || all->size() != runs_.size()) {
    Fail("there are " + std::to_string(all.ok() ? all->size() : 0) + " runs, not " +
         std::to_string(runs_.size()));
  }
}

}  // namespace cd4ml::sim
