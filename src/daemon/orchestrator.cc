// One turn of the loop.
#include "orchestrator.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "cd4ml/base/check.h"
#include "cd4ml/base/log.h"
#include "cd4ml/base/status.h"
#include "cd4ml/base/text.h"

namespace cd4ml::daemon {

Orchestrator::Orchestrator(const Settings& settings, StateStore& store, History& history, Hooks hooks)
    : settings_(settings),
      store_(store),
      history_(history),
      hooks_(std::move(hooks)),
      roster_(settings.session_ttl, Duration(0)) {}

absl::Status Orchestrator::Load(UtcTime now, Duration steady) {
  now_ = now;
  steady_ = steady;
  roster_ = Roster(settings_.session_ttl, steady);
  CD4ML_ASSIGN_OR_RETURN(StoredState state, store_.Load());
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
    LeaseAgain(open);
    if (const auto deadline = core::NextDeadline(open)) deadlines_[id] = *deadline;
  }
  LogInfo("state loaded", {{"open_runs", std::to_string(runs_.size())},
                           {"pipelines", std::to_string(pipelines_.size())},
                           {"live", std::to_string(live_.size())},
                           {"monitors", std::to_string(monitors_.size())}});
  return absl::OkStatus();
}

// Starting is continuing: what is leased stays leased, what is ready waits.
void Orchestrator::LeaseAgain(const core::Run& run) {
  for (const core::StageRun& stage : run.stages) {
    if (stage.state == core::StageState::kReady) AddWaiting(run, stage);
    if (stage.state != core::StageState::kLeased && stage.state != core::StageState::kRunning) continue;
    const core::AttemptId attempt{run.id, stage.plan.name, stage.latest()->number};
    if (stage.plan.kind == core::StageKind::kDeploy) {
      locks_[EnvironmentKey(run.pipeline, stage.plan.environment)] = attempt;
    }
    if (!run.cancel_requested) roster_.Lease(stage.latest()->agent, MakeTask(run, stage, live_));
  }
}

// --- runs ------------------------------------------------------------------------------------------

void Orchestrator::StartRun(PreparedRun prepared, Done<core::Run> done) {
  core::StartRun& command = prepared.command;
  if (!command.trigger.key.empty()) {
    // The same key may have been prepared twice at the same time.
    absl::StatusOr<std::optional<core::RunId>> earlier = FindByKey(command.trigger.key);
    if (!earlier.ok()) return done(earlier.status());
    if (earlier->has_value()) {
      const core::Run* open = FindOpen(**earlier);
      absl::StatusOr<core::Run> run = open != nullptr ? *open : history_.GetRun(**earlier);
      return Reply([done, run] { done(run); });
    }
  }
  command.number = ++last_number_[command.pipeline];
  command.id = command.pipeline + "/" + std::to_string(command.number);
  const core::RunId id = command.id;
  core::Run& run = runs_[id];
  const absl::StatusOr<size_t> events = Handle(run, command);
  CD4ML_CHECK(events.ok(), id);
  Reply([done, snapshot = run] { done(snapshot); });
}

absl::StatusOr<std::optional<core::RunId>> Orchestrator::FindByKey(const std::string& key) {
  for (const auto& [id, run] : runs_) {
    if (run.trigger.key == key) return id;
  }
  return store_.FindByKey(key);
}

void Orchestrator::CancelRun(const core::RunId& id, const std::string& reason, Done<core::Run> done) {
  const absl::StatusOr<core::Run*> run = FindForCommand(id);
  if (!run.ok()) return done(run.status());
  const absl::StatusOr<size_t> events = Handle(**run, core::CancelRun{reason});
  if (!events.ok()) return done(events.status());
  Reply([done, snapshot = **run] { done(snapshot); });
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
    const core::StageRun& stage = *run.FindStage(granted->stage);
    DropWaiting(run, stage);
    if (stage.plan.kind == core::StageKind::kDeploy) {
      locks_[EnvironmentKey(run.pipeline, stage.plan.environment)] = {run.id, granted->stage, granted->number};
    }
    roster_.Lease(granted->agent, MakeTask(run, stage, live_));
  } else if (const auto* ended = std::get_if<core::AttemptEnded>(&event)) {
    const core::AttemptId attempt{run.id, ended->stage, ended->number};
    roster_.End(run.FindStage(ended->stage)->latest()->agent, attempt);
    std::erase_if(locks_, [&](const auto& lock) { return lock.second == attempt; });
  } else if (const auto* stage_ended = std::get_if<core::StageEnded>(&event)) {
    DropWaiting(run, *run.FindStage(stage_ended->stage));
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
  return {.run = run.id,
          .stage = stage.plan.name,
          .kind = stage.plan.kind,
          .labels = stage.plan.labels,
          .environment = EnvironmentKey(run.pipeline, stage.plan.environment),
          .ready = stage.ready,
          .not_before = stage.not_before};
}

