// From a window of predictions to the decision to retrain.
#include "cd4ml/core/monitor.h"

#include <algorithm>

#include "cd4ml/core/gate.h"

namespace cd4ml::core {
namespace {

constexpr Duration kWeek{7 * 86'400'000LL};

Rule ToRule(const CheckSpec& check) {
  Rule rule;
  rule.name = check.name;
  rule.blocks = check.blocks;
  rule.place = check.place;
  std::visit([&](const auto& body) { rule.body = body; }, check.rule);
  return rule;
}

RuleResult JudgeRequests(const Rule& rule, const MetricRule& metric, const MonitorWindow& window) {
  if (metric.metric != "requests") {
    return CannotJudge(rule, metric.metric, "a monitor knows the metric \"requests\"; others need ground truth, "
                                            "which is not available yet");
  }
  return JudgeNumber(rule, "requests", static_cast<double>(window.requests), "", metric.value, window.requests);
}

// Returns whether this window had enough samples for a passed check to mean that all is well.
bool IsEvidence(const CheckSpec& check, const RuleResult& result) {
  const auto* drift = std::get_if<DriftRule>(&check.rule);
  return drift == nullptr || result.sample_size.value_or(0) >= drift->min_samples;
}

bool Retrains(const RetrainSpec& retrain, const CheckSpec& check) {
  return check.blocks && (retrain.checks.empty() || std::find(retrain.checks.begin(), retrain.checks.end(),
                                                              check.name) != retrain.checks.end());
}

std::string WhyHeldBack(const MonitorState& state, const RetrainSpec& retrain, bool retrain_open, UtcTime now) {
  if (retrain_open) return "a run of this pipeline is going on already";
  if (state.given_up) {
    return "gave up after " + std::to_string(state.retrains_without_recovery) +
           " retrains that did not end the breach; start a run by hand";
  }
  if (!state.retrains.empty() && now < state.retrains.back() + retrain.cooldown) {
    return "cooling down for another " + FormatDuration(state.retrains.back() + retrain.cooldown - now);
  }
  if (retrain.max_per_week > 0 && static_cast<int>(state.retrains.size()) >= retrain.max_per_week) {
    return "retrained " + std::to_string(state.retrains.size()) + " times in the last 7 days, the most allowed";
  }
  return "";
}

}  // namespace

Verdict JudgeWindow(const MonitorSpec& spec, const MonitorWindow& window, const MonitorReference& reference) {
  std::vector<RuleResult> results;
  for (const CheckSpec& check : spec.checks) {
    const Rule rule = ToRule(check);
    if (const auto* drift = std::get_if<DriftRule>(&check.rule)) {
      results.push_back(
          JudgeDrift(rule, *drift, &reference.profile, reference.identity, window.columns, window.requests));
    } else {
      results.push_back(JudgeRequests(rule, std::get<MetricRule>(check.rule), window));
    }
  }
  return Conclude(std::move(results));
}

MonitorDecision DecideMonitor(const MonitorState& state, const MonitorSpec& spec, const Verdict& verdict,
                              bool retrain_open, UtcTime now) {
  MonitorDecision decision;
  MonitorState& next = decision.next;
  next = state;
  ++next.checks;
  next.next_check = now + spec.every;
  std::erase_if(next.retrains, [now](UtcTime at) { return at + kWeek <= now; });
  bool recovered = true;
  for (const CheckSpec& check : spec.checks) {
    const auto result = std::find_if(verdict.rules.begin(), verdict.rules.end(),
                                     [&](const RuleResult& rule) { return rule.name == check.name; });
    if (result == verdict.rules.end()) continue;
    const bool broken = result->outcome == VerdictOutcome::kFail || result->outcome == VerdictOutcome::kWarn;
    int& in_a_row = next.broken[check.name];
    in_a_row = broken ? in_a_row + 1 : 0;
    const bool evidence = IsEvidence(check, *result);
    if (!evidence && decision.held_back.empty()) decision.held_back = result->message;
    recovered = recovered && !broken && evidence;
    const bool breaches = in_a_row >= check.consecutive && in_a_row > 0;
    if (breaches && check.blocks && decision.breach.empty()) decision.breach = check.name + ": " + result->message;
    if (breaches && spec.retrain.has_value() && Retrains(*spec.retrain, check)) decision.retrain = true;
  }
  if (recovered) {
    next.retrains_without_recovery = 0;
    next.given_up = false;
  }
  if (!decision.retrain) return decision;
  decision.held_back = WhyHeldBack(next, *spec.retrain, retrain_open, now);
  decision.retrain = decision.held_back.empty();
  if (!decision.retrain) return decision;
  next.retrains.push_back(now);
  ++next.retrains_without_recovery;
  next.given_up =
      spec.retrain->give_up_after > 0 && next.retrains_without_recovery >= spec.retrain->give_up_after;
  return decision;
}

}  // namespace cd4ml::core
