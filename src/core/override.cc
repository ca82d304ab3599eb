// Who overrides what, and what a verdict is with and without it.
#include "cd4ml/core/override.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"

namespace cd4ml::core {
namespace {

const Override* FindRule(const std::vector<Override>& overrides, const std::string& rule) {
  const auto found = std::find_if(overrides.begin(), overrides.end(), [&](const Override& one) { return one.rule == rule; });
  return found == overrides.end() ? nullptr : &*found;
}

// Neither the case of letters nor spaces make somebody another person.
std::string PersonOf(const OverrideRecord& record) {
  std::string person = absl::AsciiStrToLower(record.by);
  std::erase_if(person, [](char c) { return absl::ascii_isspace(c) || absl::ascii_iscntrl(c); });
  return person;
}

void AddSentence(std::string& text, const std::string& sentence) { text += (text.empty() ? "" : "; ") + sentence; }

VerdictOutcome Worst(const std::vector<RuleResult>& rules) {
  return std::max_element(rules.begin(), rules.end(), [](const RuleResult& a, const RuleResult& b) {
           return a.outcome < b.outcome;
         })->outcome;
}

// Those of one rule, of which each person's longest counts.
Override Together(const std::string& rule, const std::vector<const OverrideRecord*>& people, int needed) {
  Override override{.rule = rule, .by = "", .reason = "", .at = {}, .expires = {}};
  std::vector<UtcTime> ends;
  for (const OverrideRecord* one : people) {
    override.by += (override.by.empty() ? "" : ", ") + one->by;
    if (override.reason.find(one->reason) == std::string::npos) AddSentence(override.reason, one->reason);
    override.at = std::max(override.at, one->at);
    ends.push_back(one->expires);
  }
  std::sort(ends.rbegin(), ends.rend());
  override.expires = ends[static_cast<size_t>(needed) - 1];
  return override;
}

}  // namespace

std::vector<Override> InForce(const std::vector<OverrideRecord>& records, int people, UtcTime now) {
  std::vector<Override> in_force;
  if (people == kNobodyOverrides) return in_force;
  std::map<std::string, std::map<std::string, const OverrideRecord*>> rules;   // Rule -> person -> the longest record.
  for (const OverrideRecord& record : records) {
    const bool is_revoked = record.revoked.is_set() && record.revoked <= now;
    if (record.at >= now || record.expires <= now || is_revoked) continue;
    const OverrideRecord*& longest = rules[record.rule][PersonOf(record)];
    if (longest == nullptr || longest->expires < record.expires) longest = &record;
  }
  const int needed = std::max(people, 1);
  for (const auto& [rule, by_person] : rules) {
    if (static_cast<int>(by_person.size()) < needed) continue;
    std::vector<const OverrideRecord*> ones;
    for (const auto& [person, record] : by_person) ones.push_back(record);
    std::sort(ones.begin(), ones.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
    in_force.push_back(Together(rule, ones, needed));
  }
  return in_force;
}

Verdict ApplyOverrides(Verdict verdict, const std::vector<Override>& overrides) {
  for (RuleResult& rule : verdict.rules) {
    const Override* found = Blocks(rule.outcome) ? FindRule(overrides, rule.name) : nullptr;
    if (found == nullptr) continue;
    AddSentence(rule.message, "it would " + std::string(rule.outcome == VerdictOutcome::kFail ? "fail" : "be an error") +
                                  ", overridden by " + found->by + ": " + found->reason);
    rule.outcome = VerdictOutcome::kWarn;
    verdict.overrides.push_back(*found);
  }
  if (!verdict.overrides.empty()) verdict.outcome = Worst(verdict.rules);
  return verdict;
}

Verdict CheckOverrides(Verdict verdict, const std::vector<Override>& in_force) {
  std::vector<Override> kept;
  for (const Override& named : verdict.overrides) {
    if (const Override* found = FindRule(in_force, named.rule)) {
      kept.push_back(*found);
      continue;
    }
    for (RuleResult& rule : verdict.rules) {
      if (rule.name != named.rule || Blocks(rule.outcome)) continue;
      rule.outcome = VerdictOutcome::kFail;
      AddSentence(rule.message, "the override was not in force when the gate ended");
    }
  }
  if (!verdict.overrides.empty() && !verdict.rules.empty()) verdict.outcome = std::max(verdict.outcome, Worst(verdict.rules));
  verdict.overrides = std::move(kept);
  return verdict;
}

}  // namespace cd4ml::core