void Orchestrator::AddWaiting(const core::Run& run, const core::StageRun& stage) {
  if (stage.plan.kind == core::StageKind::kMonitor) return;   // Armed at once, by no agent.
  waiting_[{stage.ready, run.id, stage.plan.name}] = ToWaiting(run, stage);
}

void Orchestrator::DropWaiting(const core::Run& run, const core::StageRun& stage) {
  waiting_.erase({stage.ready, run.id, stage.plan.name});
}

void Orchestrator::MakeLive(const core::Run& run, core::Deployment deployment) {
  LiveDeployment& live = live_[EnvironmentKey(run.pipeline, deployment.environment)];
  if (!live.deployment.agent.empty()) roster_.Unserve(live.deployment.agent, live.deployment.id);
  live = DescribeDeployment(run, deployment);
  if (!live.deployment.agent.empty()) roster_.Serve(live.deployment.agent, MakeServiceTask(live));
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
  const auto found = monitors_.find(check.monitor);
  if (found == monitors_.end() || found->second.deployment != check.deployment) return;
  const bool open = std::any_of(runs_.begin(), runs_.end(), [&](const auto& entry) {
    return entry.second.pipeline == found->second.pipeline;
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
  for (PipelineRecord& pipeline : pipelines) {
    const auto known = pipelines_.find(pipeline.name);
    pipeline.registered = known == pipelines_.end() ? now_ : known->second.registered;
    pipeline.checked = now_;
    changes_.push_back(PipelineChange{pipeline});
    const std::string name = pipeline.name;
    pipelines_[name] = std::move(pipeline);
  }
  Reply([done] { done(absl::OkStatus()); });
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
  const std::string session = settings_.instance + "-" + std::to_string(++sessions_);
  Roster::Opened opened =
      roster_.Open(hello, session, std::move(on_desired), std::move(on_lost), steady_, now_);
  if (opened.superseded) {
    Reply([superseded = std::move(opened.superseded)] {
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
                     .blob_nonce = settings_.blob_nonce};
  Reply([done, grant] { done(grant); });
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
  Reply([done] { done(absl::OkStatus()); });
}

void Orchestrator::Finish(const std::string& session, const core::AttemptId& attempt, core::Outcome outcome,
                          Done<int64_t> done) {
  const absl::StatusOr<std::string> agent = roster_.Heard(session, nullptr, steady_);
  if (!agent.ok()) return done(agent.status());
  const std::string name = *agent;
  const auto answer = [this, name, done] { Reply([this, name, done] { done(roster_.RevisionOf(name)); }); };
  core::Run* run = FindOpen(attempt.run);
  if (run == nullptr) {
    // The run has ended: this is a repeated report, or one of an attempt that was lost.
    const absl::StatusOr<core::Run> ended = history_.GetRun(attempt.run);
    if (!ended.ok()) return done(ended.status());
    const absl::StatusOr<std::vector<core::Event>> repeated =
        core::Decide(*ended, core::ReportFinished{attempt.stage, attempt.number, name, outcome}, now_);
    if (!repeated.ok()) return done(repeated.status());
    return answer();
  }
  const absl::StatusOr<size_t> events =
      Handle(*run, core::ReportFinished{attempt.stage, attempt.number, name, std::move(outcome)});
  if (!events.ok()) return done(events.status());
  answer();
}

void Orchestrator::RecordPredictions(const std::string& deployment, std::vector<PredictionRecord> predictions,
                                     Done<int64_t> done) {
  if (!IsDeployment(deployment)) {
    return done(absl::NotFoundError("there is no deployment \"" + deployment + "\"; see cd4ml deploy history"));
  }
  for (PredictionRecord& prediction : predictions) prediction.deployment = deployment;
  const auto added = std::make_shared<int64_t>(0);  // Written by the commit, read by the answer after it.
  if (!predictions.empty()) changes_.push_back(PredictionChange{std::move(predictions), added.get()});
  Reply([done, added] { done(*added); });
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
  now_ = std::max(now_, now);
  steady_ = steady;
}

void Orchestrator::EndTurn() {
  FireDeadlines();
  StartChecks();
  Assign();
  Commit();
  roster_.Push();
  for (std::function<void()>& reply : std::exchange(replies_, {})) reply();
}

void Orchestrator::FireDeadlines() {
  for (const Roster::Silent& silent : roster_.Expire(steady_)) {
    LogWarn("agent is silent", {{"agent", silent.agent}, {"attempt", core::ToText(silent.attempt)}});
    core::Run* run = FindOpen(silent.attempt.run);
    if (run == nullptr) continue;
    Handle(*run, core::LoseLease{silent.attempt.stage, silent.attempt.number, silent.why}).IgnoreError();
  }
  std::vector<core::RunId> due;
  for (const auto& [id, at] : deadlines_) {
    if (at <= now_) due.push_back(id);
  }
  for (const core::RunId& id : due) {
    if (core::Run* run = FindOpen(id)) Handle(*run, core::Tick{}).IgnoreError();
  }
}

void Orchestrator::Assign() {
  if (waiting_.empty()) return;
  std::vector<core::WaitingStage> waiting;
  for (const auto& [key, stage] : waiting_) waiting.push_back(stage);
  std::set<std::string> locked;
  for (const auto& [environment, attempt] : locks_) locked.insert(environment);
  std::map<std::string, std::string> homes;
  for (const auto& [environment, live] : live_) {
    if (!live.deployment.agent.empty()) homes[environment] = live.deployment.agent;
  }
  for (const core::Assignment& assignment : core::Schedule(waiting, roster_.Free(), locked, homes, now_)) {
    const absl::StatusOr<size_t> granted =
        Handle(*FindOpen(assignment.run), core::GrantLease{assignment.stage, assignment.agent});
    CD4ML_CHECK(granted.ok(), assignment.run);
  }
}

void Orchestrator::Commit() {
  if (!changes_.empty()) {
    const absl::Status committed = store_.Commit(changes_);
    if (!committed.ok()) return hooks_.fail_stop(Annotate(committed, "the outcome of a commit is unknown"));
    changes_.clear();
  }
  for (const core::RunId& id : touched_) {
    core::Run* run = FindOpen(id);
    if (run == nullptr) continue;
    deadlines_.erase(id);
    if (core::IsTerminal(run->state)) {
      LogInfo("run ended", {{"run", id}, {"state", std::string(core::Word(*run))}, {"message", run->message}});
      runs_.erase(id);
    } else if (const auto deadline = core::NextDeadline(*run)) {
      deadlines_[id] = *deadline;
    }
  }
  if (!touched_.empty()) hooks_.committed(std::exchange(touched_, {}));
}

std::optional<Duration> Orchestrator::NextWait() const {
  std::optional<Duration> wait;
  const auto consider = [&wait](Duration span) {
    span = std::max(span, Duration(0));
    if (!wait.has_value() || span < *wait) wait = span;
  };
  if (const auto expiry = roster_.NextExpiry()) consider(*expiry - steady_);
  for (const auto& [id, at] : deadlines_) consider(at - now_);
  for (const auto& [id, monitor] : monitors_) {
    if (!checking_.contains(id)) consider(monitor.next_check - now_);
  }
  for (const auto& [key, stage] : waiting_) {
    if (stage.not_before > now_) consider(stage.not_before - now_);
  }
  return wait;
}

std::map<std::string, std::string> Orchestrator::Waiting(const core::RunId& id) const {
  std::map<std::string, std::string> why;
  const auto run = runs_.find(id);
  if (run == runs_.end()) return why;
  std::set<std::string> locked;
  for (const auto& [environment, attempt] : locks_) locked.insert(environment);
  std::map<std::string, std::string> homes;
  for (const auto& [environment, live] : live_) {
    if (!live.deployment.agent.empty()) homes[environment] = live.deployment.agent;
  }
  const std::vector<core::FreeAgent> agents = roster_.Free();
  for (const core::StageRun& stage : run->second.stages) {
    if (stage.state != core::StageState::kReady) continue;
    why[stage.plan.name] = core::WhyWaiting(ToWaiting(run->second, stage), agents, locked, homes, now_);
  }
  return why;
}

std::string Orchestrator::WhoCouldTake(const std::string& pipeline, const core::StagePlan& stage) const {
  if (stage.kind == core::StageKind::kMonitor) return "the daemon itself";
  core::Run run;
  run.pipeline = pipeline;
  core::StageRun stage_run;
  stage_run.plan = stage;
  const core::WaitingStage waiting = ToWaiting(run, stage_run);
  std::vector<core::FreeAgent> agents = roster_.Free();
  for (core::FreeAgent& agent : agents) agent.free_slots = 1;   // Who could, not who is free just now.
  const std::vector<core::Assignment> assigned = core::Schedule({waiting}, agents, {}, {}, now_);
  return assigned.empty() ? core::WhyWaiting(waiting, agents, {}, {}, now_) : assigned.front().agent;
}

}  // namespace cd4ml::daemon
