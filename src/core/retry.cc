// What a retry takes over: results that count, never attempts.
#include "cd4ml/core/retry.h"

#include <algorithm>

#include "cd4ml/base/text.h"
#include "cd4ml/core/expression.h"
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

// Returns the cells of matrices that failed although no cell did: none has a number to be chosen by, so that taken over
// they would come to the same.
std::set<std::string> CellsWithoutNumber(const Run& ended, const std::vector<StagePlan>& stages) {
  std::set<std::string> found;
  for (const StagePlan& stage : stages) {
    const StageRun* before = stage.matrix ? ended.FindStage(stage.name) : nullptr;
    if (before == nullptr || before->state != StageState::kFailed) continue;
    const bool has_failed = std::any_of(stage.needs.begin(), stage.needs.end(), [&](const std::string& cell) {
      const StageRun* one = ended.FindStage(cell);
      return one != nullptr && one->state != StageState::kSucceeded && one->state != StageState::kSkipped;
    });
    if (!has_failed) found.insert(stage.needs.begin(), stage.needs.end());
  }
  return found;
}

// Returns these, the matrices with a cell that may come to something else than it did, for they choose anew, and all
// stages that need one of either. `stages` are in topological order.
std::set<std::string> DoneAgain(const Run& ended, const std::vector<StagePlan>& stages, std::set<std::string> again) {
  std::set<std::string> same;   // Taken over, or skipped as before.
  for (const StagePlan& stage : stages) {
    bool needs_are_same = true;
    bool is_again = again.contains(stage.name);
    for (const std::string& need : stage.needs) {
      needs_are_same = needs_are_same && same.contains(need);
      is_again = is_again || again.contains(need);
    }
    is_again = is_again || (stage.matrix && !needs_are_same);
    if (is_again) again.insert(stage.name);
    const StageRun* before = ended.FindStage(stage.name);
    if (before == nullptr || is_again) continue;
    const bool stays_skipped = before->state == StageState::kSkipped && before->reason != Reason::kNotSelected;
    if (before->state == StageState::kSucceeded || (stays_skipped && needs_are_same)) same.insert(stage.name);
  }
  return again;
}

// Returns the parameters that the stage's `if` names.
Value ConditionParams(const StageSpec& stage, const Value& params) {
  StageSpec named = {.cell_params = stage.cell_params};
  if (const auto condition = Expression::Parse(stage.condition); condition.ok()) {
    for (const std::string& name : condition->Names()) {
      if (name.starts_with("params.")) named.params.push_back(name.substr(7));
    }
  }
  return named.params.empty() ? Value() : ChosenParams(named, params);
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
    if (stage.matrix) continue;   // Its cells are its needs.
    const bool is_same = ChosenParams(stage, before) == ChosenParams(stage, now) &&
                         ConditionParams(stage, before) == ConditionParams(stage, now);
    if (!is_same) changed.insert(stage.name);
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
  if (scope == RetryScope::kOnly) return SelectOnly(ended, stages, stage, WithDependents(stages, changed));
  std::set<std::string> again = CellsWithoutNumber(ended, stages);
  if (scope == RetryScope::kFrom) again.merge(WithCells(stages, stage));
  again.insert(changed.begin(), changed.end());
  again = DoneAgain(ended, stages, std::move(again));
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
