// From breaches to retrains, and what holds them back.
#include "cd4ml/core/monitor.h"

#include <gtest/gtest.h>

namespace cd4ml::core {
namespace {

constexpr UtcTime kNow{10'000'000'000};
constexpr Duration kHour{3'600'000};

MonitorSpec Spec() {
  CheckSpec check;
  check.name = "input-drift";
  check.rule = DriftRule{.of = "", .columns = {"age"}, .versus = "train_data", .max = 0.25, .min_samples = 10};
  MonitorSpec spec;
  spec.every = Duration(60'000);
  spec.checks = {check};
  spec.retrain = RetrainSpec{.checks = {}, .lane = "production", .params = {}, .cooldown = kHour, .max_per_week = 3,
                             .give_up_after = 2};
  return spec;
}

Verdict Judged(VerdictOutcome outcome, int64_t samples = 100) {
  RuleResult rule;
  rule.name = "input-drift";
  rule.outcome = outcome;
  rule.message = "psi(age) 0.61, must be <= 0.25";
  rule.sample_size = samples;
  return Conclude({rule});
}

TEST(DecideMonitor, ABreachRetrains) {
  const MonitorDecision decision = DecideMonitor({}, Spec(), Judged(VerdictOutcome::kFail), false, kNow);

  EXPECT_TRUE(decision.retrain);
  EXPECT_EQ(decision.breach, "input-drift: psi(age) 0.61, must be <= 0.25");
  EXPECT_EQ(decision.next.next_check, kNow + Duration(60'000));
  EXPECT_EQ(decision.next.checks, 1);
}

TEST(DecideMonitor, APassDoesNot) {
  EXPECT_FALSE(DecideMonitor({}, Spec(), Judged(VerdictOutcome::kPass), false, kNow).retrain);
}

TEST(DecideMonitor, TooFewSamplesAreSaid) {
  const MonitorDecision decision = DecideMonitor({}, Spec(), Judged(VerdictOutcome::kPass, 5), false, kNow);

  EXPECT_FALSE(decision.retrain);
  EXPECT_NE(decision.held_back, "");
  EXPECT_EQ(DecideMonitor({}, Spec(), Judged(VerdictOutcome::kPass, 50), false, kNow).held_back, "");
}

TEST(DecideMonitor, AnErrorIsNoBreach) {
  const MonitorDecision decision = DecideMonitor({}, Spec(), Judged(VerdictOutcome::kError), false, kNow);

  EXPECT_FALSE(decision.retrain);
  EXPECT_EQ(decision.breach, "");
}

TEST(DecideMonitor, ConsecutiveBreachesAreCounted) {
  MonitorSpec spec = Spec();
  spec.checks[0].consecutive = 2;

  const MonitorDecision first = DecideMonitor({}, spec, Judged(VerdictOutcome::kFail), false, kNow);
  EXPECT_FALSE(first.retrain);
  const MonitorDecision passed = DecideMonitor(first.next, spec, Judged(VerdictOutcome::kPass), false, kNow);
  EXPECT_EQ(passed.next.broken.at("input-drift"), 0);
  const MonitorDecision second = DecideMonitor(first.next, spec, Judged(VerdictOutcome::kFail), false, kNow);

  EXPECT_TRUE(second.retrain);
}

TEST(DecideMonitor, OneRetrainAtATimeAndACoolDown) {
  const MonitorDecision busy = DecideMonitor({}, Spec(), Judged(VerdictOutcome::kFail), true, kNow);
  EXPECT_FALSE(busy.retrain);
  EXPECT_NE(busy.held_back.find("going on"), std::string::npos);

  const MonitorDecision first = DecideMonitor({}, Spec(), Judged(VerdictOutcome::kFail), false, kNow);
  const MonitorDecision soon =
      DecideMonitor(first.next, Spec(), Judged(VerdictOutcome::kFail), false, kNow + Duration(1'000));
  EXPECT_FALSE(soon.retrain);
  EXPECT_NE(soon.held_back.find("cooling down"), std::string::npos);
  EXPECT_TRUE(DecideMonitor(first.next, Spec(), Judged(VerdictOutcome::kFail), false, kNow + kHour).retrain);
}

TEST(DecideMonitor, GivesUpAfterRetrainsThatDoNotHelpAndRecoversWithEvidence) {
  MonitorState state;
  UtcTime now = kNow;
  for (int i = 0; i < 2; ++i) {
    const MonitorDecision decision = DecideMonitor(state, Spec(), Judged(VerdictOutcome::kFail), false, now);
    ASSERT_TRUE(decision.retrain) << i;
    state = decision.next;
    now = now + kHour;
  }

  const MonitorDecision third = DecideMonitor(state, Spec(), Judged(VerdictOutcome::kFail), false, now);
  EXPECT_FALSE(third.retrain);
  EXPECT_NE(third.held_back.find("gave up"), std::string::npos);
  // A quiet window says nothing; one with enough samples does.
  EXPECT_TRUE(DecideMonitor(state, Spec(), Judged(VerdictOutcome::kPass, 5), false, now).next.given_up);
  EXPECT_FALSE(DecideMonitor(state, Spec(), Judged(VerdictOutcome::kPass, 50), false, now).next.given_up);
}

TEST(DecideMonitor, NoMoreThanAllowedPerWeek) {
  MonitorSpec spec = Spec();
  spec.retrain->give_up_after = 0;
  spec.retrain->cooldown = Duration(0);
  MonitorState state;
  for (int i = 0; i < 3; ++i) {
    state = DecideMonitor(state, spec, Judged(VerdictOutcome::kFail), false, kNow).next;
  }

  EXPECT_FALSE(DecideMonitor(state, spec, Judged(VerdictOutcome::kFail), false, kNow + kHour).retrain);
  EXPECT_TRUE(
      DecideMonitor(state, spec, Judged(VerdictOutcome::kFail), false, kNow + Duration(7 * 24 * kHour.count())).retrain);
}

TEST(JudgeWindow, DriftOfOneColumnBreaksTheCheck) {
  ColumnProfile young{.numeric = true, .rows = 100, .nulls = 0, .edges = {5, 10}, .counts = {80, 10, 10}};
  ColumnProfile old = young;
  old.counts = {10, 10, 80};
  MonitorReference reference;
  reference.profile.rows = 100;
  reference.profile.columns["age"] = young;
  MonitorWindow window;
  window.requests = 100;
  window.columns["age"] = old;

  const Verdict moved = JudgeWindow(Spec(), window, reference);
  window.columns["age"] = young;
  const Verdict same = JudgeWindow(Spec(), window, reference);

  EXPECT_EQ(moved.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(same.outcome, VerdictOutcome::kPass);
}

}  // namespace
}  // namespace cd4ml::core
