// `cd4ml run retry`: does part of an ended run again, as a new run.
#include "cd4ml/base/status.h"
#include "cli/commands/commands.h"
#include "cli/start_request.h"

namespace cd4ml::cli {
namespace {

// Reads which stages are meant. INVALID_ARGUMENT: more than one answer.
absl::Status ReadScope(const Invocation& invocation, RetryRequest& request) {
  int scopes = 0;
  for (const auto& [flag, scope] : {std::pair("failed", core::RetryScope::kFailed),
                                    std::pair("from", core::RetryScope::kFrom),
                                    std::pair("only", core::RetryScope::kOnly)}) {
    if (!invocation.arguments.Has(flag)) continue;
    ++scopes;
    request.scope = scope;
    if (scope != core::RetryScope::kFailed) request.stage = invocation.arguments.One(flag);
  }
  if (scopes <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError("--failed, --from and --only exclude each other");
}

absl::StatusOr<RetryRequest> ReadRequest(const Invocation& invocation) {
  RetryRequest request;
  request.run = invocation.arguments.One("RUN");
  CD4ML_RETURN_IF_ERROR(ReadScope(invocation, request));
  CD4ML_ASSIGN_OR_RETURN(request.params, ReadParams(invocation));
  CD4ML_ASSIGN_OR_RETURN(request.priority, ReadPriority(invocation));
  request.reason = invocation.arguments.One("reason");
  request.by = invocation.ports.user;
  request.key = invocation.arguments.One("idempotency-key");
  if (request.key.empty()) request.key = invocation.ports.new_key();
  return request;
}

std::string Repeated(const RetryRequest& request) {
  std::string command = "cd4ml run retry " + request.run;
  if (request.scope == core::RetryScope::kFrom) command += " --from " + request.stage;
  if (request.scope == core::RetryScope::kOnly) command += " --only " + request.stage;
  return command;
}

int Perform(Invocation& invocation) {
  const absl::StatusOr<RetryRequest> request = ReadRequest(invocation);
  if (!request.ok()) return invocation.Fail(request.status());
  const auto run = invocation.Await<StartedRun>(
      [&](Done<StartedRun> done) { invocation.Control().RetryRun(*request, std::move(done)); });
  if (!run.ok()) {
    return FailStart(invocation, run.status(), {"Runs", "cd4ml run list"}, Repeated(*request),
                     request->key);
  }
  return FinishStart(invocation, *run);
}

}  // namespace

Command RunRetry() {
  std::vector<Option> options = {
      {"--failed", "", "all that did not pass; this is meant without a flag too"},
      {"--from", "STAGE", "this stage, all after it, and all that did not pass"},
      {"--only", "STAGE", "this stage alone, with the results that it needs; the others are left out"},
      ParamOption()};
  for (Option& option : NewRunOptions()) options.push_back(std::move(option));
  return {.path = "run retry",
          .group = "Runs",
          .summary = "do part of a run again, as a new run",
          .examples = {"run retry used-car-price/2",
                       "run retry used-car-price/2 --from train -p train.max_depth=6 --watch",
                       "run retry used-car-price/latest --only package"},
          .operands = {{"RUN", "a run that has ended, like used-car-price/2 (cd4ml help refs)"}},
          .options = std::move(options),
          .perform = Perform,
          .details = "The new run has the commit, the data and the parameters of the old one, "
                     "which stays as it is. Results that it does not make again it takes over.",
          .alias = "retry"};
}

}  // namespace cd4ml::cli
