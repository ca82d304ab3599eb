// What a retry takes over: results that count, never attempts.
#include "cd4ml/core/retry.h"

#include <algorithm>

#include "cd4ml/base/text.h"

namespace cd4ml::core {
namespace {

// Returns `first` and all stages that need it, directly or not. `stages` are in topological order.
std::set<std::string> WithDependents(const std::vector<StagePlan>& stages, const std::string& first) {
  std::set<std::string> found = {first};
  for (const StagePlan& stage : stages) {
    const bool depends = std::any_of(stage.needs.begin(), stage.needs.end(),
                                     [&](const std::string& need) { return found.contains(need); });
    if (depends) found.insert(stage.name);
  }
  return found;
}

Carried TakeOver(const Run& run, const StageRun& stage) {
  if (stage.carried.has_value()) return *stage.carried;
  Carried carried{{run.id, stage.plan.name, static_cast<int>(stage.attempts.size())}, {}};
  if (const Outcome* result = stage.result()) carried.outcome = *result;
  return carried;
}

absl::Status CheckStage(const Run& ended, const std::vector<StagePlan>& stages, const std::string& name) {
  std::vector<std::string> names;
  for (const StagePlan& stage : stages) names.push_back(stage.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return absl::OkStatus();
  return absl::NotFoundError("run " + ended.id + " has no stage \"" + name + "\"" + DidYouMean(name, names));
}

}  // namespace

absl::StatusOr<RetrySelection> SelectForRetry(const Run& ended, const std::vector<StagePlan>& stages, RetryScope scope,
                                              const std::string& stage) {
  if (!IsTerminal(ended.state)) {
    return absl::FailedPreconditionError("run " + ended.id + " is " + std::string(Word(ended)) +
                                         "; wait for its end, or cancel it first");
  }
  if (scope != RetryScope::kFailed) {
    if (absl::Status known = CheckStage(ended, stages, stage); !known.ok()) return known;
  }
  const std::set<std::string> again =
      scope == RetryScope::kFrom ? WithDependents(stages, stage) : std::set<std::string>{stage};
  RetrySelection selection;
  for (const StagePlan& plan : stages) {
    const StageRun* before = ended.FindStage(plan.name);
    const bool succeeded = before != nullptr && before->state == StageState::kSucceeded;
    if (again.contains(plan.name)) continue;
    if (succeeded) {
      selection.carried[plan.name] = TakeOver(ended, *before);
    } else if (scope == RetryScope::kOnly) {
      selection.left_out.insert(plan.name);
    }
  }
  if (scope == RetryScope::kOnly) {
    const auto plan = std::find_if(stages.begin(), stages.end(), [&](const StagePlan& one) { return one.name == stage; });
    for (const std::string& need : plan->needs) {
      if (!selection.left_out.contains(need)) continue;
      return absl::FailedPreconditionError("stage \"" + stage + "\" needs \"" + need + "\", which did not succeed in run " +
                                           ended.id + "; retry from there: --from " + need);
    }
  }
  if (selection.carried.size() == stages.size()) {
    return absl::FailedPreconditionError("every stage of run " + ended.id +
                                         " succeeded; say what to do again: --from STAGE or --only STAGE");
  }
  return selection;
}

}  // namespace cd4ml::core
