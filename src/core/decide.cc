// The rules of a run. Everything that follows from a command is decided at once, down to the end of the
// run, so that no state ever waits for somebody to look again.
#include "cd4ml/core/decide.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "cd4ml/base/status.h"
#include "cd4ml/core/expression.h"
#include "cd4ml/core/gate_report.h"
#include "cd4ml/core/matrix.h"

namespace cd4ml::core {
namespace {

// Collects the events of one command. It sees the run through the ends that it has decided so far; costs
// depend on the stages touched, never on the size of the run.
class Decision {
 public:
  Decision(const Run& run, UtcTime now) : run_(run), now_(now), cancelling_(run.cancel_requested), cancel_reason_(run.cancel_reason) {
    if (!run.superseded_by.empty()) cancel_cause_ = Reason::kSuperseded;
  }

  absl::StatusOr<std::vector<Event>> operator()(const StartRun& command);
  absl::StatusOr<std::vector<Event>> operator()(const AdmitRun& command);
  absl::StatusOr<std::vector<Event>> operator()(const CancelRun& command);
  absl::StatusOr<std::vector<Event>> operator()(const SupersedeStage& command);
  absl::StatusOr<std::vector<Event>> operator()(const GrantLease& command);
  absl::StatusOr<std::vector<Event>> operator()(const OfferResult& command);
  absl::StatusOr<std::vector<Event>> operator()(const ReportStarted& command);
  absl::StatusOr<std::vector<Event>> operator()(const ReportFinished& command);
  absl::StatusOr<std::vector<Event>> operator()(const LoseLease& command);
  absl::StatusOr<std::vector<Event>> operator()(const Tick& command);

 private:
  // A report either concerns the live attempt, or repeats an ended one, or is refused.
  absl::StatusOr<const StageRun*> FindReported(const std::string& stage, int number, const std::string& agent,
                                               bool& repeated) const;
  absl::StatusOr<const StageRun*> FindReady(const std::string& stage) const;
  const StageRun& At(int position) const { return run_.stages[static_cast<size_t>(position)]; }
  StageState StateOf(std::string_view stage) const;
  int PositionOf(std::string_view stage) const { return run_.positions.find(stage)->second; }

  void End(int position, StageState state, Reason reason, std::string message);
  void TakeOver(int position, Carried carried);
  void EndAttempt(const StageRun& stage, AttemptState state, Outcome outcome);
  // Ends the stage whose latest attempt has ended without success, or makes it ready for another one.
  void EndOrRetry(const StageRun& stage, AttemptState state, Reason reason, std::string message);
  // Ends the stage now when nobody holds it; else asks its agent to.
  void StopStage(const StageRun& stage, Stop stop);
  std::optional<Duration> RetryBackoff(const StageRun& stage, Reason reason) const;
  void UnblockWhatNeedsNothing();
  void RecordVersions(const StageRun& stage, const Outcome& outcome);
  void RecordDeployment(const StageRun& stage, const Outcome& outcome);

  // Lets everything follow from the ends so far.
  std::vector<Event> Settle();
  void Unblock(int position);
  // The cell has failed: ends the others, unless its matrix goes on.
  void EndOtherCells(const StageRun& failed);
  // All cells of this matrix have ended.
  void Join(int position);
  CellResult ResultOfCell(const StageRun& cell) const;
  void ArmMonitor(int position);
  absl::StatusOr<bool> Evaluate(const StageRun& stage) const;
  RunEnded Conclude() const;

