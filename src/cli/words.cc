// Translates states for people. Whoever adds a state is led here by the compiler.
#include "cli/words.h"

#include <algorithm>
#include <cstdio>

#include "cd4ml/ports/answer.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

constexpr size_t kMetricsMax = 3;

StateWord FailedWord(core::Reason reason) {
  if (reason == core::Reason::kGateRejected || reason == core::Reason::kGateError) {
    return {"✗", "rejected", Style::kBad};
  }
  if (core::IsInfrastructure(reason)) return {"!", "infra error", Style::kWarn};
  return {"✗", "failed", Style::kBad};
}

Duration AttemptTime(const core::Attempt& attempt, UtcTime now) {
  const UtcTime begin = attempt.started.is_set() ? attempt.started : attempt.granted;
  const UtcTime end = attempt.ended.is_set() ? attempt.ended : now;
  return std::max(Duration(0), end - begin);
}

std::string UnmetNeeds(const core::Run& run, const core::StageRun& stage) {
  std::vector<std::string> needs;
  for (const std::string& need : stage.plan.needs) {
    const core::StageRun* needed = run.FindStage(need);
    if (needed != nullptr && !core::IsTerminal(needed->state)) needs.push_back(need);
  }
  return needs.empty() ? "" : "needs " + Join(needs, ", ");
}

std::string RulesText(const core::Verdict& verdict) {
  const auto count = [&](core::VerdictOutcome outcome) {
    return std::count_if(verdict.rules.begin(), verdict.rules.end(),
                         [&](const core::RuleResult& rule) { return rule.outcome == outcome; });
  };
  std::string text = Count(count(core::VerdictOutcome::kPass), "rule", "rules") + " passed";
  const int64_t warnings = count(core::VerdictOutcome::kWarn);
  return warnings == 0 ? text : text + ", " + Count(warnings, "warning", "warnings");
}

std::string ResultText(const core::Outcome& outcome) {
  if (outcome.verdict) return RulesText(*outcome.verdict);
  if (outcome.service && !outcome.service->endpoint.empty()) return outcome.service->endpoint;
  return MetricsText(outcome.metrics, kMetricsMax);
}

