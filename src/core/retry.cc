// What a retry takes over: results that count, never attempts.
#include "cd4ml/core/retry.h"

#include <algorithm>

#include "cd4ml/base/text.h"
#include "cd4ml/core/recipe.h"

namespace cd4ml::core {
namespace {

// Returns these and all stages that need one of them, directly or not. `stages` are in topological order.
std::set<std::string> WithDependents(const std::vector<StagePlan>& stages, std::set<std::string> found) {
  for (const StagePlan& stage : stages) {
    const bool depends = std::any_of(stage.needs.begin(), stage.needs.end(),
                                     [&](const std::string& need) { return found.contains(need); });
    if (depends) found.insert(stage.name);
  }
  return found;
}

// Returns all stages that one needs, directly or not.
std::set<std::string> NeedsOf(const std::vector<StagePlan>& stages, const std::string& name) {
  std::set<std::string> found = {name};
  for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
    if (found.contains(stage->name)) found.insert(stage->needs.begin(), stage->needs.end());
  }
  found.erase(name);
  return found;
}

Carried TakeOver(const Run& run, const StageRun& stage) {
  if (stage.carried.has_value()) return *stage.carried;
  Carried carried{{run.id, stage.plan.name, static_cast<int>(stage.attempts.size())}, {}};
  if (const Outcome* result = stage.result()) carried.outcome = *result;
  return carried;
}

// Returns the stage, and all its cells where it has a matrix: that is what somebody means who names it.
std::set<std::string> WithCells(const std::vector<StagePlan>& stages, const std::string& name) {
  std::set<std::string> found = {name};
  for (const StagePlan& stage : stages) {
    if (stage.cell_of == name) found.insert(stage.name);
  }
  return found;
}

// Returns the cells that are done again because they did not succeed: whatever was chosen without them is chosen anew.
std::set<std::string> LostCells(const Run& ended, const std::vector<StagePlan>& stages) {
  std::set<std::string> lost;
  for (const StagePlan& stage : stages) {
    const StageRun* before = stage.cell_of.empty() ? nullptr : ended.FindStage(stage.name);
    if (before != nullptr && (before->state == StageState::kFailed || before->state == StageState::kCancelled)) {
      lost.insert(stage.name);
    }
  }
  return lost;
}

absl::Status CheckStage(const Run& ended, const std::vector<StagePlan>& stages, const std::string& name) {
  std::vector<std::string> names;
  for (const StagePlan& stage : stages) names.push_back(stage.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return absl::OkStatus();
  return absl::NotFoundError("run " + ended.id + " has no stage \"" + name + "\"" + DidYouMean(name, names));
}

// Takes over what `stage` needs, and leaves out the rest.
absl::StatusOr<RetrySelection> SelectOnly(const Run& ended, const std::vector<StagePlan>& stages, const std::string& stage,
                                          const std::set<std::string>& stale) {
  const std::set<std::string> only = WithCells(stages, stage);
  std::set<std::string> needs;
  for (const std::string& name : only) needs.merge(NeedsOf(stages, name));
  RetrySelection selection;
  for (const StagePlan& plan : stages) {
    if (only.contains(plan.name)) continue;
    if (!needs.contains(plan.name)) {
      selection.left_out.insert(plan.name);
      continue;
    }
    const StageRun* before = ended.FindStage(plan.name);
    const bool succeeded = before != nullptr && before->state == StageState::kSucceeded;
    const StageRun* matrix = ended.FindStage(plan.cell_of);
    if (!succeeded && matrix != nullptr && matrix->state == StageState::kSucceeded) {
      selection.left_out.insert(plan.name);   // Another cell has won without it.
      continue;
    }
    if (!succeeded || stale.contains(plan.name)) {
      return absl::FailedPreconditionError(
          "stage \"" + stage + "\" needs \"" + plan.name + "\", which " +
          (succeeded ? "has other parameters now than in run " : "did not succeed in run ") + ended.id +
          "; retry from there: --from " + plan.name);
    }
    selection.carried[plan.name] = TakeOver(ended, *before);
  }
  return selection;
}

}  // namespace

std::set<std::string> StagesOfOtherParams(const PipelineSpec& spec, const Value& before, const Value& now) {
  std::set<std::string> changed;
  for (const StageSpec& stage : spec.stages) {
    if (ChosenParams(stage, before) != ChosenParams(stage, now)) changed.insert(stage.name);
  }
  return changed;
}

absl::StatusOr<RetrySelection> SelectForRetry(const Run& ended, const std::vector<StagePlan>& stages, RetryScope scope,
                                              const std::string& stage, const std::set<std::string>& changed) {
  if (!IsTerminal(ended.state)) {
    return absl::FailedPreconditionError("run " + ended.id + " is " + std::string(Word(ended)) +
                                         "; wait for its end, or cancel it first");
  }
  if (ended.trigger.kind == TriggerKind::kReproduce) {
    // It left out what changes the world, which must not follow from it.
    return absl::FailedPreconditionError("run " + ended.id + " made run " + ended.retry_of +
                                         " again to compare them; retry that one, or reproduce it once more");
  }
  if (scope != RetryScope::kFailed) {
    if (absl::Status known = CheckStage(ended, stages, stage); !known.ok()) return known;
  }
  const std::set<std::string> stale = WithDependents(stages, changed);
  if (scope == RetryScope::kOnly) return SelectOnly(ended, stages, stage, stale);
  std::set<std::string> again = WithDependents(stages, LostCells(ended, stages));
  if (scope == RetryScope::kFrom) again.merge(WithDependents(stages, WithCells(stages, stage)));
  again.insert(stale.begin(), stale.end());
  RetrySelection selection;
  for (const StagePlan& plan : stages) {
    const StageRun* before = ended.FindStage(plan.name);
    const bool succeeded = before != nullptr && before->state == StageState::kSucceeded;
    if (succeeded && !again.contains(plan.name)) selection.carried[plan.name] = TakeOver(ended, *before);
  }
  if (selection.carried.size() == stages.size()) {
    return absl::FailedPreconditionError("every stage of run " + ended.id +
                                         " succeeded; say what to do again: --from STAGE or --only STAGE");
  }
  return selection;
}

}  // namespace cd4ml::core