  const Run& run_;
  UtcTime now_;
  bool cancelling_;                     // These three: also of a request that is being decided.
  std::string cancel_reason_;
  Reason cancel_cause_ = Reason::kCancelled;
  std::vector<Event> events_;
  std::map<int, StageEnded> ended_;     // By position: what this decision has ended.
  std::map<int, int> needs_ended_;      // By position: how many of its needs this decision has ended.
  std::deque<int> unsettled_;           // Ended, dependents not looked at yet.
  std::set<int> stopping_;              // Leased, asked to end by this decision.
};

std::string_view RetryCategory(Reason reason) {
  switch (reason) {
    case Reason::kAgentLost: return "agent_lost";
    case Reason::kInfra: return "infra";
    case Reason::kTimeout:
    case Reason::kSilenceTimeout: return "timeout";
    case Reason::kExitCode: return "exit_code";
    default: return "";
  }
}

// A version without an artifact.
Version Bare(VersionKind kind, std::string name, std::string digest, std::string summary) {
  Version version;
  version.kind = kind;
  version.name = std::move(name);
  version.digest = std::move(digest);
  version.summary = std::move(summary);
  return version;
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const StartRun& command) {
  if (!run_.id.empty()) return absl::AlreadyExistsError("run " + run_.id + " has been started already");
  events_.push_back(RunStarted{.id = command.id,
                               .pipeline = command.pipeline,
                               .number = command.number,
                               .lane = command.lane,
                               .priority = command.priority,
                               .concurrency = command.concurrency,
                               .queued = command.queued,
                               .retry_of = command.retry_of,
                               .trigger = command.trigger,
                               .pins = command.pins,
                               .stages = command.stages});
  // The rules below need a run to look at: the one that this event makes.
  Run started;
  Apply(events_.front(), now_, started);
  for (const auto& [stage, carried] : command.carried) {
    events_.push_back(StageCarried{stage, carried});
    Apply(events_.back(), now_, started);
  }
  if (started.open_stages <= static_cast<int>(command.left_out.size())) {
    return absl::FailedPreconditionError("nothing is left to be done: every stage is taken over from run " +
                                         command.retry_of + " or left out");
  }
  Decision next(started, now_);
  for (const std::string& stage : command.left_out) {
    next.End(started.positions.find(stage)->second, StageState::kSkipped, Reason::kNotSelected,
             command.trigger.kind == TriggerKind::kReproduce
                 ? "left out: making run " + command.retry_of + " again changes nothing outside, and repeats no failure"
                 : "left out of this retry of run " + command.retry_of);
  }
  if (!command.queued) next.UnblockWhatNeedsNothing();
  std::vector<Event> rest = next.Settle();
  std::move(rest.begin(), rest.end(), std::back_inserter(events_));
  return std::move(events_);
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const AdmitRun&) {
  if (run_.state != RunState::kQueued) return std::vector<Event>();
  events_.push_back(RunAdmitted{});
  UnblockWhatNeedsNothing();
  return Settle();
}

void Decision::UnblockWhatNeedsNothing() {
  for (size_t i = 0; i < run_.stages.size(); ++i) {
    const int position = static_cast<int>(i);
    const StageRun& stage = run_.stages[i];
    if (stage.state == StageState::kBlocked && stage.open_needs == 0 && !ended_.contains(position)) Unblock(position);
  }
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const SupersedeStage& command) {
  const StageRun* stage = run_.FindStage(command.stage);
  if (stage == nullptr) return absl::NotFoundError("run " + run_.id + " has no stage \"" + command.stage + "\"");
  StopStage(*stage, {StageState::kCancelled, Reason::kSuperseded, "superseded by run " + command.by});
  return Settle();
}

void Decision::StopStage(const StageRun& stage, Stop stop) {
  if (IsTerminal(stage.state) || stage.stop.has_value()) return;
  if (stage.state == StageState::kLeased || stage.state == StageState::kRunning) {
    if (cancelling_ || !stopping_.insert(PositionOf(stage.plan.name)).second) return;
    events_.push_back(StopRequested{stage.plan.name, std::move(stop)});
  } else {
    End(PositionOf(stage.plan.name), stop.state, stop.reason, std::move(stop.message));
  }
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const CancelRun& command) {
  if (IsTerminal(run_.state)) {
    return absl::FailedPreconditionError("run " + run_.id + " has ended already: " + std::string(Word(run_)));
  }
  if (run_.cancel_requested) return std::vector<Event>();
  events_.push_back(CancelRequested{command.reason, command.superseded_by});
  cancelling_ = true;
  cancel_reason_ = command.reason;
  cancel_cause_ = command.superseded_by.empty() ? Reason::kCancelled : Reason::kSuperseded;
  for (size_t i = 0; i < run_.stages.size(); ++i) {
    const StageState state = run_.stages[i].state;
    if (state == StageState::kBlocked || state == StageState::kReady) {
      End(static_cast<int>(i), StageState::kCancelled, cancel_cause_, command.reason);
    }
  }
  return Settle();
}

absl::StatusOr<const StageRun*> Decision::FindReady(const std::string& name) const {
  const StageRun* stage = run_.FindStage(name);
  if (stage == nullptr) return absl::NotFoundError("run " + run_.id + " has no stage \"" + name + "\"");
  if (stage->state != StageState::kReady || run_.state != RunState::kRunning) {
    return absl::FailedPreconditionError("stage " + run_.id + "/" + name + " is " +
                                         std::string(ToText(stage->state)) + ", not ready");
  }
  return stage;
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const GrantLease& command) {
  CD4ML_ASSIGN_OR_RETURN(const StageRun* stage, FindReady(command.stage));
  events_.push_back(LeaseGranted{command.stage, static_cast<int>(stage->attempts.size()) + 1, command.agent,
                                 command.recipe, command.reuse_note});
  return std::move(events_);
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const OfferResult& command) {
  CD4ML_ASSIGN_OR_RETURN(const StageRun* stage, FindReady(command.stage));
  if (!stage->plan.reuse || command.carried.outcome.state != AttemptState::kSucceeded) {
    return absl::FailedPreconditionError("stage " + run_.id + "/" + command.stage + " cannot take over that result");
  }
  TakeOver(PositionOf(command.stage), command.carried);
  return Settle();
}

absl::StatusOr<const StageRun*> Decision::FindReported(const std::string& name, int number,
                                                       const std::string& agent, bool& repeated) const {
  const StageRun* stage = run_.FindStage(name);
  if (stage == nullptr || number < 1 || number > static_cast<int>(stage->attempts.size())) {
    return absl::NotFoundError("there is no attempt " + ToText(AttemptId{run_.id, name, number}));
  }
  const Attempt& attempt = stage->attempts[static_cast<size_t>(number) - 1];
  if (attempt.agent != agent) {
    return absl::AbortedError("attempt " + ToText(AttemptId{run_.id, name, number}) + " was leased to agent \"" +
                              attempt.agent + "\", not to \"" + agent + "\"");
  }
  if (number != static_cast<int>(stage->attempts.size()) || attempt.state == AttemptState::kLost) {
    return absl::AbortedError("attempt " + ToText(AttemptId{run_.id, name, number}) + " is no longer leased");
  }
  repeated = IsTerminal(attempt.state);
  return stage;
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const ReportStarted& command) {
  bool repeated = false;
  auto stage = FindReported(command.stage, command.number, command.agent, repeated);
  if (!stage.ok()) return stage.status();
  if (!repeated && (*stage)->latest()->state == AttemptState::kGranted) {
    events_.push_back(AttemptStarted{command.stage, command.number});
  }
  return std::move(events_);
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const ReportFinished& command) {
  bool repeated = false;
  auto found = FindReported(command.stage, command.number, command.agent, repeated);
  if (!found.ok()) return found.status();
  if (repeated) return std::vector<Event>();
  const StageRun& stage = **found;
  Outcome outcome = command.outcome;
  if (!IsTerminal(outcome.state) || outcome.state == AttemptState::kLost) {
    return absl::InvalidArgumentError("an outcome is succeeded, failed or cancelled");
  }
  // The gate's own record decides, whatever else the agent says.
  if (outcome.state == AttemptState::kSucceeded && IsGate(stage.plan.kind)) {
    if (!outcome.verdict.has_value() || Blocks(outcome.verdict->outcome)) {
      outcome.state = AttemptState::kFailed;
      outcome.reason = outcome.verdict.has_value() && outcome.verdict->outcome == VerdictOutcome::kFail
                           ? Reason::kGateRejected
                           : Reason::kGateError;
      outcome.message = outcome.verdict.has_value() ? BlockingReason(*outcome.verdict)
                                                    : "the gate ended without a verdict";
    }
  }
  const AttemptState state = outcome.state;
  const Reason reason = outcome.reason;
  const std::string message = outcome.message;
  EndAttempt(stage, state, outcome);
  if (state != AttemptState::kCancelled) RecordVersions(stage, outcome);
  if (state == AttemptState::kSucceeded) {
    if (stage.plan.kind == StageKind::kDeploy) RecordDeployment(stage, outcome);
    End(PositionOf(command.stage), StageState::kSucceeded, Reason::kNone, "");
  } else {
    EndOrRetry(stage, state, reason, message);
  }
  return Settle();
}

void Decision::EndOrRetry(const StageRun& stage, AttemptState state, Reason reason, std::string message) {
  const int position = PositionOf(stage.plan.name);
  // A failure of its own, after the request to end, is told as such: it says more.
  const bool stopped = state != AttemptState::kFailed;
  // Nobody can say that nothing of a lost attempt is left.
  const std::string left =
      state == AttemptState::kLost ? "; " + message + ", and ends what it had started when it comes back" : "";
  if (cancelling_ && stopped) {
    End(position, StageState::kCancelled, cancel_cause_, cancel_reason_ + left);
  } else if (stage.stop.has_value() && stopped) {
    End(position, stage.stop->state, stage.stop->reason, stage.stop->message + left);
  } else if (const std::optional<Duration> backoff = RetryBackoff(stage, reason)) {
    events_.push_back(StageReady{stage.plan.name, backoff->count() == 0 ? UtcTime{} : now_ + *backoff});
  } else {
    End(position, StageState::kFailed, reason, std::move(message));
  }
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const LoseLease& command) {
  const StageRun* stage = run_.FindStage(command.stage);
  const Attempt* attempt = stage == nullptr ? nullptr : stage->latest();
  if (attempt == nullptr || attempt->number != command.number || IsTerminal(attempt->state)) {
    return std::vector<Event>();
  }
  Outcome outcome;
  outcome.state = AttemptState::kLost;
  outcome.reason = Reason::kAgentLost;
  outcome.message = command.why;
  EndAttempt(*stage, AttemptState::kLost, outcome);
  EndOrRetry(*stage, AttemptState::kLost, Reason::kAgentLost, command.why);
  return Settle();
}

absl::StatusOr<std::vector<Event>> Decision::operator()(const Tick& command) {
  for (const auto& [at, position] : run_.deadlines) {
    if (at > now_) break;
    const StageRun& stage = At(position);
    const Duration total = stage.plan.total_timeout;
    const UtcTime from = TotalTimeoutFrom(run_, stage);
    if (total.count() > 0 && from.is_set() && now_ >= from + total) {
      StopStage(stage, {StageState::kFailed, Reason::kTotalTimeout,
                        "it did not end within " + FormatDuration(total) + ", all attempts together"});
    } else if (!command.hopeful.contains(stage.plan.name)) {
      StopStage(stage, {StageState::kFailed, Reason::kNoAgent,
                        "no agent took it within " + FormatDuration(stage.plan.assign_timeout)});
    }
  }
  return Settle();
}

StageState Decision::StateOf(std::string_view stage) const {
  const int position = PositionOf(stage);
  const auto ended = ended_.find(position);
  return ended == ended_.end() ? At(position).state : ended->second.state;
}

void Decision::End(int position, StageState state, Reason reason, std::string message) {
  StageEnded event{At(position).plan.name, state, reason, std::move(message)};
  ended_[position] = event;
  events_.push_back(std::move(event));
  unsettled_.push_back(position);
}

void Decision::TakeOver(int position, Carried carried) {
  const std::string& stage = At(position).plan.name;
  events_.push_back(StageCarried{stage, std::move(carried)});
  ended_[position] = {stage, StageState::kSucceeded, Reason::kNone, ""};
  unsettled_.push_back(position);
}

void Decision::EndAttempt(const StageRun& stage, AttemptState state, Outcome outcome) {
  events_.push_back(AttemptEnded{stage.plan.name, stage.latest()->number, state, std::move(outcome)});
}

// Returns how long to wait before the next attempt, or nullopt when there is to be none.
std::optional<Duration> Decision::RetryBackoff(const StageRun& stage, Reason reason) const {
  const RetrySpec& retry = stage.plan.retry;
  const std::string_view category = RetryCategory(reason);
  // A deploy acts on the world: half of it may have happened, so a human or a new run decides.
  if (cancelling_ || stage.stop.has_value() || stage.plan.kind == StageKind::kDeploy) return std::nullopt;
  if (std::find(retry.when.begin(), retry.when.end(), category) == retry.when.end()) return std::nullopt;
  // The latest attempt is the one that is just ending.
  const bool is_error = IsInfrastructure(reason);
  const auto used = std::count_if(stage.attempts.begin(), stage.attempts.end() - 1, [&](const Attempt& attempt) {
    return IsInfrastructure(attempt.outcome.reason) == is_error;
  });
  if (used >= (is_error ? retry.error_limit : retry.limit)) return std::nullopt;
  const Duration backoff(retry.backoff.count() << std::min<int64_t>(used, 20));
  return std::min(backoff, std::max(retry.backoff, retry.backoff_max));
}

void Decision::RecordVersions(const StageRun& stage, const Outcome& outcome) {
  VersionsProduced event{stage.plan.name, stage.latest()->number, {}, {}};
  event.used.push_back(Bare(VersionKind::kCode, run_.pipeline, run_.pins.commit, run_.pins.commit_subject));
  const Digest params =
      stage.plan.cell_of.empty() ? run_.pins.params_digest : Sha256(ToJson(ParamsOf(run_.pins, stage.plan)));
  event.used.push_back(Bare(VersionKind::kParams, run_.pipeline, params.hex(), ""));
  if (!outcome.environment.is_null()) {
    const Digest digest = Sha256(ToJson(outcome.environment));
    event.used.push_back(Bare(VersionKind::kEnvironment, run_.pipeline, digest.hex(), ""));
  }
  for (const std::string& reference : stage.plan.references) {
    if (std::optional<Version> version = FindVersion(run_, reference)) event.used.push_back(*std::move(version));
  }
  for (const ProducedOutput& output : outcome.outputs) {
    if (IsGateReport(output)) continue;
    Version version = Bare(VersionKindOf(output.type), run_.pipeline + "/" + stage.plan.name + "." + output.name,
                           output.artifact.digest.hex(), "");
    version.artifact = output.artifact;
    event.produced.push_back(std::move(version));
  }
  events_.push_back(std::move(event));
}

void Decision::RecordDeployment(const StageRun& stage, const Outcome& outcome) {
  Deployment deployment;
  deployment.id = run_.id + "/" + stage.plan.name;
  deployment.environment = stage.plan.environment;
  deployment.pipeline = run_.pipeline;
  deployment.run = run_.id;
  deployment.stage = stage.plan.name;
  deployment.package = FindVersion(run_, stage.plan.package).value_or(Version{});
  deployment.model = FindModel(run_, stage.plan.package).value_or(Version{});
  if (outcome.service.has_value()) {
    deployment.agent = outcome.service->agent;
    deployment.endpoint = outcome.service->endpoint;
  }
  deployment.started = now_;
  events_.push_back(Deployed{stage.plan.name, std::move(deployment)});
}

std::vector<Event> Decision::Settle() {
  while (!unsettled_.empty()) {
    const int position = unsettled_.front();
    unsettled_.pop_front();
    if (ended_.at(position).state == StageState::kFailed) EndOtherCells(At(position));
    for (int dependent : At(position).dependents) {
      const bool free = ++needs_ended_[dependent] == At(dependent).open_needs;
      if (free && At(dependent).state == StageState::kBlocked && !ended_.contains(dependent)) Unblock(dependent);
    }
  }
  if (run_.open_stages > 0 && static_cast<int>(ended_.size()) == run_.open_stages) events_.push_back(Conclude());
  return std::move(events_);
}

// All needs of this blocked stage have ended: is it to be run?
void Decision::Unblock(int position) {
  const StageRun& stage = At(position);
  if (stage.plan.matrix) return Join(position);
  const auto failed = std::find_if(stage.plan.needs.begin(), stage.plan.needs.end(), [&](const std::string& need) {
    return StateOf(need) != StageState::kSucceeded;
  });
  if (failed != stage.plan.needs.end() && !ConditionLooksAtFailures(stage.plan.condition)) {
    End(position, StageState::kSkipped, Reason::kNeedFailed,
        "needs " + *failed + ", which " + (StateOf(*failed) == StageState::kSkipped ? "was skipped" : "did not succeed"));
    return;
  }
  const absl::StatusOr<bool> wanted = Evaluate(stage);
  if (!wanted.ok()) {
    End(position, StageState::kFailed, Reason::kNotAvailable,
        "its condition cannot be evaluated: " + Message(wanted.status()));
  } else if (!*wanted) {
    End(position, StageState::kSkipped, Reason::kConditionFalse, "its condition is false: " + stage.plan.condition);
  } else if (stage.plan.kind == StageKind::kDeploy && stage.plan.refuses_mixed && !run_.pins.mixed.empty()) {
    End(position, StageState::kFailed, Reason::kGateRejected,
        "environment \"" + stage.plan.environment + "\" refuses mixed revisions: " + run_.pins.mixed);
  } else {
    events_.push_back(StageReady{stage.plan.name, UtcTime{}});
    if (stage.plan.kind == StageKind::kMonitor) ArmMonitor(position);
  }
}

void Decision::EndOtherCells(const StageRun& failed) {
  if (failed.plan.cell_of.empty()) return;
  const MatrixSpec& matrix = *run_.FindStage(failed.plan.cell_of)->plan.matrix;
  if (matrix.goes_on) return;
  for (const std::string& cell : matrix.cells) {
    const int position = PositionOf(cell);
    if (ended_.contains(position)) continue;
    StopStage(At(position), {StageState::kCancelled, Reason::kCancelled,
                             "cell " + failed.plan.name + " failed, which ends the others: fail_fast"});
  }
}

CellResult Decision::ResultOfCell(const StageRun& cell) const {
  CellResult result = ResultOf(run_, cell);
  const auto ended = ended_.find(PositionOf(cell.plan.name));
  if (ended == ended_.end()) return result;
  result.state = ended->second.state;
  result.reason = ended->second.reason;
  // What has just come in is not part of the run yet.
  for (const Event& event : events_) {
    if (const auto* attempt = std::get_if<AttemptEnded>(&event); attempt != nullptr && attempt->stage == cell.plan.name) {
      result.outcome = &attempt->outcome;
    } else if (const auto* taken = std::get_if<StageCarried>(&event); taken != nullptr && taken->stage == cell.plan.name) {
      result.outcome = &taken->carried.outcome;
      result.made_by = taken->carried.from;
    }
  }
  return result;
}

// It holds no agent either. Its condition was its cells', and it is nothing without them.
void Decision::Join(int position) {
  const MatrixSpec& matrix = *At(position).plan.matrix;
  std::vector<CellResult> cells;
  for (const std::string& cell : matrix.cells) cells.push_back(ResultOfCell(At(PositionOf(cell))));
  Joined joined = JoinCells(matrix, cells);
  if (joined.winner) return TakeOver(position, *std::move(joined.winner));
  End(position, joined.state, joined.reason, std::move(joined.message));
}

// A monitor holds no agent: it is armed for the deployment that this run made in its environment.
void Decision::ArmMonitor(int position) {
  const StageRun& stage = At(position);
  for (const StageRun& deploy : run_.stages) {
    if (deploy.plan.kind == StageKind::kDeploy && deploy.plan.environment == stage.plan.environment &&
        StateOf(deploy.plan.name) == StageState::kSucceeded) {
      const RunId& deployed_by = deploy.carried.has_value() ? deploy.carried->from.run : run_.id;
      events_.push_back(
          MonitorArmed{stage.plan.name, stage.plan.environment, deployed_by + "/" + deploy.plan.name});
      End(position, StageState::kSucceeded, Reason::kNone, "");
      return;
    }
  }
  End(position, StageState::kFailed, Reason::kNeedFailed,
      "this run deployed nothing to environment \"" + stage.plan.environment + "\", so there is nothing to watch");
}

absl::StatusOr<bool> Decision::Evaluate(const StageRun& stage) const {
  if (stage.plan.condition.empty()) return true;
  auto expression = Expression::Parse(stage.plan.condition);
  if (!expression.ok()) return expression.status();
  const Value params = ParamsOf(run_.pins, stage.plan);
  Scope scope;
  scope.name = [this, &params](std::string_view name) -> std::optional<Value> {
    if (name == "run.lane") return Value(run_.lane);
    if (name == "run.id") return Value(run_.id);
    if (name == "run.trigger") return Value(ToText(run_.trigger.kind));
    if (!name.starts_with("params.")) return std::nullopt;
    const Value* value = params.FindPath(name.substr(7));
    return value == nullptr ? std::nullopt : std::optional<Value>(*value);
  };
  scope.call = [this](std::string_view function, const std::vector<Value>& arguments) -> std::optional<Value> {
    if (function == "always" && arguments.empty()) return Value(true);
    if (arguments.size() != 1 || !arguments[0].is_string() || run_.FindStage(arguments[0].string()) == nullptr) {
      return std::nullopt;
    }
    const StageState state = StateOf(arguments[0].string());
    if (function == "passed") return Value(state == StageState::kSucceeded);
    if (function == "failed") return Value(state == StageState::kFailed);
    return std::nullopt;
  };
  auto value = expression->Evaluate(scope);
  if (!value.ok()) return value.status();
  if (!value->is_bool()) return absl::InvalidArgumentError("\"" + stage.plan.condition + "\" is not true or false");
  return value->boolean();
}

// A failure counts before whatever was cancelled. Of several the one that came first tells why, as the later ones may follow
// from it; of cancelled stages the one with the most to tell: of lost attempts something may be left.
RunEnded Decision::Conclude() const {
  std::optional<StageEnded> failed, cancelled;
  UtcTime failed_at;
  for (size_t i = 0; i < run_.stages.size(); ++i) {
    const StageRun& stage = run_.stages[i];
    const auto now_ended = ended_.find(static_cast<int>(i));
    const bool before = now_ended == ended_.end();
    const StageState state = before ? stage.state : now_ended->second.state;
    if (state != StageState::kFailed && state != StageState::kCancelled) continue;
    const bool is_made_up_for = !stage.plan.cell_of.empty() && StateOf(stage.plan.cell_of) == StageState::kSucceeded;
    if (is_made_up_for) continue;      // Another cell has won.
    const StageEnded here = before ? StageEnded{stage.plan.name, state, stage.reason, stage.message} : now_ended->second;
    const UtcTime at = before ? stage.ended : now_;
    if (state == StageState::kCancelled) {
      if (!cancelled || here.message.size() > cancelled->message.size()) cancelled = here;
    } else if (!failed || at < failed_at) {
      failed = here;
      failed_at = at;
    }
  }
  if (failed) return RunEnded{RunState::kFailed, failed->reason, failed->stage + ": " + failed->message};
  if (cancelling_ && cancelled) return RunEnded{RunState::kCancelled, cancel_cause_, cancelled->message};
  if (cancelled) return RunEnded{RunState::kCancelled, cancelled->reason, cancelled->stage + ": " + cancelled->message};
  return RunEnded{RunState::kSucceeded, Reason::kNone,
                  cancelling_ ? "the request to cancel it came too late: " + cancel_reason_ : ""};
}

}  // namespace

bool ConditionLooksAtFailures(const std::string& condition) {
  return condition.find("always(") != std::string::npos || condition.find("failed(") != std::string::npos;
}

absl::StatusOr<std::vector<Event>> Decide(const Run& run, const Command& command, UtcTime now) {
  return std::visit(Decision(run, now), command);
}

std::optional<UtcTime> NextDeadline(const Run& run) {
  if (run.deadlines.empty()) return std::nullopt;
  return run.deadlines.begin()->first;
}

}  // namespace cd4ml::core
