// How rule results add up to a verdict, its one-line reason, and its JSON form.
#include "cd4ml/core/verdict.h"

#include <gtest/gtest.h>

#include <cmath>

namespace cd4ml::core {
namespace {

RuleResult Result(std::string name, VerdictOutcome outcome) {
  RuleResult result;
  result.name = std::move(name);
  result.outcome = outcome;
  return result;
}

TEST(Conclude, TakesTheWorstOutcome) {
  using enum VerdictOutcome;
  EXPECT_EQ(Conclude({Result("a", kPass), Result("b", kPass)}).outcome, kPass);
  EXPECT_EQ(Conclude({Result("a", kWarn), Result("b", kPass)}).outcome, kWarn);
  EXPECT_EQ(Conclude({Result("a", kFail), Result("b", kWarn)}).outcome, kFail);
  EXPECT_EQ(Conclude({Result("a", kFail), Result("b", kError), Result("c", kPass)}).outcome,
            kError);
}

TEST(Conclude, IsAnErrorWithoutRules) {
  const Verdict verdict = Conclude({});

  EXPECT_EQ(verdict.outcome, VerdictOutcome::kError);
  EXPECT_EQ(BlockingReason(verdict), "the gate has no rules");
}

TEST(Conclude, SortsResultsByName) {
  const Verdict verdict =
      Conclude({Result("b", VerdictOutcome::kPass), Result("a", VerdictOutcome::kPass)});

  EXPECT_EQ(verdict.rules[0].name, "a");
  EXPECT_EQ(verdict.rules[1].name, "b");
}

TEST(Blocks, OnlyOnFailAndError) {
  EXPECT_FALSE(Blocks(VerdictOutcome::kPass));
  EXPECT_FALSE(Blocks(VerdictOutcome::kWarn));
  EXPECT_TRUE(Blocks(VerdictOutcome::kFail));
  EXPECT_TRUE(Blocks(VerdictOutcome::kError));
}

TEST(VerdictOutcome, ReadsBackFromItsText) {
  using enum VerdictOutcome;
  for (const VerdictOutcome outcome : {kPass, kWarn, kFail, kError}) {
    EXPECT_EQ(ParseVerdictOutcome(ToText(outcome)), outcome);
  }
  EXPECT_EQ(ParseVerdictOutcome("PASS"), std::nullopt);
  EXPECT_EQ(ParseVerdictOutcome(""), std::nullopt);
}

TEST(BlockingReason, NamesRuleObservedBoundAndSample) {
  RuleResult mae = Result("mae", VerdictOutcome::kFail);
  mae.subject = "clean.csv";
  mae.observed = "2710.4";
  mae.bound = "<= 1200";
  mae.sample_size = 3120;

  EXPECT_EQ(BlockingReason(Conclude({mae, Result("a", VerdictOutcome::kWarn)})),
            "mae: 2710.4, must be <= 1200 (clean.csv, n=3120)");
}

TEST(BlockingReason, LeavesOutWhatIsNotKnownAndNamesTheBaseline) {
  RuleResult mae = Result("mae", VerdictOutcome::kFail);
  mae.subject = "mae";
  mae.observed = "3";
  mae.bound = "<= 2";
  EXPECT_EQ(BlockingReason(Conclude({mae})), "mae: 3, must be <= 2");

  mae.baseline = "cars/7";
  EXPECT_EQ(BlockingReason(Conclude({mae})), "mae: 3, must be <= 2 (versus cars/7)");
}

TEST(BlockingReason, GivesTheSentenceOfARuleThatCouldNotBeJudged) {
  RuleResult mae = Result("mae", VerdictOutcome::kError);
  mae.message = "there is no metric \"mae\"";

  EXPECT_EQ(BlockingReason(Conclude({mae})), "mae: there is no metric \"mae\"");
}

TEST(BlockingReason, IsEmptyWhenNothingBlocks) {
  EXPECT_EQ(BlockingReason(Conclude({Result("a", VerdictOutcome::kWarn)})), "");
}

Verdict FullVerdict(double observed) {
  RuleResult rule;
  rule.name = "price";
  rule.form = "column";
  rule.outcome = VerdictOutcome::kWarn;
  rule.subject = "clean.price";
  rule.observed = "3 bad rows";
  rule.bound = "<= 0";
  rule.observed_number = observed;
  rule.sample_size = 99;
  rule.baseline = "x";
  rule.message = "three \"quoted\"\nrows";
  rule.rows = {"row 1: a", "row 2: \xC3\xA4"};
  rule.baseline_number = 4.5;
  rule.confidence = 0.95;
  rule.interval = {-0.25, 1};
  Verdict verdict = Conclude({rule, Result("zero", VerdictOutcome::kPass)});
  verdict.segments = {"bmw/x5"};
  verdict.overrides = {{.rule = "price",
                        .by = "ana@laptop, ben",
                        .reason = "known \"spike\"",
                        .at = {1'700'000'000'123},
                        .expires = {1'800'000'000'000}}};
  return verdict;
}

TEST(VerdictJson, ReadsBackWhatItWrote) {
  const std::string json = ToJson(ToValue(FullVerdict(3.25)));

  const absl::StatusOr<Verdict> back = VerdictFromValue(*ParseJson(json));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ToJson(ToValue(*back)), json);
  EXPECT_EQ(back->rules[0].observed_number, 3.25);
  EXPECT_EQ(back->rules[0].sample_size, 99);
  EXPECT_EQ(back->rules[0].rows.size(), 2u);
  EXPECT_EQ(back->rules[1].observed_number, std::nullopt);
  EXPECT_EQ(back->rules[1].sample_size, std::nullopt);
  EXPECT_EQ(back->segments, std::vector<std::string>{"bmw/x5"});
  EXPECT_EQ(back->rules[0].baseline_number, 4.5);
  EXPECT_EQ(back->rules[0].confidence, 0.95);
  EXPECT_EQ(back->rules[0].interval, (Interval{-0.25, 1}));
  EXPECT_EQ(back->rules[1].interval, std::nullopt);
  EXPECT_EQ(back->overrides, FullVerdict(3.25).overrides);
}

TEST(VerdictJson, WritesNothingOfWhatIsNotThereAndReadsOlderRecords) {
  const std::string json = ToJson(ToValue(Conclude({Result("a", VerdictOutcome::kPass)})));

  EXPECT_EQ(json,
            R"({"outcome":"pass","rules":[{"baseline":"","bound":"","form":"","message":"","name":"a",)"
            R"("observed":"","outcome":"pass","rows":[],"subject":""}],"segments":[]})");
  const absl::StatusOr<Verdict> back = VerdictFromValue(*ParseJson(json));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rules[0].baseline_number, std::nullopt);
  EXPECT_TRUE(back->overrides.empty());
}