// ", overridden: model-gate.mae"; empty when nobody overrode anything that mattered.
std::string OverriddenText(const core::Run& run) {
  std::string text;
  for (const core::StageRun& stage : run.stages) {
    const core::Outcome* result = stage.result();
    if (result == nullptr || !result->verdict) continue;
    for (const core::Override& one : result->verdict->overrides) {
      text += (text.empty() ? ", overridden: " : ", ") + stage.plan.name + "." + one.rule;
    }
  }
  return text;
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kInvalidArgument:
      return DiagnosticsOf(status).empty() ? kExitUsage : kExitInvalidPipeline;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitAuth;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return kExitConflict;
    case absl::StatusCode::kUnavailable:
      return IsAnswer(status) ? kExitFailed : kExitUnreachable;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimedOut;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

ExitCode ExitCodeOf(const core::Run& run) {
  if (run.state == core::RunState::kSucceeded) return kExitOk;
  if (run.state == core::RunState::kCancelled) return kExitCancelled;
  const std::string_view word = core::Word(run);
  if (word == "gate rejected") return kExitGateRejected;
  return core::IsInfrastructure(run.reason) ? kExitInfrastructure : kExitStageFailed;
}

StateWord WordOf(std::string_view run_word) {
  const std::string word(run_word);
  if (word == "passed") return {"✔", word, Style::kGood};
  if (word == "running" || word == "cancelling") return {"●", word, Style::kBusy};
  if (word == "queued") return {"○", word, Style::kDim};
  if (word == "cancelled" || word == "superseded") return {"–", word, Style::kDim};
  if (word == "infra error") return {"!", word, Style::kWarn};
  return {"✗", word, Style::kBad};
}

StateWord WordOf(const core::StageRun& stage) {
  switch (stage.state) {
    case core::StageState::kBlocked:
    case core::StageState::kReady:
      return {"○", "waiting", Style::kDim};
    case core::StageState::kLeased:
      return {"●", "starting", Style::kBusy};
    case core::StageState::kRunning:
      return {"●", "running", Style::kBusy};
    case core::StageState::kSucceeded:
      return {"✔", stage.plan.kind == core::StageKind::kMonitor ? "armed" : "passed", Style::kGood};
    case core::StageState::kFailed:
      return FailedWord(stage.reason);
    case core::StageState::kCancelled:
      return {"–", "cancelled", Style::kDim};
    case core::StageState::kSkipped:
      return {"–", "skipped", Style::kDim};
  }
  return {"?", "unknown", Style::kPlain};
}

StateWord WordOf(core::VerdictOutcome outcome) {
  switch (outcome) {
    case core::VerdictOutcome::kPass:
      return {"✔", "passed", Style::kGood};
    case core::VerdictOutcome::kWarn:
      return {"!", "warning", Style::kWarn};
    case core::VerdictOutcome::kFail:
      return {"✗", "rejected", Style::kBad};
    case core::VerdictOutcome::kError:
      return {"✗", "not judged", Style::kBad};
  }
  return {"?", "unknown", Style::kPlain};
}

std::string StageDetail(const core::Run& run, const core::StageRun& stage,
                        const std::string& waiting) {
  const core::Attempt* latest = stage.latest();
  const std::string again =
      latest != nullptr && latest->number > 1 ? ", attempt " + std::to_string(latest->number) : "";
  switch (stage.state) {
    case core::StageState::kBlocked:
      return UnmetNeeds(run, stage);
    case core::StageState::kReady:
      return waiting;
    case core::StageState::kLeased:
    case core::StageState::kRunning:
      if (stage.stop) return latest->agent + again + ", told to end: " + stage.stop->message;
      return latest == nullptr ? "" : latest->agent + again;
    case core::StageState::kSucceeded:
      if (stage.carried && !stage.carried->cell.empty()) return "takes over " + stage.carried->cell + ": " + stage.carried->why;
      if (stage.carried) return (stage.carried->reused ? "reused from " : "taken over from ") + stage.carried->from.run;
      return stage.result() == nullptr ? stage.message : ResultText(*stage.result());
    case core::StageState::kFailed:
    case core::StageState::kCancelled:
    case core::StageState::kSkipped:
      return stage.message;
  }
  return "";
}

std::string AttemptText(const core::Attempt& attempt) {
  std::string text = "attempt " + std::to_string(attempt.number) + " " +
                     std::string(core::ToText(attempt.state)) + " on " + attempt.agent +
                     " after " + FormatDuration(AttemptTime(attempt, attempt.ended));
  for (const std::string& cause :
       {std::string(core::ToText(attempt.outcome.reason)), attempt.outcome.message}) {
    if (!cause.empty() && cause != "none") text += ": " + cause;
  }
  return text;
}

Duration StageTime(const core::StageRun& stage, UtcTime now) {
  return stage.latest() == nullptr ? Duration(0) : AttemptTime(*stage.latest(), now);
}

const core::StageRun* FailedStage(const core::Run& run) {
  const auto order = [&run](const core::StageRun& stage) {
    const core::StageRun* matrix = run.FindStage(stage.plan.cell_of);
    return std::pair(matrix != nullptr && matrix->state == core::StageState::kSucceeded, stage.ended);
  };
  // Several may have failed; the one that the run's reason is taken from failed first. It is no cell that another one has
  // made up for.
  const core::StageRun* first = nullptr;
  for (const core::StageRun& stage : run.stages) {
    const bool has_failed = stage.state == core::StageState::kFailed;
    if (has_failed && (first == nullptr || order(stage) < order(*first))) first = &stage;
  }
  return first;
}

std::string WhyNotPassed(const core::Run& run) {
  // It also says what may be left of a run whose agent could not be asked.
  if (run.state == core::RunState::kCancelled) return run.message.empty() ? run.cancel_reason : run.message;
  const core::StageRun* stage = FailedStage(run);
  if (stage == nullptr) return run.message;
  const core::Outcome* result = stage->result();
  std::string why;
  if (result != nullptr && result->verdict) why = core::BlockingReason(*result->verdict);
  if (why.empty())
    why = stage->message.empty() ? std::string(core::ToText(stage->reason)) : stage->message;
  return stage->plan.name + ": " + why;
}

std::string VerdictLine(const core::Run& run) {
  std::string word(core::Word(run));
  for (char& c : word) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return run.id + " " + word + " after " + FormatDuration(run.ended - run.created) + " (exit " +
         std::to_string(ExitCodeOf(run)) + ")" + OverriddenText(run);
}

std::string MetricsText(const std::map<std::string, double>& metrics, size_t max) {
  std::vector<std::string> texts;
  for (const bool overall : {true, false}) {
    for (const auto& [name, value] : metrics) {
      if ((name.find('.') == std::string::npos) != overall || texts.size() >= max) continue;
      char number[32];
      std::snprintf(number, sizeof number, "%.6g", value);
      texts.push_back(name + " " + number);
    }
  }
  return Join(texts, ", ");
}

std::string AgeText(UtcTime then, UtcTime now) {
  if (!then.is_set()) return "-";
  const int64_t seconds = std::max<int64_t>(0, (now - then).count() / 1000);
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return std::to_string(seconds / 60) + "m";
  if (seconds < 86'400) return std::to_string(seconds / 3600) + "h";
  return std::to_string(seconds / 86'400) + "d";
}

std::string MinuteText(UtcTime time) {
  return time.is_set() ? FormatTime(time).replace(10, 1, " ").substr(0, 16) : "";
}

bool HasBegun(const core::Run& run) {
  if (run.state == core::RunState::kQueued) return false;
  return run.state != core::RunState::kCancelled ||
         std::any_of(run.stages.begin(), run.stages.end(), [](const core::StageRun& stage) {
           return stage.first_ready.is_set() || !stage.attempts.empty();
         });
}

std::string BriefCommit(const std::string& commit) { return commit.substr(0, 7); }

std::string CommitText(const std::string& commit, const std::string& subject) {
  return BriefCommit(commit) + (subject.empty() ? "" : " \"" + subject + "\"");
}

std::string VersionText(const core::Version& version) {
  return version.name.empty() ? "" : version.name + "@" + version.digest.substr(0, 12);
}

std::string DataText(const core::Version& version) {
  return "sha256:" + version.digest.substr(0, 12) +
         (version.summary.empty() ? "" : " (" + version.summary + ")");
}

}  // namespace cd4ml::cli
