// Performs stages that are a command, and the gates that judge tables and metrics beside it.
#include "agent/champion.h"
#include "agent/executors/executor.h"
#include "agent/exits.h"
#include "agent/files.h"
#include "agent/gate_page.h"
#include "agent/metrics.h"
#include "agent/model_rules.h"
#include "agent/reads.h"
#include "agent/tables.h"
#include "agent/time_limit.h"
#include "agent/verdict_files.h"
#include "agent/workspace.h"
#include "cd4ml/base/status.h"
#include "cd4ml/core/override.h"

namespace cd4ml::agent {
namespace {

using core::Reason;

core::Outcome Fail(core::Outcome outcome, Reason reason, const absl::Status& status) {
  outcome.state = core::AttemptState::kFailed;
  outcome.reason = reason;
  outcome.message = Message(status);
  return outcome;
}

// Judges one gate and takes in what its command left behind.
class Harvest {
 public:
  Harvest(Attempt& attempt, Workspace& workspace, const core::PipelineSpec& pipeline,
          const core::StageSpec& stage)
      : attempt_(attempt),
        workspace_(workspace),
        stage_(stage),
        limit_(core::IsGate(stage.kind) ? attempt.task().timeout : Duration(0), attempt.halt()),
        tables_(attempt, workspace, pipeline, stage, limit_.token()) {}

  // Opens the table engine when the stage needs it: that there is none is our fault, not the data's.
  absl::Status Prepare() {
    const bool judges = std::any_of(stage_.rules.begin(), stage_.rules.end(), Tables::Judges);
    return judges || stage_.predictions.has_value() ? tables_.Open() : absl::OkStatus();
  }

  // Judges the rules that need nothing of the command. Returns whether it may run.
  bool MayRun() {
    limit_.Begin();
    for (const core::Rule& rule : stage_.rules) {
      if (tables_.IsJudgedBefore(rule)) results_.push_back(tables_.Judge(rule));
    }
    limit_.End();
    const core::Verdict so_far = core::ApplyOverrides(core::Conclude(results_), attempt_.task().overrides);
    return results_.empty() || !core::Blocks(so_far.outcome);
  }

  core::Outcome Rejected() {
    core::Verdict verdict = core::Conclude(results_);
    SayVerdict(attempt_, verdict);
    core::Outcome outcome = Keep(OutcomeOf(attempt_, std::move(verdict)));
    // Whatever else lies where outputs belong is the repository's.
    std::erase_if(outcome.outputs, [this](const core::ProducedOutput& output) {
      if (core::IsGateReport(output)) return false;
      return std::none_of(stage_.outputs.begin(), stage_.outputs.end(), [&](const core::OutputSpec& spec) {
        return spec.name == output.name && !spec.quarantine.empty();
      });
    });
    return outcome;
  }

  // Returns how the attempt ends when judging was stopped before it was done: whatever it has found then counts for nothing.
  std::optional<core::Outcome> Stopped() const {
    if (attempt_.quitting()) return core::Outcome();
    if (attempt_.cancelled()) return Failed(Reason::kCancelled, "cancelled while it was judged");
    if (!limit_.passed()) return std::nullopt;
    return Failed(Reason::kTimeout, "judging stage \"" + attempt_.task().attempt.stage + "\" took longer than " +
                                        FormatDuration(attempt_.task().timeout) + " and was stopped");
  }

  // Takes in outputs and metrics of a command that has succeeded, and judges the remaining rules.
  core::Outcome Collect(core::Outcome outcome) {
    limit_.Begin();
    outcome = CollectAll(std::move(outcome));
    return Stopped().value_or(std::move(outcome));
  }

  core::Outcome CollectAll(core::Outcome outcome) {
    absl::Status status = workspace_.CheckOutputs();
    if (!status.ok()) return Fail(outcome, Reason::kOutputMissing, status);
    measured_ = ReadMetrics();
    // A gate that judges metrics says so itself, with a verdict.
    const bool judges_metrics = std::any_of(stage_.rules.begin(), stage_.rules.end(), [](const core::Rule& rule) {
      return !Tables::Judges(rule);
    });
    if (!measured_.ok() && !judges_metrics) return Fail(outcome, Reason::kMetricsUnreadable, measured_);
    NoteBaselines();
    outcome.metrics = metrics_.overall;
    if (core::IsGate(stage_.kind)) {
      status = Judge(outcome);
      if (!status.ok()) return Fail(outcome, Reason::kMetricsUnreadable, status);
    }
    return Keep(std::move(outcome));
  }

