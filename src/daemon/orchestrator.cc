// One turn of the loop.
#include "orchestrator.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "cd4ml/base/check.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"
#include "cd4ml/core/matrix.h"

namespace cd4ml::daemon {
namespace {

constexpr Duration kLookForSpace{1'000};
constexpr int kLiveMax = 1'000;
constexpr Duration kClockOff{1'000};   // A mark of the clock is renewed when it is wrong by so much.

UtcTime NewestTime(const core::Run& run) {
  UtcTime newest = run.created;
  for (const core::StageRun& stage : run.stages) {
    newest = std::max({newest, stage.ready, stage.ended});
    for (const core::Attempt& attempt : stage.attempts) {
      newest = std::max({newest, attempt.granted, attempt.started, attempt.ended});
    }
  }
  return newest;
}

// To an agent, NOT_FOUND means that its session is over; an attempt that nobody knows is one to be dropped.
absl::Status Stale(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::AbortedError(Message(status)) : status;
}

// Of a cell whose matrix does not lease all of them at once: its name, and how many.
std::pair<std::string, int> LimitOf(const core::Run& run, const core::StageRun& stage) {
  const core::StageRun* matrix = stage.plan.cell_of.empty() ? nullptr : run.FindStage(stage.plan.cell_of);
  const int limit = matrix == nullptr ? 0 : matrix->plan.matrix->max_parallel;
  return {limit == 0 ? "" : run.id + "/" + stage.plan.cell_of, limit};
}

// What the cells come to, if all of them are taken over.
std::optional<core::Joined> JoinedNow(const core::Run& run, const core::StageRun& stage) {
  std::vector<core::CellResult> cells;
  for (const std::string& name : stage.plan.matrix->cells) {
    const core::StageRun& cell = *run.FindStage(name);
    if (!cell.carried) return std::nullopt;
    cells.push_back(core::ResultOf(run, cell));
    cells.back().state = core::StageState::kSucceeded;
  }
  return core::JoinCells(*stage.plan.matrix, cells);
}

}  // namespace

Orchestrator::Orchestrator(const Settings& settings, StateStore& store, History& history, Hooks hooks)
    : settings_(settings),
      store_(store),
      history_(history),
      hooks_(std::move(hooks)),
      roster_(settings.session_ttl, Duration(0)),
      reuse_(history_, {hooks_.is_kept, [this](const Value& environment) { return roster_.HasHostLike(environment); }}),
      baselines_(history_) {}

absl::Status Orchestrator::Load(UtcTime now, Duration steady) {
  steady_ = steady;
  roster_ = Roster(settings_.session_ttl, steady);
  now_ = now;
  CD4ML_RETURN_IF_ERROR(TakeUp(/*starts=*/true));
  timeline_ = Timeline(now_, steady);
  CheckSpace();
  LogInfo("state loaded", {{"open_runs", std::to_string(runs_.size())},
                           {"pipelines", std::to_string(pipelines_.size())},
                           {"live", std::to_string(live_.size())},
                           {"monitors", std::to_string(monitors_.size())}});
  return absl::OkStatus();
}

absl::Status Orchestrator::TakeUp(bool starts) {
  CD4ML_ASSIGN_OR_RETURN(StoredState state, store_.Load());
  store_id_ = state.id;
  clock_mark_ = std::move(state.clock);
  // How long the daemon was away is not asked of a date that may have been set meanwhile, unless the machine was off, too.
  if (starts && clock_mark_ && clock_mark_->boot == settings_.boot && steady_ >= clock_mark_->steady) {
    now_ = clock_mark_->at + (steady_ - clock_mark_->steady);
  }
  quarantined_ = std::move(state.quarantined);
  // A wall clock that was set back meanwhile must not let anything end before it began.
  for (const core::Run& run : state.open_runs) now_ = std::max(now_, NewestTime(run));
  for (AgentRecord& agent : state.agents) roster_.Know(std::move(agent));
  for (PipelineRecord& pipeline : state.pipelines) {
    const std::string name = pipeline.name;
    pipelines_[name] = std::move(pipeline);
  }
  last_number_ = std::move(state.last_run_number);
  for (core::MonitorState& monitor : state.monitors) {
    const std::string id = monitor.id();
    monitors_[id] = std::move(monitor);
  }
  for (const core::Deployment& deployment : state.live) {
    CD4ML_ASSIGN_OR_RETURN(const core::Run run, history_.GetRun(deployment.run));
    MakeLive(run, deployment);
  }
  for (core::Run& run : state.open_runs) {
    const core::RunId id = run.id;
    core::Run& open = runs_[id] = std::move(run);
    core::Reindex(open, now_);
    LeaseAgain(open);
    NoteDeadline(id);
  }
  return absl::OkStatus();
}

// Starting is continuing: what is leased stays leased, what is ready waits.
void Orchestrator::LeaseAgain(const core::Run& run) {
  NoteRun(run);
  for (const core::StageRun& stage : run.stages) {
    if (stage.state == core::StageState::kReady) AddWaiting(run, stage);
    if (stage.state != core::StageState::kLeased && stage.state != core::StageState::kRunning) continue;
    NoteDeploy(run, stage);
    NoteLease(run, stage);
    if (run.cancel_requested || stage.stop.has_value()) {
      roster_.Unlease(stage.latest()->agent, {run.id, stage.plan.name, stage.latest()->number});
    }
  }
}

// What is derived from a run that is open.
void Orchestrator::NoteRun(const core::Run& run) {
  if (!run.trigger.key.empty()) keys_[run.trigger.key] = run.id;
  if (run.concurrency.group.empty()) return;
  groups_[run.concurrency.group].push_back(run.id);
  regroup_runs_.insert(run.concurrency.group);
}

void Orchestrator::NoteDeploy(const core::Run& run, const core::StageRun& stage) {
  if (stage.plan.kind != core::StageKind::kDeploy) return;
  const std::string environment = EnvironmentKey(run.pipeline, stage.plan.environment);
  deploys_[environment][run.number] = {run.id, stage.plan.name};
  regroup_deploys_.insert(environment);
}

void Orchestrator::NoteLease(const core::Run& run, const core::StageRun& stage) {
  ++leased_[run.pipeline];
  if (const auto [matrix, limit] = LimitOf(run, stage); limit > 0 && ++leased_cells_[matrix] >= limit) full_[matrix] = limit;
  if (stage.plan.kind == core::StageKind::kDeploy) {
    locks_[EnvironmentKey(run.pipeline, stage.plan.environment)] = {run.id, stage.plan.name, stage.latest()->number};
  }
  const bool looks_back = run.trigger.kind == core::TriggerKind::kReproduce && core::IsGate(stage.plan.kind);
  Task task = looks_back ? MakeTask(run, stage, LiveThen(run, stage)) : MakeTask(run, stage, live_);
  if (core::IsGate(stage.plan.kind)) baselines_.Add(run, stage, stage.latest()->granted, task);
  roster_.Lease(stage.latest()->agent, std::move(task));
}

// What was live when the gate that this one makes again was performed: it compares with what it compared with then.
LiveMap Orchestrator::LiveThen(const core::Run& run, const core::StageRun& stage) const {
  LiveMap then;
  const auto original = history_.GetRun(run.retry_of);
  const core::StageRun* before = original.ok() ? original->FindStage(stage.plan.name) : nullptr;
  if (before == nullptr) return then;
  const UtcTime at = before->latest() == nullptr ? original->created : before->latest()->granted;
  const auto deployments = history_.ListDeployments("", at, kLiveMax);
  if (!deployments.ok()) return then;
  for (const core::Deployment& deployment : *deployments) {
    if (deployment.pipeline != run.pipeline) continue;
    if (const auto made_by = history_.GetRun(deployment.run); made_by.ok()) {
      then[EnvironmentKey(run.pipeline, deployment.environment)] = DescribeDeployment(*made_by, deployment);
    }
  }
  return then;
}

// --- runs ------------------------------------------------------------------------------------------

void Orchestrator::StartRun(PreparedRun prepared, Done<core::Run> done) {
  core::StartRun& command = prepared.command;
  // The same key may have been prepared twice at the same time.
  if (AnswerRepeated(AskedFor(command), done)) return;
  if (!read_only_.ok()) return done(read_only_);
  command.number = ++last_number_[command.pipeline];
  command.id = command.pipeline + "/" + std::to_string(command.number);
  command.queued = !command.concurrency.group.empty();   // Its turn may come within this same turn of the loop.
  const core::RunId id = command.id;
  const absl::StatusOr<size_t> events = Handle(runs_[id], command);
  if (!events.ok()) {
    runs_.erase(id);
    --last_number_[command.pipeline];
    return done(events.status());
  }
  NoteRun(runs_[id]);
  ReplyRun(id, std::move(done));
}

// Answers with the run as it is after the commit.
void Orchestrator::ReplyRun(const core::RunId& id, Done<core::Run> done) {
  Reply([this, id, done = std::move(done)](const absl::Status& recorded) {
    if (!recorded.ok()) return done(recorded);
    const core::Run* open = FindOpen(id);
    done(open != nullptr ? *open : history_.GetRun(id));
  });
}

// A key stands for one request: it gives the run that it started, and nothing to a request for something else.
bool Orchestrator::AnswerRepeated(const Asked& asked, const Done<core::Run>& done) {
  if (asked.key.empty()) return false;
  const absl::StatusOr<std::optional<core::RunId>> earlier = FindByKey(asked.key);
  if (earlier.ok() && !earlier->has_value()) return false;
  if (!earlier.ok()) {
    done(earlier.status());
    return true;
  }
  // With the commit: the run may be of this very turn.
  ReplyRun(**earlier, [asked, done](absl::StatusOr<core::Run> run) {
    const std::string other = run.ok() ? Difference(asked, *run) : "";
    if (!other.empty()) {
      run = absl::AlreadyExistsError("key \"" + asked.key + "\" has started " + run->id + " already, " + other +
                                     "; choose another key for another request");
    }
    done(std::move(run));
  });
  return true;
}

absl::StatusOr<std::optional<core::RunId>> Orchestrator::FindByKey(const std::string& key) {
  const auto open = keys_.find(key);
  if (open != keys_.end()) return open->second;
  return store_.FindByKey(key);
}

void Orchestrator::CancelRun(const core::RunId& id, const std::string& reason, Done<core::Run> done) {
  const absl::StatusOr<core::Run*> run = FindForCommand(id);
  if (!run.ok()) return done(run.status());
  const absl::StatusOr<size_t> events = Handle(**run, core::CancelRun{reason});
  if (!events.ok()) return done(events.status());
  ReplyRun(id, std::move(done));
}

core::Run* Orchestrator::FindOpen(const core::RunId& id) {
  const auto found = runs_.find(id);
  return found == runs_.end() ? nullptr : &found->second;
}

absl::StatusOr<core::Run*> Orchestrator::FindForCommand(const core::RunId& id) {
  if (core::Run* open = FindOpen(id)) return open;
  absl::StatusOr<core::Run> ended = history_.GetRun(id);
  if (!ended.ok()) return ended.status();
  return absl::FailedPreconditionError("run " + id + " has ended already: " + std::string(core::Word(*ended)));
}

absl::StatusOr<size_t> Orchestrator::Handle(core::Run& run, const core::Command& command) {
  absl::StatusOr<std::vector<core::Event>> events = core::Decide(run, command, now_);
  if (!events.ok()) return events.status();
  if (events->empty()) return size_t{0};
  RunChange change{.run = run.id, .first_seq = run.next_seq, .at = now_, .events = {}};
  for (core::Event& event : *events) {
    // The ledger knows what was live before.
    if (auto* deployed = std::get_if<core::Deployed>(&event)) {
      const auto before = live_.find(EnvironmentKey(run.pipeline, deployed->deployment.environment));
      if (before != live_.end()) deployed->deployment.replaced = before->second.deployment.id;
    }
    core::Apply(event, now_, run);
    Follow(run, event);
  }
  change.run = run.id;
  change.events = *std::move(events);
  const size_t count = change.events.size();
  changes_.push_back(std::move(change));
  touched_.insert(run.id);
  return count;
}

// Keeps what is derived from runs in step with an event that has just been applied.
void Orchestrator::Follow(const core::Run& run, const core::Event& event) {
  if (const auto* ready = std::get_if<core::StageReady>(&event)) {
    AddWaiting(run, *run.FindStage(ready->stage));
  } else if (const auto* granted = std::get_if<core::LeaseGranted>(&event)) {
    queue_.Remove(run.id, granted->stage);
    reusable_.erase({run.id, granted->stage});
    NoteLease(run, *run.FindStage(granted->stage));
  } else if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) {
    const core::AttemptId attempt{run.id, ended->stage, ended->number};
    roster_.End(run.FindStage(ended->stage)->latest()->agent, attempt);
    if (--leased_[run.pipeline] == 0) leased_.erase(run.pipeline);
    if (const auto [matrix, limit] = LimitOf(run, *run.FindStage(ended->stage)); limit > 0) {
      if (--leased_cells_[matrix] == 0) leased_cells_.erase(matrix);
      full_.erase(matrix);
    }
    std::erase_if(locks_, [&](const auto& lock) { return lock.second == attempt; });
  } else if (const auto* stage_ended = std::get_if<core::StageEnded>(&event)) {
    queue_.Remove(run.id, stage_ended->stage);
    reusable_.erase({run.id, stage_ended->stage});
    const core::StagePlan& plan = run.FindStage(stage_ended->stage)->plan;
    if (plan.kind != core::StageKind::kDeploy) return;
    const std::string environment = EnvironmentKey(run.pipeline, plan.environment);
    deploys_[environment].erase(run.number);
    regroup_deploys_.insert(environment);
  } else if (const auto* carried = std::get_if<core::StageCarried>(&event)) {
    queue_.Remove(run.id, carried->stage);
  } else if (const auto* stop = std::get_if<core::StopRequested>(&event)) {
    const core::StageRun& stage = *run.FindStage(stop->stage);
    roster_.Unlease(stage.latest()->agent, {run.id, stop->stage, stage.latest()->number});
  } else if (std::holds_alternative<core::RunEnded>(event)) {
    if (run.concurrency.group.empty()) return;
    std::erase(groups_[run.concurrency.group], run.id);
    regroup_runs_.insert(run.concurrency.group);
  } else if (const auto* deployed = std::get_if<core::Deployed>(&event)) {
    MakeLive(run, deployed->deployment);
  } else if (const auto* armed = std::get_if<core::MonitorArmed>(&event)) {
    ArmMonitor(run, *armed);
  } else if (std::holds_alternative<core::CancelRequested>(event)) {
    // What is no longer desired is stopped by its agent, which then reports the end.
    for (const core::StageRun& stage : run.stages) {
      if (stage.state != core::StageState::kLeased && stage.state != core::StageState::kRunning) continue;
      roster_.Unlease(stage.latest()->agent, {run.id, stage.plan.name, stage.latest()->number});
    }
  }
}

core::WaitingStage Orchestrator::ToWaiting(const core::Run& run, const core::StageRun& stage) const {
  const core::Attempt* last = stage.attempts.empty() ? nullptr : &stage.attempts.back();
  const bool is_agents_fault = last != nullptr && core::IsInfrastructure(last->outcome.reason);
  return {.run = run.id,
          .stage = stage.plan.name,
          .pipeline = run.pipeline,
          .priority = run.priority,
          .kind = stage.plan.kind,
          .labels = stage.plan.labels,
          .resources = stage.plan.resources,
          .environment = EnvironmentKey(run.pipeline, stage.plan.environment),
          .matrix = LimitOf(run, stage).first,
          .avoid = is_agents_fault ? last->agent : "",
          .ready = stage.ready,
          .not_before = stage.not_before};
}

void Orchestrator::AddWaiting(const core::Run& run, const core::StageRun& stage) {
  if (stage.plan.kind == core::StageKind::kMonitor) return;   // Armed at once, by no agent.
  NoteDeploy(run, stage);
  queue_.Add(ToWaiting(run, stage));
  if (!stage.plan.recipe.empty()) offers_.insert({run.id, stage.plan.name});
}

// What is taken over makes others ready, which may have been made before, too.
void Orchestrator::OfferResults() {
  while (!offers_.empty()) {
    for (const auto& [id, name] : std::exchange(offers_, {})) {
      core::Run* run = FindOpen(id);
      const core::StageRun* stage = run == nullptr ? nullptr : run->FindStage(name);
      if (stage == nullptr || stage->state != core::StageState::kReady || run->state != core::RunState::kRunning) continue;
      ReuseJudgement judgement = JudgeReuse(*run, *stage);
      if (judgement.carried.has_value()) {
        Handle(*run, core::OfferResult{name, *std::move(judgement.carried)}).IgnoreError();
      } else {
        reusable_[{id, name}] = std::move(judgement);
      }
    }
  }
}

ReuseJudgement Orchestrator::JudgeReuse(const core::Run& run, const core::StageRun& stage) const {
  return reuse_.Judge(run, stage, ComparedNow(run, stage), now_);
}

std::map<std::string, std::string> Orchestrator::ComparedNow(const core::Run& run, const core::StageRun& stage) const {
  if (!core::IsGate(stage.plan.kind)) return {};
  Task task;
  AddChampion(run, stage, live_, task);
  baselines_.Add(run, stage, now_, task);
  return ComparedParts(task);
}

std::map<std::string, std::string> Orchestrator::WhatWouldBeReused(const core::StartRun& command) const {
  core::StartRun start = command;
  const auto last = last_number_.find(command.pipeline);
  start.number = last == last_number_.end() ? 1 : last->second + 1;   // Gates are compared with the runs before it.
  start.id = command.pipeline + "/" + std::to_string(start.number);
  std::map<std::string, std::string> would;
  core::Run run;
  const absl::StatusOr<std::vector<core::Event>> events = core::Decide(run, start, now_);
  if (!events.ok()) return would;
  for (const core::Event& event : *events) core::Apply(event, now_, run);
  for (core::StageRun& stage : run.stages) {
    const auto made = std::find_if(stage.plan.needs.begin(), stage.plan.needs.end(), [&](const std::string& need) {
      return !run.FindStage(need)->carried.has_value();
    });
    if (stage.plan.matrix) {
      const std::optional<core::Joined> joined = JoinedNow(run, stage);
      would[stage.plan.name] = !joined           ? "depends on what " + *made + " makes"
                               : joined->winner ? "takes over " + joined->winner->cell + ": " + joined->winner->why
                                                : joined->message;
      if (joined && joined->state == core::StageState::kSucceeded) stage.carried = joined->winner.value_or(core::Carried());
    } else if (stage.plan.recipe.empty()) {
      would[stage.plan.name] = "runs always";
    } else if (made != stage.plan.needs.end()) {
      would[stage.plan.name] = "depends on what " + *made + " makes";
    } else if (ReuseJudgement judgement = JudgeReuse(run, stage); judgement.carried.has_value()) {
      would[stage.plan.name] = "reuses " + judgement.carried->from.run;
      stage.carried = std::move(judgement.carried);
    } else {
      would[stage.plan.name] = "runs: " + judgement.note;
    }
  }
  return would;
}

void Orchestrator::MakeLive(const core::Run& run, core::Deployment deployment) {
  const std::string environment = EnvironmentKey(run.pipeline, deployment.environment);
  LiveDeployment& live = live_[environment];
  if (!live.deployment.agent.empty()) roster_.Unserve(live.deployment.agent, live.deployment.id);
  live = DescribeDeployment(run, deployment);
  homes_.erase(environment);
  if (live.deployment.agent.empty()) return;
  homes_[environment] = live.deployment.agent;
  roster_.Serve(live.deployment.agent, MakeServiceTask(live));
}

// --- monitors --------------------------------------------------------------------------------------

void Orchestrator::ArmMonitor(const core::Run& run, const core::MonitorArmed& event) {
  core::MonitorState& monitor = monitors_[run.pipeline + "/" + event.stage];
  // What it remembers of former retrains stays: cool-down and caps hold across deployments.
  monitor.pipeline = run.pipeline;
  monitor.stage = event.stage;
  monitor.environment = event.environment;
  monitor.deployment = event.deployment;
  monitor.definition = run.pins.definition;
  monitor.armed = now_;
  monitor.next_check = now_;
  monitor.broken.clear();
  changes_.push_back(MonitorChange{monitor, std::nullopt});
}

void Orchestrator::StartChecks() {
  for (const auto& [id, monitor] : monitors_) {
    if (monitor.next_check > now_ || !checking_.insert(id).second) continue;
    const auto live = live_.find(EnvironmentKey(monitor.pipeline, monitor.environment));
    hooks_.check(monitor, live == live_.end() ? std::nullopt : live->second.train_data);
  }
}

void Orchestrator::FinishCheck(JudgedCheck check) {
  checking_.erase(check.monitor);
  if (!read_only_.ok()) return;  // It stays due.
  const auto found = monitors_.find(check.monitor);
  if (found == monitors_.end() || found->second.deployment != check.deployment) return;
  const bool open = std::any_of(runs_.begin(), runs_.end(), [&](const auto& entry) {
    return entry.second.pipeline == found->second.pipeline &&
           entry.second.trigger.kind != core::TriggerKind::kReproduce;
  });
  core::MonitorDecision decision = core::DecideMonitor(found->second, check.spec, check.verdict, open, now_);
  MonitorCheckRecord record;
  record.monitor = check.monitor;
  record.number = decision.next.checks;
  record.at = now_;
  record.deployment = check.deployment;
  record.requests = check.requests;
  record.verdict = check.verdict;
  record.breach = decision.breach;
  record.held_back = decision.held_back;
  if (decision.retrain) {
    Retrain(std::move(check), std::move(decision), std::move(record));
  } else {
    RecordCheck(decision.next, std::move(record));
  }
}

void Orchestrator::RecordCheck(const core::MonitorState& state, MonitorCheckRecord record) {
  monitors_[state.id()] = state;
  changes_.push_back(MonitorChange{state, std::move(record)});
}

// The check and the run that it triggers are committed together: a crash between them loses neither.
void Orchestrator::Retrain(JudgedCheck check, core::MonitorDecision decision, MonitorCheckRecord record) {
  StartRequest request;
  request.pipeline = decision.next.pipeline;
  request.lane = check.spec.retrain->lane;
  request.reason = decision.breach;
  request.by = check.monitor;
  request.key = "monitor/" + check.monitor + "/" + check.deployment + "/" + std::to_string(record.number);
  for (const auto& [name, value] : check.spec.retrain->params) request.params[name] = ToText(value);
  checking_.insert(check.monitor);
  hooks_.prepare(
      std::move(request), core::TriggerKind::kMonitor,
      [this, check = std::move(check), next = decision.next, record](absl::StatusOr<PreparedRun> prepared) mutable {
        checking_.erase(check.monitor);
        if (!read_only_.ok()) return;
        if (monitors_[check.monitor].deployment != check.deployment) return;
        if (prepared.ok()) {
          StartRun(*std::move(prepared), [](const absl::StatusOr<core::Run>&) {});
          record.retrain_run = next.pipeline + "/" + std::to_string(last_number_[next.pipeline]);
          LogInfo("monitor triggers a run",
                  {{"monitor", check.monitor}, {"run", record.retrain_run}, {"breach", record.breach}});
        } else {
          next.retrains.pop_back();
          record.held_back = "a run could not be started: " + Message(prepared.status());
          LogWarn("monitor could not trigger a run",
                  {{"monitor", check.monitor}, {"error", Message(prepared.status())}});
        }
        RecordCheck(next, record);
      });
}

// --- pipelines -------------------------------------------------------------------------------------

void Orchestrator::PutPipelines(std::vector<PipelineRecord> pipelines, DoneStatus done) {
  if (!read_only_.ok()) return done(read_only_);
  for (PipelineRecord& pipeline : pipelines) {
    const auto known = pipelines_.find(pipeline.name);
    pipeline.registered = known == pipelines_.end() ? now_ : known->second.registered;
    pipeline.checked = now_;
    changes_.push_back(PipelineChange{pipeline});
    const std::string name = pipeline.name;
    pipelines_[name] = std::move(pipeline);
  }
  Reply(done);
}

// --- agents ----------------------------------------------------------------------------------------

void Orchestrator::OpenSession(AgentHello hello, std::function<void(DesiredState)> on_desired,
                               std::function<void(absl::Status)> on_lost, Done<SessionGrant> done) {
  if (hello.protocol != kAgentProtocol) {
    return done(absl::FailedPreconditionError("agent \"" + hello.name + "\" speaks protocol " +
                                              std::to_string(hello.protocol) + ", this daemon speaks " +
                                              std::to_string(kAgentProtocol)));
  }
  if (!IsName(hello.name) || hello.slots < 1 || hello.slots > 1024) {
    return done(absl::InvalidArgumentError("agent \"" + hello.name +
                                           "\": a name is [a-z0-9][a-z0-9_-]{0,62} and slots are 1 to 1024"));
  }
  if (const std::string objection = roster_.Objection(hello, steady_); !objection.empty()) {
    LogWarn("an agent was refused", {{"agent", hello.name}, {"host", hello.host}, {"why", objection}});
    return done(absl::AlreadyExistsError(objection));
  }
  const std::string session = settings_.instance + "-" + std::to_string(++sessions_);
  Roster::Opened opened =
      roster_.Open(hello, session, std::move(on_desired), std::move(on_lost), steady_, now_);
  if (opened.superseded) {
    Reply([superseded = std::move(opened.superseded)](const absl::Status&) {
      superseded(absl::AbortedError("superseded by a newer session of this agent"));
    });
  }
  for (const core::AttemptId& attempt : opened.orphaned) {
    core::Run* run = FindOpen(attempt.run);
    if (run == nullptr) continue;
    Handle(*run, core::LoseLease{attempt.stage, attempt.number,
                                 "agent \"" + hello.name + "\" came back without its state"})
        .IgnoreError();
  }
  changes_.push_back(AgentChange{opened.record});
  LogInfo("agent connected", {{"agent", hello.name}, {"session", session}, {"slots", std::to_string(hello.slots)}});
  SessionGrant grant{.session = session,
                     .heartbeat = settings_.heartbeat,
                     .ttl = settings_.session_ttl,
                     .blob_dir = settings_.blob_dir,
                     .blob_nonce = settings_.blob_nonce,
                     .store = store_id_};
  Reply([this, done, grant](const absl::Status& recorded) {
    if (recorded.ok()) return done(grant);
    roster_.Close(grant.session).IgnoreError();
    done(recorded);
  });
}

void Orchestrator::Report(const std::string& session, AgentReport report, DoneStatus done) {
  const absl::StatusOr<std::string> agent = roster_.Heard(session, &report, steady_);
  if (!agent.ok()) return done(agent.status());
  for (const HeldLease& held : report.held) {
    core::Run* run = held.started ? FindOpen(held.attempt.run) : nullptr;
    if (run == nullptr) continue;
    // A stale attempt is refused here; the agent learns of it from its desired state.
    Handle(*run, core::ReportStarted{held.attempt.stage, held.attempt.number, *agent}).IgnoreError();
  }
  // Cancelled before the agent learned of it, so that nobody else will report its end.
  for (const core::AttemptId& attempt : roster_.NotHeld(*agent)) {
    core::Run* run = FindOpen(attempt.run);
    if (run == nullptr) continue;
    core::Outcome outcome;
    outcome.state = core::AttemptState::kCancelled;
    outcome.reason = core::Reason::kCancelled;
    outcome.message = "cancelled before it began";
    Handle(*run, core::ReportFinished{attempt.stage, attempt.number, *agent, outcome}).IgnoreError();
  }
  // What is not recorded now comes again with the next report.
  Reply([done](const absl::Status&) { done(absl::OkStatus()); });
}

void Orchestrator::Finish(const std::string& session, const core::AttemptId& attempt, core::Outcome outcome,
                          Done<int64_t> done) {
  const absl::StatusOr<std::string> agent = roster_.Heard(session, nullptr, steady_);
  if (!agent.ok()) return done(agent.status());
  const std::string name = *agent;
  const auto answer = [this, name, done] {
    Reply([this, name, done](const absl::Status& recorded) {
      if (recorded.ok()) return done(roster_.RevisionOf(name));
      done(absl::UnavailableError(Message(recorded)));  // The agent keeps the result and tries again.
    });
  };
  core::Run* run = FindOpen(attempt.run);
  if (run == nullptr) {
    // The run has ended: this is a repeated report, or one of an attempt that was lost.
    const absl::StatusOr<core::Run> ended = history_.GetRun(attempt.run);
    if (!ended.ok()) return done(Stale(ended.status()));
    const absl::StatusOr<std::vector<core::Event>> repeated =
        core::Decide(*ended, core::ReportFinished{attempt.stage, attempt.number, name, outcome}, now_);
    if (!repeated.ok()) return done(Stale(repeated.status()));
    return answer();
  }
  CheckOverrides(*run, attempt.stage, outcome);
  const absl::StatusOr<size_t> events =
      Handle(*run, core::ReportFinished{attempt.stage, attempt.number, name, std::move(outcome)});
  if (!events.ok()) return done(Stale(events.status()));
  answer();
}

void Orchestrator::CheckOverrides(const core::Run& run, const std::string& name, core::Outcome& outcome) const {
  const core::StageRun* stage = run.FindStage(name);
  if (stage == nullptr || !outcome.verdict.has_value() || outcome.verdict->overrides.empty()) return;
  // Decide makes a failure of a success whose verdict blocks.
  outcome.verdict = core::CheckOverrides(*std::move(outcome.verdict), baselines_.OverridesOf(run, *stage, now_));
}

void Orchestrator::PutOverride(core::OverrideRecord record, Duration lasting, Done<core::OverrideRecord> done) {
  if (!read_only_.ok()) return done(read_only_);
  const auto id = std::make_shared<int64_t>(record.id);   // Of a new one: written by the commit.
  if (record.id == 0) {
    record.at = now_;
    record.expires = now_ + lasting;
  } else {
    // Two may ask for it in the same turn.
    const auto is_same = [&](const Change& change) {
      const auto* other = std::get_if<OverrideChange>(&change);
      return other != nullptr && other->record.id == record.id;
    };
    const auto known = history_.FindOverride(record.id);
    if (!known.ok()) return done(known.status());
    if (std::any_of(changes_.begin(), changes_.end(), is_same) || ((*known).has_value() && (*known)->revoked.is_set())) {
      return done(absl::FailedPreconditionError("override " + std::to_string(record.id) + " was revoked already"));
    }
    record.revoked = now_;
  }
  LogInfo(record.id == 0 ? "a rule is overridden" : "an override is revoked",
          {{"gate", record.pipeline + "/" + record.gate}, {"rule", record.rule},
           {"by", record.id == 0 ? record.by : record.revoked_by}, {"reason", record.reason}});
  changes_.push_back(OverrideChange{record, id.get()});
  Reply([record, id, done](const absl::Status& recorded) mutable {
    if (!recorded.ok()) return done(recorded);
    record.id = *id;
    done(std::move(record));
  });
}

void Orchestrator::RecordPredictions(const std::string& deployment, std::vector<PredictionRecord> predictions,
                                     Done<int64_t> done) {
  if (!IsDeployment(deployment)) {
    return done(absl::NotFoundError("there is no deployment \"" + deployment + "\"; see cd4ml deploy history"));
  }
  if (!read_only_.ok()) return done(read_only_);  // They stay in the service's file.
  for (PredictionRecord& prediction : predictions) prediction.deployment = deployment;
  const auto added = std::make_shared<int64_t>(0);  // Written by the commit, read by the answer after it.
  if (!predictions.empty()) changes_.push_back(PredictionChange{std::move(predictions), added.get()});
  Reply([done, added](const absl::Status& recorded) { recorded.ok() ? done(*added) : done(recorded); });
}

// A deployment is named after its run and stage; one that has been replaced may still hand in what it answered.
bool Orchestrator::IsDeployment(const std::string& id) const {
  for (const auto& [environment, live] : live_) {
    if (live.deployment.id == id) return true;
  }
  const size_t slash = id.rfind('/');
  const absl::StatusOr<core::Run> run =
      slash == std::string::npos ? absl::NotFoundError("") : history_.GetRun(id.substr(0, slash));
  const core::StageRun* stage = run.ok() ? run->FindStage(id.substr(slash + 1)) : nullptr;
  return stage != nullptr && stage->plan.kind == core::StageKind::kDeploy &&
         stage->state == core::StageState::kSucceeded;
}

void Orchestrator::DrainAgent(const std::string& agent, bool drained, const std::string& reason,
                              Done<AgentRecord> done) {
  absl::StatusOr<AgentRecord> record = roster_.Drain(agent, drained, reason);
  if (!record.ok()) return done(record.status());
  changes_.push_back(AgentChange{*record});
  LogInfo(drained ? "agent drained" : "agent takes work again", {{"agent", agent}, {"reason", reason}});
  Reply([done, record = *record](const absl::Status& recorded) { recorded.ok() ? done(record) : done(recorded); });
}

void Orchestrator::CloseSession(const std::string& session, DoneStatus done) {
  done(roster_.Close(session));
}

absl::Status Orchestrator::MayAppend(const std::string& session, const core::AttemptId& attempt) const {
  const std::string agent = roster_.AgentOf(session);
  if (agent.empty()) return absl::NotFoundError("session " + session + " is over; open another one");
  // A cancelled attempt's last words are welcome although it is no longer desired.
  const auto run = runs_.find(attempt.run);
  const core::StageRun* stage = run == runs_.end() ? nullptr : run->second.FindStage(attempt.stage);
  const core::Attempt* latest = stage == nullptr ? nullptr : stage->latest();
  if (latest == nullptr || latest->number != attempt.number || latest->agent != agent ||
      core::IsTerminal(latest->state)) {
    return absl::AbortedError("attempt " + core::ToText(attempt) + " is not leased to this session");
  }
  return absl::OkStatus();
}

// --- the turn --------------------------------------------------------------------------------------

void Orchestrator::BeginTurn(UtcTime now, Duration steady) {
  now_ = timeline_.Advance(now, steady);
  // While agents are there, turns are no further apart than a heartbeat. What is beyond that was spent stopped, suspended
  // or on a disk that hangs, and nobody's silence: who was there will be heard in a moment.
  const Duration unheard = steady - steady_ - settings_.heartbeat;
  if (unheard.count() > 0) roster_.Excuse(unheard);
  steady_ = steady;
  began_ticks_ = hooks_.ticks();
}

void Orchestrator::EndTurn() {
  const int64_t decided = hooks_.ticks();
  const bool looks = !read_only_.ok() && steady_ >= look_at_;
  if (looks) CheckSpace();
  if (looks || read_only_.ok()) FireDeadlines();
  if (read_only_.ok()) {
    StartChecks();
    Regroup();
    OfferResults();
    Assign();
  }
  steps_.assign.Add(hooks_.ticks() - decided);
  const absl::Status recorded = Commit();
  if (!recorded.ok() && !absl::IsResourceExhausted(recorded)) return hooks_.fail_stop(recorded);
  roster_.Push();
  for (auto& reply : std::exchange(replies_, {})) reply(recorded);
  steps_.decide.Add(decided - began_ticks_);
  steps_.tell.Add(hooks_.ticks() - committed_ticks_);
}

// Notes whether there is space, and says so when that has changed.
void Orchestrator::CheckSpace() {
  const bool was_read_only = !read_only_.ok();
  read_only_ = store_.CheckSpace();
  if (absl::IsDataLoss(read_only_)) return hooks_.fail_stop(read_only_);
  look_at_ = steady_ + kLookForSpace;
  if (was_read_only && read_only_.ok()) LogInfo("there is disk space again; taking new work");
  if (!was_read_only && !read_only_.ok()) {
    LogError("read-only until there is disk space again", {{"why", Message(read_only_)}});
  }
}

void Orchestrator::RunShort() {
  store_.RunShort();
  if (read_only_.ok()) CheckSpace();
}

// Everything but the sessions is again as the store has it.
absl::Status Orchestrator::Undo(const absl::Status& why) {
  if (read_only_.ok()) read_only_ = why;
  changes_.clear();
  touched_.clear();
  runs_.clear();
  last_number_.clear();
  pipelines_.clear();
  monitors_.clear();
  live_.clear();
  queue_ = {};
  reusable_.clear();
  offers_.clear();
  locks_.clear();
  homes_.clear();
  leased_.clear();
  leased_cells_.clear();
  full_.clear();
  keys_.clear();
  groups_.clear();
  deploys_.clear();
  regroup_runs_.clear();
  regroup_deploys_.clear();
  deadlines_.clear();
  deadline_of_.clear();
  roster_.Forget();
  CD4ML_RETURN_IF_ERROR(Annotate(TakeUp(/*starts=*/false), "the state cannot be loaded again"));
  return absl::ResourceExhaustedError("nothing was recorded: " + Message(read_only_));
}

void Orchestrator::FireDeadlines() {
  for (const Roster::Silent& silent : roster_.Expire(steady_)) {
    LogWarn("agent is silent", {{"agent", silent.agent}, {"attempt", core::ToText(silent.attempt)}});
    core::Run* run = FindOpen(silent.attempt.run);
    if (run == nullptr) continue;
    Handle(*run, core::LoseLease{silent.attempt.stage, silent.attempt.number, silent.why}).IgnoreError();
  }
  std::vector<core::RunId> due;
  for (const auto& [at, id] : deadlines_) {
    if (at > now_) break;
    due.push_back(id);
  }
  for (const core::RunId& id : due) {
    core::Run& run = *FindOpen(id);
    const std::set<std::string> hopeful = HopefulStages(run);
    Handle(run, core::Tick{hopeful}).IgnoreError();
    for (const std::string& stage : hopeful) core::UpdateDeadline(run, run.positions.at(stage), now_);
    NoteDeadline(id);
  }
}

// Stages whose time without an agent is over, although one will take them when it has room: they wait for their turn.
std::set<std::string> Orchestrator::HopefulStages(core::Run& run) const {
  std::set<std::string> hopeful;
  for (const auto& [at, position] : run.deadlines) {
    if (at > now_) break;
    const core::StageRun& stage = run.stages[static_cast<size_t>(position)];
    if (stage.state == core::StageState::kReady && core::CouldEverTake(ToWaiting(run, stage), Supply())) {
      hopeful.insert(stage.plan.name);
    }
  }
  return hopeful;
}

void Orchestrator::NoteDeadline(const core::RunId& id) {
  const auto known = deadline_of_.find(id);
  if (known != deadline_of_.end()) {
    deadlines_.erase({known->second, id});
    deadline_of_.erase(known);
  }
  const core::Run* run = FindOpen(id);
  const std::optional<UtcTime> next = run == nullptr ? std::nullopt : core::NextDeadline(*run);
  if (!next.has_value()) return;
  deadline_of_[id] = *next;
  deadlines_.emplace(*next, id);
}

void Orchestrator::Regroup() {
  // What is superseded ends or frees a place, which may change its group once more.
  while (!regroup_runs_.empty() || !regroup_deploys_.empty()) {
    for (const std::string& group : std::exchange(regroup_runs_, {})) RegroupRuns(group);
    for (const std::string& environment : std::exchange(regroup_deploys_, {})) RegroupDeploys(environment);
  }
}

void Orchestrator::RegroupRuns(const std::string& group) {
  const auto found = groups_.find(group);
  if (found == groups_.end()) return;
  if (found->second.empty()) {
    groups_.erase(found);
    return;
  }
  std::vector<core::Contender> contenders;
  for (const core::RunId& id : found->second) {
    const core::Run& run = runs_.at(id);
    contenders.push_back({id, run.state == core::RunState::kRunning, run.cancel_requested, run.priority});
  }
  // The newest definition says what holds.
  const core::ConcurrencySpec policy = runs_.at(found->second.back()).concurrency;
  const core::GroupDecision decision = core::DecideGroup(policy.policy, policy.limit, contenders);
  for (const core::GroupDecision::Superseded& one : decision.superseded) {
    Handle(runs_.at(one.id), core::CancelRun{"superseded by run " + one.by, one.by}).IgnoreError();
  }
  for (const std::string& id : decision.admitted) Handle(runs_.at(id), core::AdmitRun{}).IgnoreError();
}

void Orchestrator::RegroupDeploys(const std::string& environment) {
  const auto found = deploys_.find(environment);
  if (found == deploys_.end()) return;
  if (found->second.empty()) {
    deploys_.erase(found);
    return;
  }
  std::vector<core::Contender> contenders;
  core::ConcurrencyPolicy policy = core::ConcurrencyPolicy::kQueue;
  std::map<std::string, std::pair<core::RunId, std::string>> stages;
  for (const auto& [number, deploy] : found->second) {
    const core::StageRun& stage = *runs_.at(deploy.first).FindStage(deploy.second);
    contenders.push_back({deploy.first, stage.state != core::StageState::kReady, stage.stop.has_value(), 0});
    stages[deploy.first] = deploy;
    policy = stage.plan.environment_policy;
  }
  if (policy == core::ConcurrencyPolicy::kQueue) return;
  const auto supersede = [&](const core::RunId& id, const core::RunId& by) {
    Handle(runs_.at(id), core::SupersedeStage{stages.at(id).second, by}).IgnoreError();
  };
  // What is live already is newer than whatever comes late.
  const auto live = live_.find(environment);
  for (const core::Contender& contender : contenders) {
    if (live == live_.end() || contender.under_way) continue;
    if (runs_.at(contender.id).number < live->second.number) supersede(contender.id, live->second.deployment.run);
  }
  for (const auto& one : core::DecideGroup(policy, 1, contenders).superseded) supersede(one.id, one.by);
}

void Orchestrator::Assign() {
  core::ReadyQueue::Pass pass(now_);
  while (const std::optional<core::Assignment> next = queue_.Next(pass, Supply())) {
    core::GrantLease grant{next->stage, next->agent, {}, ""};
    if (const auto known = reusable_.find({next->run, next->stage}); known != reusable_.end()) {
      grant.recipe = known->second.recipe;
      // What it is compared with may have changed while it waited for an agent.
      const core::Run& run = *FindOpen(next->run);
      if (!grant.recipe.empty()) {
        const core::StageRun& stage = *run.FindStage(next->stage);
        grant.recipe = core::CompleteRecipe(run, stage, ComparedNow(run, stage));
      }
      grant.reuse_note = known->second.note;
    }
    const absl::StatusOr<size_t> granted = Handle(*FindOpen(next->run), std::move(grant));
    CD4ML_CHECK(granted.ok(), next->run);
  }
}

// Run time and steady time go at the same pace, so that one mark is good for as long as the date is not corrected.
void Orchestrator::MarkClock() {
  if (settings_.boot.empty()) return;
  const bool known = clock_mark_ && clock_mark_->boot == settings_.boot && clock_mark_->steady <= steady_;
  const Duration off = known ? now_ - (clock_mark_->at + (steady_ - clock_mark_->steady)) : kClockOff;
  if (std::chrono::abs(off) < kClockOff) return;
  clock_mark_ = ClockMark{now_, settings_.boot, steady_};
  changes_.push_back(ClockChange{*clock_mark_});
}

absl::Status Orchestrator::Commit() {
  const int64_t began = hooks_.ticks();
  committed_ticks_ = began;
  if (!changes_.empty()) {
    MarkClock();
    const absl::Status committed = store_.Commit(changes_);
    committed_ticks_ = hooks_.ticks();
    steps_.commit.Add(committed_ticks_ - began);
    if (read_only_.ok()) CheckSpace();
    if (absl::IsResourceExhausted(committed)) return Undo(committed);
    if (!committed.ok()) return Annotate(committed, "the outcome of a commit is unknown");
    changes_.clear();
  }
  for (const core::RunId& id : touched_) {
    core::Run* run = FindOpen(id);
    if (run == nullptr) continue;
    if (core::IsTerminal(run->state)) {
      LogInfo("run ended", {{"run", id}, {"state", std::string(core::Word(*run))}, {"message", run->message}});
      keys_.erase(run->trigger.key);   // From here on the store knows it.
      runs_.erase(id);
    }
    NoteDeadline(id);
  }
  if (!touched_.empty()) hooks_.committed(std::exchange(touched_, {}));
  return absl::OkStatus();
}

std::optional<Duration> Orchestrator::NextWait() const {
  if (!read_only_.ok()) return std::max(look_at_ - steady_, Duration(0));
  std::optional<Duration> wait;
  const auto consider = [&wait](Duration span) {
    span = std::max(span, Duration(0));
    if (!wait.has_value() || span < *wait) wait = span;
  };
  if (const auto expiry = roster_.NextExpiry()) consider(std::min(*expiry - steady_, settings_.heartbeat));
  if (!deadlines_.empty()) consider(deadlines_.begin()->first - now_);
  if (const auto at = queue_.NextBackoffEnd()) consider(*at - now_);
  for (const auto& [id, monitor] : monitors_) {
    if (!checking_.contains(id)) consider(monitor.next_check - now_);
  }
  return wait;
}

std::map<std::string, std::string> Orchestrator::Waiting(const core::RunId& id) const {
  std::map<std::string, std::string> why;
  const auto run = runs_.find(id);
  if (run == runs_.end()) return why;
  for (const core::StageRun& stage : run->second.stages) {
    if (stage.state != core::StageState::kReady) continue;
    why[stage.plan.name] = read_only_.ok() ? core::WhyWaiting(ToWaiting(run->second, stage), Supply(), now_)
                                           : "read-only: " + Message(read_only_);
  }
  return why;
}

std::string Orchestrator::QueuedBehind(const core::RunId& id) const {
  const auto run = runs_.find(id);
  if (run == runs_.end() || run->second.state != core::RunState::kQueued) return "";
  const core::ConcurrencySpec& concurrency = run->second.concurrency;
  std::string running;
  for (const core::RunId& other : groups_.at(concurrency.group)) {
    if (runs_.at(other).state != core::RunState::kRunning) continue;
    running += (running.empty() ? "" : ", ") + other;
  }
  return "waits for " + running + ": concurrency group \"" + concurrency.group + "\" lets " +
         std::to_string(concurrency.limit) + " run at a time";
}

std::string Orchestrator::WhoCouldTake(const std::string& pipeline, const core::StagePlan& stage) const {
  if (stage.kind == core::StageKind::kMonitor) return "the daemon itself";
  core::Run run;
  run.pipeline = pipeline;
  core::StageRun stage_run;
  stage_run.plan = stage;
  const core::WaitingStage waiting = ToWaiting(run, stage_run);
  // Who could, not who is free just now.
  std::map<std::string, core::FreeAgent> agents = roster_.Free();
  for (auto& [name, agent] : agents) {
    agent.free_slots = 1;
    agent.free = agent.total;
  }
  const core::Supply supply{agents, {}, {}, {}, {}};
  core::ReadyQueue queue;
  queue.Add(waiting);
  core::ReadyQueue::Pass pass(now_);
  const std::optional<core::Assignment> next = queue.Next(pass, supply);
  return next.has_value() ? next->agent : core::WhyWaiting(waiting, supply, now_);
}

}  // namespace cd4ml::daemon
