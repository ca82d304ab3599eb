// Looks results up by their recipe.
#include "reuse.h"

#include <algorithm>

#include "cd4ml/core/gate_report.h"

namespace cd4ml::daemon {

ReuseJudgement Reuse::Judge(const core::Run& run, const core::StageRun& stage,
                            const std::map<std::string, std::string>& compared, UtcTime now) const {
  const core::StagePlan& plan = stage.plan;
  if (plan.recipe.empty()) return {};
  ReuseJudgement judgement{core::CompleteRecipe(run, stage, compared), std::nullopt, ""};
  if (!plan.reuse) {
    judgement.note = run.retry_of.empty() ? "the run was started with --no-cache" : "a retry makes anew what it does not take over";
    return judgement;
  }
  const auto found = history_.FindResult(core::KeyOf(judgement.recipe));
  if (!found.ok() || !found->has_value()) {
    judgement.note = WhatChanged(run, plan, judgement.recipe);
  } else if (judgement.note = Objection(**found, plan, now); judgement.note.empty()) {
    judgement.carried = (*found)->carried;
  }
  return judgement;
}

std::string Reuse::Objection(const ReusableResult& result, const core::StagePlan& plan, UtcTime now) const {
  const std::string of = "the result of " + result.carried.from.run;
  const Duration age = now - result.ended;
  if (plan.reuse_max_age.count() > 0 && age > plan.reuse_max_age) {
    return of + " is " + FormatDuration(age) + " old, more than " + FormatDuration(plan.reuse_max_age);
  }
  const core::Outcome& outcome = result.carried.outcome;
  if (const Value* reads = outcome.environment.Find("undeclared_reads"); reads != nullptr && reads->is_list()) {
    std::string files;
    for (const Value& file : reads->list()) files += (files.empty() ? "" : ", ") + ToText(file);
    return of + " was made with files that the stage does not declare: " + files;
  }
  for (const core::ProducedOutput& output : outcome.outputs) {
    if (core::IsGateReport(output)) continue;   // Without its page, the verdict is what it was.
    const bool is_kept =
        checks_.is_kept(output.artifact) && (!output.profile.has_value() || checks_.is_kept(*output.profile));
    if (!is_kept) return of + " is no longer kept: output \"" + output.name + "\"";
  }
  if (!checks_.is_known_host(outcome.environment)) return of + " was made on a host that no agent is like now";
  return "";
}

std::string Reuse::WhatChanged(const core::Run& run, const core::StagePlan& plan, const core::Recipe& recipe) const {
  const auto last = history_.LastResult(run.pipeline, plan.name);
  if (!last.ok() || !last->has_value()) return "it has not succeeded before";
  std::string changed;
  for (const std::string& part : core::ChangedParts((*last)->recipe, recipe)) {
    changed += (changed.empty() ? "" : ", ") + part;
  }
  return changed + " changed since " + (*last)->carried.from.run;
}

}  // namespace cd4ml::daemon