  // Takes the verdict of a command that ended with another code than 0, where the gate says that it has one, or it has
  // written one. Whoever fails for another reason than what it has found has failed as a stage.
  void JudgeFailure(core::Outcome& outcome) {
    // What the shell says of a command that it could not execute or find, or that a signal has ended.
    const bool has_run = outcome.exit_code > 0 && outcome.exit_code != 126 && outcome.exit_code != 127 && outcome.exit_code <= 128;
    if (!core::IsGate(stage_.kind) || outcome.reason != Reason::kExitCode || !has_run) return;
    bool blocks = Exists(workspace_.verdict_file()) && AddBlocking(ReadVerdictVariable(workspace_.verdict_file()));
    if (stage_.verdict && stage_.verdict->kind == core::VerdictSpec::Kind::kExitCode) {
      const std::vector<std::string> lines = LastLines(attempt_.paths().log(), core::kOffendingRowsMax);
      blocks |= AddBlocking(std::vector<core::RuleResult>{core::JudgeExitCode(outcome.exit_code, lines)});
    } else if (stage_.verdict) {
      blocks |= AddBlocking(ReadOwn());
    }
    if (blocks) TakeVerdict(core::Conclude(results_), outcome);
  }

  // Stores the outputs of an attempt that ended with `outcome`.
  core::Outcome Keep(core::Outcome outcome) {
    const bool succeeded = outcome.state == core::AttemptState::kSucceeded;
    if (absl::Status written = tables_.WriteQuarantine(); !written.ok()) {
      const bool is_theirs = absl::IsInvalidArgument(written) || absl::IsNotFound(written);
      if (succeeded) return Fail(std::move(outcome), is_theirs ? Reason::kOutputMissing : Reason::kInfra, written);
      attempt_.Say(Message(written));
    }
    limit_.End();   // Outputs are hashed for as long as it takes.
    absl::StatusOr<std::vector<core::ProducedOutput>> outputs = workspace_.Capture(succeeded);
    limit_.Begin();
    if (!outputs.ok()) {
      const bool is_theirs = absl::IsInvalidArgument(outputs.status());
      // The first reason counts: it is what has to be mended first.
      if (!succeeded) {
        AttachPage(outcome);
        return outcome;
      }
      return Fail(outcome, is_theirs ? Reason::kOutputMissing : Reason::kInfra, outputs.status());
    }
    outcome.outputs = *std::move(outputs);
    if (succeeded && core::IsGate(stage_.kind)) {
      absl::Status attached = tables_.AttachProfiles(outcome.outputs);
      if (!attached.ok()) return Fail(outcome, Reason::kInfra, attached);
    }
    AttachPage(outcome);
    return outcome;
  }

 private:
  void AttachPage(core::Outcome& outcome) {
    if (!outcome.verdict) return;
    core::GateEvidence evidence;
    evidence.tables = tables_.Shown(core::Blocks(outcome.verdict->outcome));
    evidence.slices = core::SlicesOf(stage_.rules, metrics_);
    core::ShowPredictions(metrics_, evidence);
    AttachGatePage(attempt_, stage_, std::move(evidence), outcome);
  }

  absl::Status ReadMetrics() {
    for (const core::MetricsSpec& spec : stage_.metrics) {
      CD4ML_RETURN_IF_ERROR(AddMetricsFile(workspace_.dir(), spec, metrics_));
    }
    if (Exists(workspace_.metrics_file())) {
      CD4ML_ASSIGN_OR_RETURN(const std::string text, ReadText(workspace_.metrics_file(), 64 << 20));
      CD4ML_RETURN_IF_ERROR(Annotate(AddJsonMetrics(text, metrics_), "the file $CD4ML_METRICS"));
    }
    if (!stage_.predictions) return absl::OkStatus();
    const std::string& file = stage_.predictions->file;
    if (!IsInside(file) || !Exists(workspace_.dir() + "/" + file)) {
      return absl::NotFoundError("predictions file " + file + " was not written");
    }
    core::PredictionsSpec predictions = *stage_.predictions;
    predictions.file = workspace_.dir() + "/" + file;
    if (stage_.asks_champion() && attempt_.task().champion_service) {
      champion_ = AskChampion(attempt_, stage_, predictions.file, limit_.token());
      if (champion_->ok() && (*champion_)->incomparable.empty()) {
        predictions.file = (*champion_)->file;
        predictions.champion = kChampionAnswer;
        if (!stage_.champion_score.empty()) predictions.champion_score = kChampionScore;
      }
    }
    CD4ML_ASSIGN_OR_RETURN(core::MetricSet computed, tables_.Metrics(predictions));
    // What cd4ml has computed itself counts more than what the stage says under the same name.
    computed.overall.merge(metrics_.overall);
    computed.slices.merge(metrics_.slices);
    metrics_ = std::move(computed);
    return absl::OkStatus();
  }