TEST(VerdictJson, KeepsNumbersThatJsonHasNoWordFor) {
  for (const double number : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const absl::StatusOr<Verdict> back =
        VerdictFromValue(*ParseJson(ToJson(ToValue(FullVerdict(number)))));

    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(std::isnan(*back->rules[0].observed_number), std::isnan(number));
    if (!std::isnan(number)) {
      EXPECT_EQ(*back->rules[0].observed_number, number);
    }
  }
}

TEST(VerdictJson, RefusesWhatIsNoVerdict) {
  for (const char* text : {"null", "[]", "{}", R"({"outcome":"pass"})",
                           R"({"outcome":"good","rules":[],"segments":[]})",
                           R"({"outcome":"pass","rules":{},"segments":[]})",
                           R"({"outcome":"pass","rules":[1],"segments":[]})",
                           R"({"outcome":"pass","rules":[{"name":"a"}],"segments":[]})",
                           R"({"outcome":"pass","rules":[],"segments":[1]})",
                           R"({"outcome":"pass","rules":[],"segments":[],"overrides":{}})",
                           R"({"outcome":"pass","rules":[],"segments":[],"overrides":[{"rule":"a"}]})"}) {
    EXPECT_FALSE(VerdictFromValue(*ParseJson(text)).ok()) << text;
  }
}

TEST(VerdictJson, RefusesEveryMemberOfAnotherType) {
  const Value good = ToValue(FullVerdict(1));
  for (const auto& [member, value] : good.Find("rules")->list()[0].map()) {
    Value bad = good;
    Value::Map& rule = std::get<Value::Map>(
        std::get<Value::List>(std::get<Value::Map>(bad.data)["rules"].data)[0].data);
    rule[member] = true;
    EXPECT_FALSE(VerdictFromValue(bad).ok()) << member;
  }
  for (const auto& [member, value] : good.Find("overrides")->list()[0].map()) {
    Value bad = good;
    Value::Map& one = std::get<Value::Map>(
        std::get<Value::List>(std::get<Value::Map>(bad.data)["overrides"].data)[0].data);
    one[member] = true;
    EXPECT_FALSE(VerdictFromValue(bad).ok()) << member;
  }
}

}  // namespace
}  // namespace cd4ml::core
