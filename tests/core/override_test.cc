// Who overrides what, and what becomes of a verdict.
#include "cd4ml/core/override.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

constexpr UtcTime At(int64_t hour) { return {1'000'000'000'000 + hour * 3'600'000}; }

OverrideRecord Said(const std::string& by, int64_t from, int64_t until, const std::string& rule = "mae") {
  static int64_t id = 0;
  return {.id = ++id, .pipeline = "car", .gate = "gate", .rule = rule, .run = "car/1", .by = by, .reason = "why " + by,
          .at = At(from), .expires = At(until)};
}

std::vector<std::string> Rules(const std::vector<Override>& overrides) {
  std::vector<std::string> rules;
  for (const Override& one : overrides) rules.push_back(one.rule + " by " + one.by);
  return rules;
}

using Names = std::vector<std::string>;

TEST(InForce, FromTheMomentAfterItWasSaidUntilItExpires) {
  const std::vector<OverrideRecord> records = {Said("ana", 1, 3)};

  EXPECT_TRUE(InForce(records, 1, At(1)).empty());
  EXPECT_EQ(Rules(InForce(records, 1, At(2))), Names{"mae by ana"});
  EXPECT_TRUE(InForce(records, 1, At(3)).empty());
  EXPECT_TRUE(InForce(records, 1, At(4)).empty());
}

TEST(InForce, NotWhatWasRevoked) {
  OverrideRecord record = Said("ana", 1, 9);
  record.revoked = At(5);

  EXPECT_EQ(InForce({record}, 1, At(4)).size(), 1U);
  EXPECT_TRUE(InForce({record}, 1, At(5)).empty());
}

TEST(InForce, TwoPeopleMustSayTheSame) {
  EXPECT_TRUE(InForce({Said("ana", 1, 9)}, 2, At(2)).empty());
  EXPECT_TRUE(InForce({Said("ana", 1, 9), Said("Ana", 1, 9), Said("ana", 2, 9)}, 2, At(3)).empty()) << "one person";
  EXPECT_TRUE(InForce({Said("ana", 1, 9), Said(" ana", 1, 9), Said("an\ta\x01 ", 1, 9)}, 2, At(2)).empty()) << "spaces do not count";
  EXPECT_TRUE(InForce({Said("ana", 1, 9), Said("bo", 1, 9, "r2")}, 2, At(2)).empty()) << "another rule";
  EXPECT_TRUE(InForce({Said("ana", 1, 3), Said("bo", 4, 9)}, 2, At(5)).empty()) << "never both at once";

  const auto both = InForce({Said("ana", 1, 9), Said("bo", 2, 5)}, 2, At(3));
  ASSERT_EQ(Rules(both), Names{"mae by ana, bo"});
  EXPECT_EQ(both[0].expires, At(5));
  EXPECT_EQ(both[0].at, At(2));
  EXPECT_EQ(both[0].reason, "why ana; why bo");
  EXPECT_TRUE(InForce({Said("ana", 1, 9), Said("bo", 2, 5)}, 2, At(5)).empty());
}

TEST(InForce, LastsAsLongAsEnoughPeopleStandByIt) {
  const auto three = InForce({Said("ana", 1, 9), Said("bo", 1, 5), Said("cy", 1, 7)}, 2, At(2));

  ASSERT_EQ(three.size(), 1U);
  EXPECT_EQ(three[0].expires, At(7));
}

TEST(InForce, NothingWhereNobodyMay) { EXPECT_TRUE(InForce({Said("ana", 1, 9)}, kNobodyOverrides, At(2)).empty()); }

RuleResult Found(const std::string& name, VerdictOutcome outcome) {
  RuleResult rule;
  rule.name = name;
  rule.outcome = outcome;
  rule.observed = "2710";
  rule.bound = "<= 1200";
  return rule;
}

Override By(const std::string& rule) { return {.rule = rule, .by = "ana", .reason = "a new tax", .at = At(1), .expires = At(9)}; }

TEST(ApplyOverrides, ABlockingRuleOnlyWarnsAndTheVerdictSaysWhoseDoingThatIs) {
  using enum VerdictOutcome;
  const Verdict verdict = ApplyOverrides(Conclude({Found("a", kFail), Found("b", kPass)}), {By("a")});

  EXPECT_EQ(verdict.outcome, kWarn);
  EXPECT_EQ(verdict.rules[0].outcome, kWarn);
  EXPECT_EQ(verdict.rules[0].observed, "2710");
  EXPECT_EQ(verdict.rules[0].message, "it would fail, overridden by ana: a new tax");
  EXPECT_EQ(verdict.overrides, std::vector<Override>{By("a")});
}

TEST(ApplyOverrides, OtherRulesGoOnBlocking) {
  using enum VerdictOutcome;
  EXPECT_EQ(ApplyOverrides(Conclude({Found("a", kFail), Found("b", kFail)}), {By("a")}).outcome, kFail);
  EXPECT_EQ(ApplyOverrides(Conclude({Found("a", kFail), Found("b", kError)}), {By("a")}).outcome, kError);
  EXPECT_EQ(ApplyOverrides(Conclude({Found("a", kError)}), {By("a")}).outcome, kWarn);
  EXPECT_EQ(ApplyOverrides(Conclude({}), {By("a")}).outcome, kError) << "a gate without rules";
}

TEST(ApplyOverrides, WhatWasNotNeededIsNotNamed) {
  using enum VerdictOutcome;
  const Verdict verdict = ApplyOverrides(Conclude({Found("a", kPass), Found("b", kWarn)}), {By("a"), By("b"), By("c")});

  EXPECT_EQ(verdict.outcome, kWarn);
  EXPECT_TRUE(verdict.overrides.empty());
}

TEST(CheckOverrides, WhatIsNotInForceDoesNotKeepARuleFromBlocking) {
  using enum VerdictOutcome;
  const Verdict said = ApplyOverrides(Conclude({Found("a", kFail), Found("b", kError)}), {By("a"), By("b")});
  ASSERT_EQ(said.outcome, kWarn);

  const Verdict checked = CheckOverrides(said, {By("b")});

  EXPECT_EQ(checked.outcome, kFail);
  EXPECT_EQ(checked.rules[0].outcome, kFail);
  EXPECT_EQ(checked.rules[1].outcome, kWarn);
  EXPECT_EQ(checked.overrides, std::vector<Override>{By("b")});
}

TEST(CheckOverrides, WhatIsRecordedCountsAndNotWhatAnAgentSays) {
  Verdict said = ApplyOverrides(Conclude({Found("a", VerdictOutcome::kFail)}), {By("a")});
  said.overrides[0].by = "somebody else";
  said.overrides[0].expires = At(1'000);

  const Verdict checked = CheckOverrides(said, {By("a")});

  EXPECT_EQ(checked.outcome, VerdictOutcome::kWarn);
  EXPECT_EQ(checked.overrides, std::vector<Override>{By("a")});
}

}  // namespace
}  // namespace cd4ml::core