  // Adds what metrics may be compared with.
  void NoteBaselines() {
    const Task& task = attempt_.task();
    metrics_.goals = stage_.goals;
    if (task.champion) metrics_.champion = task.champion_deployment;
    for (const auto& [versus, baseline] : task.baselines) {
      metrics_.baselines[versus] = {baseline.identity, baseline.metrics};
    }
  }

  // Adds what a command has found, where it could be read and blocks.
  bool AddBlocking(absl::StatusOr<std::vector<core::RuleResult>> own) {
    if (!own.ok() || !core::Blocks(core::Conclude(*own).outcome)) return false;
    core::AddOwnResults(*std::move(own), results_);
    return true;
  }

  absl::Status Judge(core::Outcome& outcome) {
    for (const core::Rule& rule : stage_.rules) {
      if (!tables_.IsJudgedBefore(rule)) results_.push_back(JudgeOne(rule));
    }
    if (Exists(workspace_.verdict_file())) {
      absl::StatusOr<std::vector<core::RuleResult>> own = ReadVerdictVariable(workspace_.verdict_file());
      if (!own.ok()) own = {core::UnreadableVerdict(core::VerdictSpec::Kind::kFile, "$CD4ML_VERDICT", Message(own.status()))};
      core::AddOwnResults(*std::move(own), results_);
    }
    if (stage_.verdict) {
      absl::StatusOr<std::vector<core::RuleResult>> own = ReadOwn();
      if (!own.ok()) own = {core::UnreadableVerdict(stage_.verdict->kind, stage_.verdict->file, Message(own.status()))};
      core::AddOwnResults(*std::move(own), results_);
    }
    core::Verdict verdict = core::Conclude(results_);
    verdict.segments = tables_.Segments();
    TakeVerdict(std::move(verdict), outcome);
    return absl::OkStatus();
  }

  // Returns what the stage's command has found, as `verdict` says; of exit codes, 0.
  absl::StatusOr<std::vector<core::RuleResult>> ReadOwn() const {
    if (stage_.verdict->kind == core::VerdictSpec::Kind::kExitCode) return {{core::JudgeExitCode(0, {})}};
    return ReadVerdictFile(workspace_.dir(), *stage_.verdict, attempt_.tools().ports.parse_xml);
  }

  void TakeVerdict(core::Verdict verdict, core::Outcome& outcome) {
    SayVerdict(attempt_, verdict);
    core::Outcome judged = OutcomeOf(attempt_, std::move(verdict));
    outcome.state = judged.state;
    outcome.reason = judged.reason;
    outcome.message = judged.message;
    outcome.verdict = std::move(judged.verdict);
  }

  // Returns why a rule cannot be judged that compares with a champion who was asked and has not answered.
  std::optional<core::RuleResult> WithoutChampion(const core::Rule& rule) const {
    const auto* metric = std::get_if<core::MetricRule>(&rule.body);
    if (metric == nullptr || metric->versus != "champion" || !champion_) return std::nullopt;
    if (champion_->ok() && (*champion_)->incomparable.empty()) return std::nullopt;
    core::RuleResult result = core::CannotJudge(
        rule, metric->metric, champion_->ok() ? (*champion_)->incomparable : Message(champion_->status()));
    if (champion_->ok()) result.observed = "incomparable";
    result.baseline = attempt_.task().champion_deployment;
    return result;
  }

  core::RuleResult JudgeOne(const core::Rule& rule) {
    if (std::optional<core::RuleResult> without = WithoutChampion(rule)) return *std::move(without);
    if (Tables::Judges(rule)) return tables_.Judge(rule);
    if (!measured_.ok()) return core::CannotJudge(rule, std::string(core::RuleForm(rule.body)), Message(measured_));
    return JudgeModelRule(rule, metrics_, stage_.kind);
  }

