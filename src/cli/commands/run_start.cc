// `cd4ml run start`: starts a run, and with --watch or --wait follows it to its end.
#include "cli/commands/commands.h"
#include "cli/progress.h"
#include "cli/start_request.h"
#include "cli/text.h"

namespace cd4ml::cli {
namespace {

int FailStart(const Invocation& invocation, const absl::Status& status,
              const StartRequest& request) {
  const int code =
      invocation.Fail(status, IfNotFound(status, {"What can be started", "cd4ml pipeline list"}));
  if (absl::IsUnavailable(status) || absl::IsCancelled(status) ||
      absl::IsDeadlineExceeded(status)) {
    // The request may have arrived: under the same key it starts no second run.
    invocation.Hints({{"Repeat safely", "cd4ml run start " + request.pipeline +
                                            " --idempotency-key " + request.key}});
  }
  return code;
}

void PrintStarted(const Invocation& invocation, const core::Run& run, bool is_followed) {
  if (invocation.is_json()) return invocation.PrintJson(invocation.ports.json.run(run));
  if (invocation.quiet || invocation.format == OutputFormat::kName)
    return invocation.out.Line(SafeLine(run.id));
  invocation.out.Line(invocation.out.Paint("✔", Style::kGood) + " Started " +
                      SafeLine(run.id + " at " +
                               CommitText(run.pins.commit, run.pins.commit_subject) + " in lane " +
                               run.lane));
  if (!is_followed) invocation.Hints(NextSteps(run));
}

int Perform(Invocation& invocation) {
  absl::StatusOr<StartRequest> request =
      ReadStartRequest(invocation, invocation.arguments.One("PIPELINE"));
  if (!request.ok()) return invocation.Fail(request.status());
  request->reason = invocation.arguments.One("reason");
  request->key = invocation.arguments.One("idempotency-key");
  if (request->key.empty()) request->key = invocation.ports.new_key();
  const auto run = invocation.Await<core::Run>(
      [&](Done<core::Run> done) { invocation.Control().StartRun(*request, std::move(done)); });
  if (!run.ok()) return FailStart(invocation, run.status(), *request);
  const bool watches = invocation.arguments.Has("watch");
  const bool follows = watches || invocation.arguments.Has("wait");
  // Of a run that is followed, the JSON at the end is the answer.
  if (!follows || !invocation.is_json()) PrintStarted(invocation, *run, follows);
  if (!follows) return kExitOk;
  const Terminal& screen = invocation.is_json() ? invocation.err : invocation.out;
  const auto observer = watches ? MakeProgress(invocation, screen) : MakeSilence();
  return FollowToEnd(invocation, run->id, *observer, screen);
}

}  // namespace

Command RunStart() {
  std::vector<Option> options = StartOptions();
  options.push_back({"--reason", "TEXT", "why; recorded with the run"});
  options.push_back({"--key,--idempotency-key", "KEY", "the same key starts the same run, once"});
  options.push_back({"--wait", "", "return when the run has ended, with its exit code"});
  options.push_back({"--watch", "", "the same, and show it as it goes on"});
  return {
      .path = "run start",
      .group = "Runs",
      .summary = "start a run of a pipeline",
      .examples = {"run start used-car-price --watch",
                   "run start used-car-price -p train.max_depth=8 --reason \"deeper trees\"",
                   "run start used-car-price --ref main --wait --timeout 30m -o json"},
      .operands = {{"PIPELINE", "name of a registered pipeline"}},
      .options = std::move(options),
      .perform = Perform,
      .details =
          "With --wait and --watch the exit code says how the run ended: cd4ml help exit-codes."};
}

}  // namespace cd4ml::cli
