// Parameters are text here; the daemon knows their types.
#include "cli/start_request.h"

#include "cd4ml/base/status.h"
#include "cd4ml/ports/answer.h"
#include "cli/progress.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

void PrintStarted(const Invocation& invocation, const StartedRun& run, bool is_followed) {
  if (invocation.is_json()) return invocation.PrintJson(invocation.ports.json.run(run));
  if (invocation.quiet || invocation.format == OutputFormat::kName)
    return invocation.out.Line(SafeLine(run.id));
  std::vector<std::string> carried;
  for (const core::StageRun& stage : run.stages) {
    if (stage.carried) carried.push_back(stage.plan.name);
  }
  const bool is_queued = run.state == core::RunState::kQueued;
  const std::string started = run.already ? " Already started " : is_queued ? " Queued " : " Started ";
  invocation.out.Line(
      invocation.out.Paint("✔", Style::kGood) +
      SafeLine(started + run.id + " at " + CommitText(run.pins.commit, run.pins.commit_subject) + " in lane " + run.lane +
               (run.already ? ", by an earlier request with this key; it is " + std::string(core::Word(run)) : "")));
  if (!run.retry_of.empty()) {
    const std::string text = "retry of " + run.retry_of + (carried.empty() ? "" : ", takes over " + Join(carried, ", "));
    for (const std::string& line : Wrap(SafeLine(text), invocation.out.width() - 2)) invocation.out.Line("  " + line);
  }
  if (!is_followed) invocation.Hints(NextSteps(run));
}

}  // namespace

std::vector<Option> StartOptions() {
  return {{"--lane", "NAME", "lane of the run; without it: production"},
          {"--ref", "REF", "branch, tag or commit; without it: the registered branch"},
          {"--mixed", "", "also with revisions that do not belong together; the run is marked"},
          ParamOption(),
          {"--no-cache", "", "read all data and perform every stage, whatever is known of before"}};
}

Option ParamOption() {
  return {"-p,--param", "K=V", "override a parameter, like train.max_depth=8", /*repeats=*/true};
}

std::vector<Option> NewRunOptions() {
  return {{"--priority", "N", "higher first, -100 to 100; without it: as the pipeline says"},
          {"--reason", "TEXT", "why; recorded with the run"},
          {"--key,--idempotency-key", "KEY", "the same key starts the same run, once"},
          {"--wait", "", "return when the run has ended, with its exit code"},
          {"--watch", "", "the same, and show it as it goes on"}};
}

absl::StatusOr<std::map<std::string, std::string>> ReadParams(const Invocation& invocation) {
  std::map<std::string, std::string> params;
  for (const std::string& pair : invocation.arguments.Many("param")) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return absl::InvalidArgumentError("--param wants NAME=VALUE, like train.max_depth=8, not \"" +
                                        pair + "\"");
    }
    if (!params.emplace(pair.substr(0, equals), pair.substr(equals + 1)).second) {
      return absl::InvalidArgumentError("parameter \"" + pair.substr(0, equals) +
                                        "\" is given twice");
    }
  }
  return params;
}

absl::StatusOr<std::optional<int>> ReadPriority(const Invocation& invocation) {
  if (!invocation.arguments.Has("priority")) return std::nullopt;
  CD4ML_ASSIGN_OR_RETURN(const int priority, invocation.Number("priority", 0, -100, 100));
  return priority;
}

absl::StatusOr<StartRequest> ReadStartRequest(const Invocation& invocation,
                                              const std::string& pipeline) {
  StartRequest request;
  request.pipeline = pipeline;
  request.lane = invocation.arguments.One("lane");
  request.ref = invocation.arguments.One("ref");
  request.mixed = invocation.arguments.Has("mixed");
  request.by = invocation.ports.user;
  request.no_reuse = invocation.arguments.Has("no-cache");
  CD4ML_ASSIGN_OR_RETURN(request.params, ReadParams(invocation));
  return request;
}

int FailStart(const Invocation& invocation, const absl::Status& status, const Hint& if_not_found,
              const std::string& command, const std::string& key) {
  const int code = invocation.Fail(status, IfNotFound(status, if_not_found));
  if ((absl::IsUnavailable(status) && !IsAnswer(status)) || absl::IsCancelled(status) ||
      absl::IsDeadlineExceeded(status)) {
    // The request may have arrived: under the same key it starts no second run.
    invocation.Hints({{"Repeat safely", command + " --idempotency-key " + key}});
  }
  return code;
}

int FinishStart(Invocation& invocation, const StartedRun& run) {
  const bool watches = invocation.arguments.Has("watch");
  const bool follows = watches || invocation.arguments.Has("wait");
  // Of a run that is followed, the JSON at the end is the answer.
  if (!follows || !invocation.is_json()) PrintStarted(invocation, run, follows);
  if (!follows) return kExitOk;
  const Terminal& screen = invocation.is_json() ? invocation.err : invocation.out;
  const auto observer = watches ? MakeProgress(invocation, screen) : MakeSilence();
  return FollowToEnd(invocation, run.id, *observer, screen);
}

}  // namespace cd4ml::cli