  Attempt& attempt_;
  Workspace& workspace_;
  const core::StageSpec& stage_;
  TimeLimit limit_;
  Tables tables_;
  absl::Status measured_;   // Whether the metrics could be read.
  core::MetricSet metrics_;
  std::optional<absl::StatusOr<ChampionAnswers>> champion_;   // Where it was asked.
  std::vector<core::RuleResult> results_;
};

// Returns the outcome of a command that has ended: success, or the reason why not in one sentence.
core::Outcome OutcomeOf(const Attempt& attempt, const core::StageSpec& spec,
                        const ProcessStatus& status) {
  core::Outcome outcome;
  outcome.exit_code = status.exit_code;
  outcome.cpu_seconds = status.cpu_seconds;
  outcome.max_rss_bytes = status.max_rss_bytes;
  const std::string stage = "stage \"" + attempt.task().attempt.stage + "\" ";
  const std::string& dir = attempt.paths().dir;
  const AgentConfig& config = attempt.tools().config;
  const auto fail = [&](Reason reason, const std::string& message) {
    return Fail(std::move(outcome), reason, absl::UnknownError(message));
  };
  if (status.lost)
    return fail(Reason::kInfra, stage + "was lost: its keeper or its machine was restarted");
  // Not by us: a cancelled attempt does not come here.
  if (status.killed) return fail(Reason::kInfra, stage + "was ended because its keeper was");
  if (status.timed_out) {
    return fail(Reason::kTimeout, stage + "took longer than " +
                                      FormatDuration(attempt.task().timeout) + " and was stopped" +
                                      LastWords(attempt.paths().log()));
  }
  if (status.silent) {
    return fail(Reason::kSilenceTimeout, stage + "wrote nothing for " +
                                             FormatDuration(spec.silence_timeout) +
                                             " and was stopped" + LastWords(attempt.paths().log()));
  }
  if (status.exit_code == 0) {
    outcome.state = core::AttemptState::kSucceeded;
    return outcome;
  }
  if (const int64_t free = FreeBytes(dir); free < config.disk_reserve) {
    return fail(Reason::kInfra, "the disk of agent \"" + config.name + "\" is full: " +
                                    FormatSize(free) + " are free in " + dir + "; " + stage +
                                    "exited with " + std::to_string(status.exit_code));
  }
  if (!status.message.empty())
    return fail(Reason::kExitCode, stage + "could not be started: " + status.message);
  if (status.signal != 0) {
    return fail(Reason::kExitCode, stage + "was ended by signal " + std::to_string(status.signal) +
                                       LastWords(attempt.paths().log()));
  }
  return fail(Reason::kExitCode,
              stage + "exited with " + std::to_string(status.exit_code) + LastWords(attempt.paths().log()));
}

ProcessSpec SpecOf(const Attempt& attempt, const core::StageSpec& stage,
                   const core::CommandSpec& command, std::string_view role, const std::string& dir,
                   const std::map<std::string, std::string>& env) {
  ProcessSpec spec;
  spec.id = attempt.ProcessId(role);
  spec.argv = Argv(command);
  spec.env = env;
  spec.dir = dir;
  spec.log = attempt.paths().log();
  spec.timeout = attempt.task().timeout;
  spec.silence = stage.silence_timeout;
  spec.grace = stage.grace;
  Enter(attempt.runtime(), attempt.paths().room(), spec);
  return spec;
}

// Returns whether a process left of itself, so that nothing of it is left.
bool EndedByItself(const ProcessStatus& status) {
  return !status.lost && !status.killed && !status.timed_out && !status.silent;
}

}  // namespace

core::Outcome PerformCommand(Attempt& attempt, const core::PipelineSpec& pipeline,
                             const core::StageSpec& stage) {
  Workspace workspace(attempt, pipeline, stage);
  const bool is_known = attempt.HasStarted(attempt.ProcessId());
  if (absl::Status ready = is_known ? workspace.TakeUp() : workspace.Build(); !ready.ok()) {
    return Failed(Reason::kInfra, ready);
  }
  Harvest harvest(attempt, workspace, pipeline, stage);
  if (absl::Status ready = harvest.Prepare(); !ready.ok()) return Failed(Reason::kInfra, ready);
  const bool may_run = harvest.MayRun();
  if (std::optional<core::Outcome> stopped = harvest.Stopped()) return *std::move(stopped);
  if (!may_run) {
    attempt.Began();
    return harvest.Rejected();
  }
  core::Outcome outcome;
  outcome.state = core::AttemptState::kSucceeded;
  if (stage.run.empty()) {
    attempt.Began();
  } else {
    if (absl::Status there = EnterRuntime(attempt, pipeline, stage, is_known); !there.ok()) {
      return FailedWithoutRuntime(there);
    }
    if (stage.verdict && !is_known) {
      if (absl::Status cleared = ClearVerdictFile(workspace.dir(), *stage.verdict); !cleared.ok())
        return Failed(Reason::kInfra, cleared);
    }
    // What an earlier agent has begun was not watched from its beginning.
    std::optional<UndeclaredReads> reads;
    if (!is_known) reads.emplace(attempt, workspace, pipeline, stage);
    outcome = RunCommand(attempt, stage, stage.run, "", workspace.dir(), workspace.Env());
    if (attempt.halted()) return outcome;
    if (reads) reads->Keep();
  }
  if (absl::Status unchanged = workspace.CheckInputs(); !unchanged.ok()) {
    return Fail(std::move(outcome), Reason::kExitCode, unchanged);
  }
  if (outcome.state != core::AttemptState::kSucceeded) {
    harvest.JudgeFailure(outcome);
    return harvest.Keep(std::move(outcome));
  }
  return harvest.Collect(std::move(outcome));
}

core::Outcome RunCommand(Attempt& attempt, const core::StageSpec& stage,
                         const core::CommandSpec& command, std::string_view role,
                         const std::string& dir, const std::map<std::string, std::string>& env) {
  ProcessSpec spec = SpecOf(attempt, stage, command, role, dir, env);
  Steps& steps = attempt.tools().steps;
  attempt.Lap(steps.prepare);
  if (absl::Status started = attempt.Start(spec); !started.ok()) {
    return Failed(attempt.cancelled() ? Reason::kCancelled : Reason::kInfra, started);
  }
  attempt.Lap(steps.spawn);
  attempt.Began();
  const std::optional<ProcessStatus> ended = attempt.tools().exits.Wait(spec.id, attempt.quit());
  attempt.Lap(steps.process);
  if (ended && !EndedByItself(*ended)) attempt.tools().runtimes.Clear(attempt.runtime(), spec.id);
  if (ended && attempt.cancelled())
    return Failed(Reason::kCancelled, "cancelled while it was running");
  return ended ? OutcomeOf(attempt, stage, *ended) : core::Outcome();
}

core::Outcome RunRegardless(Attempt& attempt, const core::StageSpec& stage,
                            const core::CommandSpec& command, std::string_view role,
                            const std::string& dir,
                            const std::map<std::string, std::string>& env) {
  ProcessSpec spec = SpecOf(attempt, stage, command, role, dir, env);
  if (absl::Status started = attempt.StartRegardless(spec); !started.ok())
    return Failed(Reason::kInfra, started);
  const std::optional<ProcessStatus> ended = attempt.tools().exits.Wait(spec.id, attempt.quit());
  return ended ? OutcomeOf(attempt, stage, *ended) : core::Outcome();
}

core::Outcome OutcomeOf(const Attempt& attempt, core::Verdict verdict) {
  verdict = core::ApplyOverrides(std::move(verdict), attempt.task().overrides);
  for (const core::Override& one : verdict.overrides) {
    attempt.Say("rule " + one.rule + " is overridden by " + one.by + " until " + FormatTime(one.expires) + ": " + one.reason);
  }
  if (!verdict.overrides.empty()) attempt.Say("verdict with overrides: " + std::string(core::ToText(verdict.outcome)));
  core::Outcome outcome;
  outcome.state =
      core::Blocks(verdict.outcome) ? core::AttemptState::kFailed : core::AttemptState::kSucceeded;
  if (verdict.outcome == core::VerdictOutcome::kFail) outcome.reason = Reason::kGateRejected;
  if (verdict.outcome == core::VerdictOutcome::kError) outcome.reason = Reason::kGateError;
  outcome.message = core::BlockingReason(verdict);
  outcome.verdict = std::move(verdict);
  return outcome;
}

void SayVerdict(const Attempt& attempt, const core::Verdict& verdict) {
  for (const core::RuleResult& rule : verdict.rules) {
    const bool judged = rule.outcome != core::VerdictOutcome::kError;
    attempt.Say("rule " + rule.name + ": " + std::string(core::ToText(rule.outcome)) +
                (judged ? ", " + rule.observed + ", must be " + rule.bound : "") +
                (rule.message.empty() ? "" : "; " + rule.message));
  }
  attempt.Say("verdict: " + std::string(core::ToText(verdict.outcome)));
}

}  // namespace cd4ml::agent
