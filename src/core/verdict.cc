// Verdicts: how rule results add up, and their JSON form.
#include "cd4ml/core/verdict.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cd4ml/base/status.h"

namespace cd4ml::core {
namespace {

constexpr std::array<std::string_view, 4> kOutcomes = {"pass", "warn", "fail", "error"};

Value ToValue(const std::vector<std::string>& texts) {
  return Value(Value::List(texts.begin(), texts.end()));
}

Value ToValue(const Interval& interval) {
  return Value::Map{{"low", interval.low}, {"high", interval.high}};
}

Value ToValue(const Override& one) {
  return Value::Map{{"rule", one.rule},
                    {"by", one.by},
                    {"reason", one.reason},
                    {"at", FormatTime(one.at)},
                    {"expires", FormatTime(one.expires)}};
}

// What a rule does not have is left out, so that a record's bytes do not depend on what later versions know.
Value ToValue(const RuleResult& rule) {
  Value::Map map = {
      {"name", rule.name},         {"form", rule.form},         {"outcome", ToText(rule.outcome)},
      {"subject", rule.subject},   {"observed", rule.observed}, {"bound", rule.bound},
      {"baseline", rule.baseline}, {"message", rule.message},   {"rows", ToValue(rule.rows)}};
  if (rule.observed_number) map["observed_number"] = *rule.observed_number;
  if (rule.sample_size) map["sample_size"] = *rule.sample_size;
  if (rule.baseline_number) map["baseline_number"] = *rule.baseline_number;
  if (rule.confidence) map["confidence"] = *rule.confidence;
  if (rule.interval) map["interval"] = ToValue(*rule.interval);
  return Value(std::move(map));
}

absl::Status Malformed(std::string_view member) {
  return absl::InvalidArgumentError("malformed verdict: \"" + std::string(member) +
                                    "\" is missing or of another type");
}

absl::Status Read(const Value& value, std::string_view member, std::string& out) {
  const Value* found = value.Find(member);
  if (found == nullptr || !found->is_string()) return Malformed(member);
  out = found->string();
  return absl::OkStatus();
}

absl::Status Read(const Value& value, std::string_view member, std::vector<std::string>& out) {
  const Value* found = value.Find(member);
  if (found == nullptr || !found->is_list()) return Malformed(member);
  for (const Value& item : found->list()) {
    if (!item.is_string()) return Malformed(member);
    out.push_back(item.string());
  }
  return absl::OkStatus();
}

absl::Status Read(const Value& value, std::string_view member, VerdictOutcome& out) {
  std::string text;
  CD4ML_RETURN_IF_ERROR(Read(value, member, text));
  const std::optional<VerdictOutcome> outcome = ParseVerdictOutcome(text);
  if (!outcome) return Malformed(member);
  out = *outcome;
  return absl::OkStatus();
}

// JSON has no word for these: ToJson writes them as strings.
absl::Status Read(const Value& value, std::string_view member, std::optional<double>& out) {
  const Value* found = value.Find(member);
  if (found == nullptr) return absl::OkStatus();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (found->is_number()) {
    out = found->number();
  } else if (*found == Value("NaN")) {
    out = std::nan("");
  } else if (*found == Value("Infinity")) {
    out = kInfinity;
  } else if (*found == Value("-Infinity")) {
    out = -kInfinity;
  } else {
    return Malformed(member);
  }
  return absl::OkStatus();
}

absl::Status Read(const Value& value, std::string_view member, std::optional<int64_t>& out) {
  const Value* found = value.Find(member);
  if (found == nullptr) return absl::OkStatus();
  const auto* number = std::get_if<int64_t>(&found->data);
  if (number == nullptr) return Malformed(member);
  out = *number;
  return absl::OkStatus();
}

absl::Status Read(const Value& value, std::string_view member, UtcTime& out) {
  std::string text;
  CD4ML_RETURN_IF_ERROR(Read(value, member, text));
  const absl::StatusOr<UtcTime> time = ParseTime(text);
  if (!time.ok()) return Malformed(member);
  out = *time;
  return absl::OkStatus();
}

absl::Status Read(const Value& value, std::string_view member, std::optional<Interval>& out) {
  const Value* found = value.Find(member);
  if (found == nullptr) return absl::OkStatus();
  std::optional<double> low, high;
  CD4ML_RETURN_IF_ERROR(Read(*found, "low", low));
  CD4ML_RETURN_IF_ERROR(Read(*found, "high", high));
  if (!low || !high) return Malformed(member);
  out = {*low, *high};
  return absl::OkStatus();
}

absl::StatusOr<Override> OverrideFromValue(const Value& value) {
  Override one;
  CD4ML_RETURN_IF_ERROR(Read(value, "rule", one.rule));
  CD4ML_RETURN_IF_ERROR(Read(value, "by", one.by));
  CD4ML_RETURN_IF_ERROR(Read(value, "reason", one.reason));
  CD4ML_RETURN_IF_ERROR(Read(value, "at", one.at));
  CD4ML_RETURN_IF_ERROR(Read(value, "expires", one.expires));
  return one;
}

absl::StatusOr<RuleResult> RuleFromValue(const Value& value) {
  RuleResult rule;
  CD4ML_RETURN_IF_ERROR(Read(value, "name", rule.name));
  CD4ML_RETURN_IF_ERROR(Read(value, "form", rule.form));
  CD4ML_RETURN_IF_ERROR(Read(value, "outcome", rule.outcome));
  CD4ML_RETURN_IF_ERROR(Read(value, "subject", rule.subject));
  CD4ML_RETURN_IF_ERROR(Read(value, "observed", rule.observed));
  CD4ML_RETURN_IF_ERROR(Read(value, "bound", rule.bound));
  CD4ML_RETURN_IF_ERROR(Read(value, "observed_number", rule.observed_number));
  CD4ML_RETURN_IF_ERROR(Read(value, "sample_size", rule.sample_size));
  CD4ML_RETURN_IF_ERROR(Read(value, "baseline", rule.baseline));
  CD4ML_RETURN_IF_ERROR(Read(value, "message", rule.message));
  CD4ML_RETURN_IF_ERROR(Read(value, "rows", rule.rows));
  CD4ML_RETURN_IF_ERROR(Read(value, "baseline_number", rule.baseline_number));
  CD4ML_RETURN_IF_ERROR(Read(value, "confidence", rule.confidence));
  CD4ML_RETURN_IF_ERROR(Read(value, "interval", rule.interval));
  return rule;
}

}  // namespace

std::string_view ToText(VerdictOutcome outcome) { return kOutcomes[static_cast<size_t>(outcome)]; }

std::optional<VerdictOutcome> ParseVerdictOutcome(std::string_view text) {
  const auto found = std::find(kOutcomes.begin(), kOutcomes.end(), text);
  if (found == kOutcomes.end()) return std::nullopt;
  return static_cast<VerdictOutcome>(found - kOutcomes.begin());
}

bool Blocks(VerdictOutcome outcome) {
  return outcome == VerdictOutcome::kFail || outcome == VerdictOutcome::kError;
}

Verdict Conclude(std::vector<RuleResult> rules) {
  Verdict verdict;
  if (rules.empty()) return verdict;
  std::stable_sort(rules.begin(), rules.end(),
                   [](const RuleResult& a, const RuleResult& b) { return a.name < b.name; });
  // The enumerators are in the order of their weight.
  verdict.outcome = std::max_element(rules.begin(), rules.end(), [](const auto& a, const auto& b) {
                      return a.outcome < b.outcome;
                    })->outcome;
  verdict.rules = std::move(rules);
  return verdict;
}

std::string BlockingReason(const Verdict& verdict) {
  if (!Blocks(verdict.outcome)) return "";
  for (const RuleResult& rule : verdict.rules) {
    if (rule.outcome == VerdictOutcome::kError) return rule.name + ": " + rule.message;
    if (rule.outcome != VerdictOutcome::kFail) continue;
    std::string where = rule.subject == rule.name ? "" : rule.subject;
    const auto add = [&where](const std::string& text) {
      where += (where.empty() ? "" : ", ") + text;
    };
    if (rule.sample_size) add("n=" + std::to_string(*rule.sample_size));
    if (!rule.baseline.empty()) add("versus " + rule.baseline);
    return rule.name + ": " + rule.observed + ", must be " + rule.bound +
           (where.empty() ? "" : " (" + where + ")");
  }
  return "the gate has no rules";
}

Value ToValue(const Verdict& verdict) {
  Value::List rules;
  for (const RuleResult& rule : verdict.rules) rules.push_back(ToValue(rule));
  Value::Map map = {{"outcome", ToText(verdict.outcome)},
                    {"rules", std::move(rules)},
                    {"segments", ToValue(verdict.segments)}};
  if (verdict.overrides.empty()) return map;
  Value::List overrides;
  for (const Override& one : verdict.overrides) overrides.push_back(ToValue(one));
  map["overrides"] = std::move(overrides);
  return map;
}

absl::StatusOr<Verdict> VerdictFromValue(const Value& value) {
  Verdict verdict;
  CD4ML_RETURN_IF_ERROR(Read(value, "outcome", verdict.outcome));
  CD4ML_RETURN_IF_ERROR(Read(value, "segments", verdict.segments));
  const Value* rules = value.Find("rules");
  if (rules == nullptr || !rules->is_list()) return Malformed("rules");
  for (const Value& rule : rules->list()) {
    CD4ML_ASSIGN_OR_RETURN(RuleResult result, RuleFromValue(rule));
    verdict.rules.push_back(std::move(result));
  }
  const Value* overrides = value.Find("overrides");
  if (overrides == nullptr) return verdict;
  if (!overrides->is_list()) return Malformed("overrides");
  for (const Value& item : overrides->list()) {
    CD4ML_ASSIGN_OR_RETURN(Override one, OverrideFromValue(item));
    verdict.overrides.push_back(std::move(one));
  }
  return verdict;
}

}  // namespace cd4ml::core
