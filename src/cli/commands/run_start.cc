// `cd4ml run start`: starts a run, and with --watch or --wait follows it to its end.
#include "cli/commands/commands.h"
#include "cli/start_request.h"

namespace cd4ml::cli {
namespace {

int Perform(Invocation& invocation) {
  absl::StatusOr<StartRequest> request =
      ReadStartRequest(invocation, invocation.arguments.One("PIPELINE"));
  if (!request.ok()) return invocation.Fail(request.status());
  const absl::StatusOr<std::optional<int>> priority = ReadPriority(invocation);
  if (!priority.ok()) return invocation.Fail(priority.status());
  request->priority = *priority;
  request->reason = invocation.arguments.One("reason");
  request->key = invocation.arguments.One("idempotency-key");
  if (request->key.empty()) request->key = invocation.ports.new_key();
  const auto run = invocation.Await<StartedRun>(
      [&](Done<StartedRun> done) { invocation.Control().StartRun(*request, std::move(done)); });
  if (!run.ok()) {
    return FailStart(invocation, run.status(), {"What can be started", "cd4ml pipeline list"},
                     "cd4ml run start " + request->pipeline, request->key);
  }
  return FinishStart(invocation, *run);
}

}  // namespace

Command RunStart() {
  std::vector<Option> options = StartOptions();
  for (Option& option : NewRunOptions()) options.push_back(std::move(option));
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
