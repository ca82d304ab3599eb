// Topological order by Kahn's algorithm; among stages that could come next, the file's order decides.
#include "cd4ml/core/plan.h"

#include <functional>
#include <map>
#include <queue>
#include <set>

#include "cd4ml/base/check.h"
#include "cd4ml/core/recipe.h"

namespace cd4ml::core {
namespace {

// Baselines that runs of the past hold; what the champion holds is always known.
struct BaselineOf {
  using Names = std::vector<std::string>;
  // Of data rules, the table of that name is meant.
  static Names Table(const std::string& versus, const std::string& of) {
    if (versus != "last_accepted" && !versus.starts_with("run:")) return {};
    return {versus + "." + of};
  }
  Names operator()(const DriftRule& rule) const { return Table(rule.versus, rule.of); }
  Names operator()(const StatRule& rule) const { return Table(rule.versus, rule.of); }
  Names operator()(const SegmentsRule& rule) const { return Table(rule.lost_versus, rule.of); }
  Names operator()(const MetricRule& rule) const {
    if (rule.versus != "last_passed" && !rule.versus.starts_with("run:")) return {};
    return {rule.versus};
  }
  template <typename Other>
  Names operator()(const Other&) const {
    return {};
  }
};

std::vector<std::string> BaselinesOf(const StageSpec& stage) {
  std::set<std::string> baselines;
  for (const Rule& rule : stage.rules) {
    for (std::string& name : std::visit(BaselineOf(), rule.body)) baselines.insert(std::move(name));
  }
  return {baselines.begin(), baselines.end()};
}

StagePlan PlanStage(const PipelineSpec& pipeline, const StageSpec& stage, const PlanDefaults& defaults) {
  StagePlan plan;
  plan.name = stage.name;
  plan.kind = stage.kind;
  plan.references = ReferencesOf(stage);
  std::set<std::string> needs(stage.needs.begin(), stage.needs.end());
  for (const std::string& reference : plan.references) {
    const Reference parts = ParseReference(reference);
    if (!parts.output.empty()) needs.insert(std::string(parts.stage));
  }
  plan.needs.assign(needs.begin(), needs.end());
  plan.condition = stage.condition;
  plan.labels = stage.labels;
  plan.resources = stage.resources;
  plan.total_timeout = stage.total_timeout;
  plan.timeout = stage.timeout.count() > 0 ? stage.timeout : defaults.timeout;
  plan.assign_timeout = stage.assign_timeout.count() > 0 ? stage.assign_timeout : defaults.assign_timeout;
  plan.retry = stage.retry;
  plan.environment = stage.environment;
  const EnvironmentSpec* environment = pipeline.FindEnvironment(stage.environment);
  if (environment != nullptr) {
    plan.environment_policy = environment->concurrency;
    plan.refuses_mixed = environment->refuses_mixed;
  }
  plan.package = stage.package;
  plan.reuse = IsReusable(stage);
  plan.reuse_max_age = stage.cache.max_age;
  plan.baselines = BaselinesOf(stage);
  plan.cell_of = stage.cell_of;
  plan.cell_params = stage.cell_params;
  plan.matrix = stage.matrix;
  return plan;
}

}  // namespace

std::vector<StagePlan> MakePlan(const PipelineSpec& pipeline, const PlanDefaults& defaults) {
  std::vector<StagePlan> plans;
  std::map<std::string, size_t> position;
  for (const StageSpec& stage : pipeline.stages) {
    position[stage.name] = plans.size();
    plans.push_back(PlanStage(pipeline, stage, defaults));
  }
  std::vector<std::vector<size_t>> dependents(plans.size());
  std::vector<size_t> open_needs(plans.size());
  for (size_t i = 0; i < plans.size(); ++i) {
    for (const std::string& need : plans[i].needs) {
      CD4ML_CHECK(position.contains(need), need);
      dependents[position[need]].push_back(i);
      ++open_needs[i];
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> next;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (open_needs[i] == 0) next.push(i);
  }
  std::vector<StagePlan> ordered;
  while (!next.empty()) {
    const size_t stage = next.top();
    next.pop();
    ordered.push_back(std::move(plans[stage]));
    for (size_t dependent : dependents[stage]) {
      if (--open_needs[dependent] == 0) next.push(dependent);
    }
  }
  CD4ML_CHECK(ordered.size() == plans.size(), "a cycle passed validation");
  return ordered;
}

}  // namespace cd4ml::core
