// From the form of a rule to the function that judges it.
#include "agent/model_rules.h"

namespace cd4ml::agent {

core::RuleResult JudgeModelRule(const core::Rule& rule, const core::MetricSet& metrics, core::StageKind kind) {
  if (const auto* metric = std::get_if<core::MetricRule>(&rule.body)) return core::JudgeMetric(rule, *metric, metrics);
  if (const auto* check = std::get_if<core::CheckRule>(&rule.body)) return core::JudgeCheck(rule, *check, metrics);
  if (const auto* fairness = std::get_if<core::FairnessRule>(&rule.body)) {
    return core::JudgeFairness(rule, *fairness, metrics);
  }
  const std::string form(core::RuleForm(rule.body));
  return core::CannotJudge(rule, form,
                           "a rule of the form \"" + form + "\" is not available in a " + std::string(core::ToText(kind)));
}

}  // namespace cd4ml::agent
