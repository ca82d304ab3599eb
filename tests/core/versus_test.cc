// Rules against a champion, a recorded baseline, and across slices: what passes, what fails, what cannot be judged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/core/bootstrap.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Rule RuleOf(RuleBody body, bool blocks = true) {
  Rule rule;
  rule.name = "rule";
  rule.blocks = blocks;
  rule.body = std::move(body);
  return rule;
}

MetricRule Versus(const std::string& metric, Allowance worse_by, std::optional<double> confidence = std::nullopt,
                  const std::string& versus = "champion") {
  MetricRule rule;
  rule.metric = metric;
  rule.versus = versus;
  rule.worse_by = worse_by;
  rule.confidence = confidence;
  return rule;
}

RuleResult Judge(const MetricRule& metric, const MetricSet& metrics, bool blocks = true) {
  return JudgeMetric(RuleOf(metric, blocks), metric, metrics);
}

// Rows of the slices "golf" (even) and "x5" (odd), whose truth is 1000 and whose errors are noise around a size.
struct Errors {
  double golf, x5;
};

std::shared_ptr<Predictions> MakePredictions(size_t rows, Errors candidate, Errors champion, uint64_t seed = 1,
                                             double own_noise = 1) {
  auto predictions = std::make_shared<Predictions>();
  predictions->rows = rows;
  predictions->champion.emplace();
  SliceColumn models{"model", {"golf", "x5"}, {}};
  Random random(seed);
  const auto noise = [&random] { return static_cast<double>(random.Below(2001)) / 1000 - 1; };
  for (size_t i = 0; i < rows; ++i) {
    const double common = 20 * noise();
    predictions->truth.push_back(1000);
    predictions->candidate.numbers.push_back(1000 + (i % 2 ? candidate.x5 : candidate.golf) + common + own_noise * noise());
    predictions->champion->numbers.push_back(1000 + (i % 2 ? champion.x5 : champion.golf) + common + own_noise * noise());
    models.of_row.push_back(static_cast<uint32_t>(i % 2));
  }
  predictions->slices.push_back(std::move(models));
  return predictions;
}

MetricSet Measured(std::shared_ptr<const Predictions> predictions) {
  MetricSet metrics = MeasurePredictions(std::move(predictions));
  metrics.champion = "shop/3/release";
  return metrics;
}

TEST(JudgeVersus, ComparesPlainNumbersWithoutConfidence) {
  const MetricSet metrics = Measured(MakePredictions(200, {110, 110}, {100, 100}, 1, 0));

  EXPECT_EQ(Judge(Versus("mae", {.abs = 10}), metrics).outcome, VerdictOutcome::kPass);
  const RuleResult result = Judge(Versus("mae", {.abs = 9}), metrics);
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.baseline, "shop/3/release");
  EXPECT_EQ(result.sample_size, 200);
  EXPECT_NEAR(*result.observed_number - *result.baseline_number, 10, 1e-9);
  EXPECT_FALSE(result.interval.has_value());
  EXPECT_THAT(result.observed, HasSubstr(", 10 worse"));
  EXPECT_THAT(result.bound, HasSubstr("at most 9 worse than"));
  EXPECT_EQ(Judge(Versus("mae", {.abs = 9}), metrics, /*blocks=*/false).outcome, VerdictOutcome::kWarn);
}

TEST(JudgeVersus, LetsTheLargerAllowanceHold) {
  const MetricSet metrics = Measured(MakePredictions(200, {110, 110}, {100, 100}, 1, 0));

  EXPECT_EQ(Judge(Versus("mae", {.abs = 1, .rel = 0.2}), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Versus("mae", {.abs = 20, .rel = 0.01}), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Versus("mae", {.abs = 1, .rel = 0.01}), metrics).outcome, VerdictOutcome::kFail);
}

TEST(JudgeVersus, KnowsWhichWayIsBetter) {
  MetricSet metrics;
  metrics.overall = {{"r2", 0.78}, {"mae", 90}, {"score", 3}, {"bias", 1}};
  metrics.baselines["last_passed"] = {"shop/2", {{"r2", 0.8}, {"mae", 100}, {"score", 4}, {"bias", 2}}};

  EXPECT_EQ(Judge(Versus("r2", {.abs = 0.01}, {}, "last_passed"), metrics).outcome, VerdictOutcome::kFail);
  EXPECT_EQ(Judge(Versus("r2", {.abs = 0.02}, {}, "last_passed"), metrics).outcome, VerdictOutcome::kPass)
      << "0.8 - 0.78 is 0.02 but for rounding";
  EXPECT_EQ(Judge(Versus("mae", {.abs = 0}, {}, "last_passed"), metrics).outcome, VerdictOutcome::kPass);
  const RuleResult nobody = Judge(Versus("score", {.abs = 0}, {}, "last_passed"), metrics);
  EXPECT_EQ(nobody.outcome, VerdictOutcome::kError);
  EXPECT_THAT(nobody.message, HasSubstr("say it in goals"));
  metrics.goals = {{"score", false}, {"mae", true}};
  EXPECT_EQ(Judge(Versus("score", {.abs = 0}, {}, "last_passed"), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Versus("mae", {.abs = 0}, {}, "last_passed"), metrics).outcome, VerdictOutcome::kFail) << "goals count more";
}

// Twenty candidates that are as good as the champion: about half have the smaller error by luck, and few may be called better.
TEST(JudgeVersus, DoesNotCallALuckyModelBetter) {
  int lucky = 0, called = 0, shown = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const MetricSet metrics = Measured(MakePredictions(500, {0, 0}, {0, 0}, seed, 5));
    if (metrics.overall.at("mae") >= metrics.of_champion->overall.at("mae")) continue;
    ++lucky;
    EXPECT_EQ(Judge(Versus("mae", {.rel = 0}), metrics).outcome, VerdictOutcome::kPass) << "by the plain numbers it is";
    const RuleResult result = Judge(Versus("mae", {.rel = 0}, 0.95), metrics);
    ASSERT_TRUE(result.interval.has_value());
    EXPECT_EQ(result.confidence, 0.95);
    called += result.outcome == VerdictOutcome::kPass;
    shown += result.message.find("neither better nor worse can be shown") != std::string::npos;
  }
  EXPECT_GE(lucky, 10);
  EXPECT_LE(called, 4) << "of " << lucky;
  EXPECT_EQ(called + shown, lucky);
}

TEST(JudgeVersus, CallsAModelBetterThatIs) {
  const RuleResult result = Judge(Versus("mae", {.rel = 0}, 0.95), Measured(MakePredictions(500, {97, 97}, {100, 100})));
  EXPECT_EQ(result.outcome, VerdictOutcome::kPass);
  EXPECT_LT(result.interval->high, 0);
  EXPECT_THAT(result.message, HasSubstr("; it is better"));
  EXPECT_THAT(result.bound, HasSubstr("at most 0 worse than"));
  EXPECT_THAT(result.bound, HasSubstr("at 95% confidence"));
}

TEST(JudgeVersus, RefusesAModelThatIsWorse) {
  const MetricSet metrics = Measured(MakePredictions(500, {103, 103}, {100, 100}));
  const RuleResult result = Judge(Versus("mae", {.abs = 2}, 0.95), metrics);
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_GT(result.interval->low, 0);
  EXPECT_THAT(result.message, HasSubstr("; it is worse"));
  EXPECT_EQ(Judge(Versus("mae", {.abs = 4}, 0.95), metrics).outcome, VerdictOutcome::kPass) << "by no more than allowed";
  EXPECT_EQ(Judge(Versus("mae", {.abs = 3}, 0.95), metrics).outcome, VerdictOutcome::kFail)
      << "as large as the difference itself: it may well be more";
}

TEST(JudgeVersus, AsksForAnImprovementWithANegativeAllowance) {
  const MetricSet metrics = Measured(MakePredictions(500, {90, 90}, {100, 100}));
  EXPECT_EQ(Judge(Versus("mae", {.rel = -0.05}, 0.95), metrics).outcome, VerdictOutcome::kPass);
  const RuleResult result = Judge(Versus("mae", {.rel = -0.2}, 0.95), metrics);
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_THAT(result.bound, HasSubstr("at least"));
}

TEST(JudgeVersus, LetsTheSameModelPass) {
  auto predictions = MakePredictions(500, {100, 100}, {100, 100});
  predictions->champion->numbers = predictions->candidate.numbers;
  const RuleResult result = Judge(Versus("mae", {.rel = 0}, 0.95), Measured(predictions));
  EXPECT_EQ(result.outcome, VerdictOutcome::kPass);
  EXPECT_EQ(result.interval, (Interval{0, 0}));
}

TEST(JudgeVersus, PassesOrFailsTheFirstTimeAsTheRuleSays) {
  MetricSet metrics = MeasurePredictions(MakePredictions(100, {1, 1}, {1, 1}));
  MetricRule rule = Versus("mae", {.rel = 0}, 0.95);
  EXPECT_EQ(Judge(rule, metrics).outcome, VerdictOutcome::kPass);
  EXPECT_THAT(Judge(rule, metrics).message, HasSubstr("there is no champion to compare with yet (first: pass)"));
  rule.first = FirstTime::kFail;
  EXPECT_EQ(Judge(rule, metrics).outcome, VerdictOutcome::kFail);
  rule = Versus("mae", {.rel = 0}, {}, "run:shop/7");
  EXPECT_EQ(Judge(rule, metrics).outcome, VerdictOutcome::kPass);
}

TEST(JudgeVersus, IsAnErrorWhenTheChampionCannotBeCompared) {
  auto predictions = MakePredictions(100, {1, 1}, {1, 1});
  predictions->champion.reset();
  predictions->incomparable = "the champion has no answer in 3 of 100 rows (column \"c\")";
  const RuleResult result = Judge(Versus("mae", {.rel = 0}, 0.95), Measured(predictions));
  EXPECT_EQ(result.outcome, VerdictOutcome::kError);
  EXPECT_EQ(result.observed, "incomparable");
  EXPECT_THAT(result.message, HasSubstr("no answer in 3 of 100 rows"));

  MetricSet recorded;
  recorded.overall = {{"mae", 3}};
  recorded.baselines["last_passed"] = {"shop/2", {{"rmse", 4}}};
  EXPECT_EQ(Judge(Versus("mae", {.rel = 0}, {}, "last_passed"), recorded).observed, "incomparable");
}

TEST(JudgeVersus, IsAnErrorForNumbersThatAreNoneOrTooFew) {
  auto predictions = MakePredictions(100, {1, 1}, {1, 1});
  predictions->candidate.numbers[5] = kNoNumber;
  EXPECT_THAT(Judge(Versus("mae", {.rel = 0}), Measured(predictions)).message, HasSubstr("\"mae\" is NaN"));
  EXPECT_EQ(Judge(Versus("mae", {.rel = 0}), Measured(predictions)).outcome, VerdictOutcome::kError);
  const RuleResult few = Judge(Versus("mae", {.rel = 0}, 0.95), Measured(MakePredictions(29, {1, 1}, {9, 9})));
  EXPECT_EQ(few.outcome, VerdictOutcome::kError);
  EXPECT_THAT(few.message, HasSubstr("only 29 where 30 are needed"));
  EXPECT_THAT(Judge(Versus("maee", {.rel = 0}), [] {
                MetricSet set = Measured(MakePredictions(100, {1, 1}, {1, 1}));
                set.goals["maee"] = false;
                return set;
              }()).message, HasSubstr("there is no metric \"maee\"; did you mean \"mae\"?"));
}

// The example: better overall, worse for one car model, and the file says that no model may lose.
TEST(JudgeVersus, FindsTheOneSliceThatLoses) {
  const MetricSet metrics = Measured(MakePredictions(2000, {60, 120}, {100, 100}));
  EXPECT_EQ(Judge(Versus("mae", {.rel = 0}, 0.95), metrics).outcome, VerdictOutcome::kPass) << "better overall";

  for (const std::optional<double> confidence : {std::optional<double>(), std::optional(0.95)}) {
    MetricRule rule = Versus("mae", {.rel = 0}, confidence);
    rule.slice = "model";
    rule.min_samples = 100;
    const RuleResult result = Judge(rule, metrics);
    EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
    EXPECT_EQ(result.observed, "1 of 2 slices worse");
    ASSERT_EQ(result.rows.size(), 1u);
    EXPECT_THAT(result.rows[0], HasSubstr("x5: "));
    EXPECT_THAT(result.rows[0], HasSubstr("(n=1000)"));
    EXPECT_EQ(result.baseline, "shop/3/release");
    rule.allow_failing = 0.5;
    EXPECT_EQ(Judge(rule, metrics).outcome, VerdictOutcome::kPass);
    rule.min_samples = 1001;
    EXPECT_EQ(Judge(rule, metrics).outcome, VerdictOutcome::kError) << "no slice is large enough";
  }
}

TEST(JudgeVersus, ComparesMetricsThatAreOnlyComputedWhenAskedFor) {
  auto predictions = std::make_shared<Predictions>();
  predictions->task = PredictionTask::kRanking;
  predictions->champion.emplace();
  SliceColumn kinds{"kind", {"a", "b"}, {}};
  Random random(3);
  for (uint32_t i = 0; i < 2000; ++i) {
    const double relevant = random.Below(2);
    predictions->truth.push_back(relevant);
    predictions->candidate.numbers.push_back(relevant + random.Below(3));
    predictions->champion->numbers.push_back(random.Below(3));
    predictions->groups.push_back(i / 10);
    kinds.of_row.push_back(i / 10 % 2);
  }
  predictions->rows = 2000;
  predictions->slices.push_back(kinds);
  MetricRule rule = Versus("ndcg@7", {.abs = 0}, 0.95);
  EXPECT_EQ(Judge(rule, Measured(predictions)).outcome, VerdictOutcome::kPass);
  rule.slice = "kind";
  EXPECT_EQ(Judge(rule, Measured(predictions)).outcome, VerdictOutcome::kPass);
  rule.confidence.reset();
  rule.worse_by = {.abs = -0.02};
  EXPECT_EQ(Judge(rule, Measured(predictions)).outcome, VerdictOutcome::kPass) << "better than the champion's, not its own";
  rule.worse_by = {.abs = -0.5};
  const RuleResult result = Judge(rule, Measured(predictions));
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.observed, "2 of 2 slices worse");
}

TEST(JudgeVersus, TakesTheRecordedNumberOfWhatTheStageMeasuredItself) {
  MetricSet metrics = Measured(MakePredictions(100, {1, 1}, {1, 1}));
  metrics.overall["revenue"] = 5;
  metrics.goals["revenue"] = true;
  metrics.baselines["champion"] = {"shop/3", {{"revenue", 6}}};
  EXPECT_EQ(Judge(Versus("revenue", {.abs = 0}), metrics).outcome, VerdictOutcome::kFail);
  EXPECT_EQ(Judge(Versus("revenue", {.abs = 1}), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Versus("revenue", {.abs = 1}, 0.95), metrics).outcome, VerdictOutcome::kError) << "one number has no interval";
}

// --- fairness ---

MetricSet Sellers(std::map<std::string, std::pair<double, int64_t>> by_seller) {
  MetricSet metrics;
  for (const auto& [seller, value] : by_seller)
    metrics.slices["seller"].push_back({seller, value.second, {{"recall", value.first}}});
  return metrics;
}

RuleResult Judge(const FairnessRule& fairness, const MetricSet& metrics, bool blocks = true) {
  return JudgeFairness(RuleOf(fairness, blocks), fairness, metrics);
}

FairnessRule Fair(std::optional<double> difference, std::optional<double> ratio, int64_t min_samples = 0) {
  return {"seller", "recall", difference, ratio, min_samples};
}

TEST(JudgeFairness, BoundsDifferenceAndRatio) {
  const MetricSet metrics = Sellers({{"dealer", {0.50, 400}}, {"private", {0.40, 300}}, {"other", {0.45, 20}}});
  const RuleResult result = Judge(Fair(0.09, std::nullopt), metrics);
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.observed, "difference 0.1");
  EXPECT_EQ(result.bound, "difference <= 0.09");
  EXPECT_EQ(result.sample_size, 720);
  EXPECT_THAT(result.rows, ElementsAre("private: 0.4 (n=300)", "other: 0.45 (n=20)", "dealer: 0.5 (n=400)"));
  EXPECT_EQ(Judge(Fair(0.1, std::nullopt), metrics).outcome, VerdictOutcome::kPass) << "0.5 - 0.4 is 0.1 but for rounding";
  EXPECT_EQ(Judge(Fair(std::nullopt, 0.8), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Fair(std::nullopt, 0.81), metrics).outcome, VerdictOutcome::kFail);
  EXPECT_EQ(Judge(Fair(0.2, 0.81), metrics).outcome, VerdictOutcome::kFail) << "both must hold";
  EXPECT_EQ(Judge(Fair(0.09, std::nullopt), metrics, /*blocks=*/false).outcome, VerdictOutcome::kWarn);
}

TEST(JudgeFairness, LeavesSmallSlicesOut) {
  const MetricSet metrics = Sellers({{"dealer", {0.5, 400}}, {"private", {0.49, 300}}, {"other", {0, 2}}});
  EXPECT_EQ(Judge(Fair(0.05, std::nullopt), metrics).outcome, VerdictOutcome::kFail);
  EXPECT_EQ(Judge(Fair(0.05, std::nullopt, 100), metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Fair(0.05, std::nullopt, 350), metrics).outcome, VerdictOutcome::kError) << "one slice is no comparison";
}

TEST(JudgeFairness, IsAnErrorWithoutNumbersOrSlices) {
  EXPECT_EQ(Judge(Fair(1, std::nullopt), Sellers({{"a", {std::nan(""), 5}}, {"b", {0, 5}}})).outcome, VerdictOutcome::kError);
  EXPECT_EQ(Judge(Fair(1, std::nullopt), {}).outcome, VerdictOutcome::kError);
  FairnessRule other = Fair(1, std::nullopt);
  other.metric = "recal";
  EXPECT_THAT(Judge(other, Sellers({{"a", {0, 5}}, {"b", {0, 5}}})).message, HasSubstr("did you mean \"recall\"?"));
  EXPECT_THAT(Judge(Fair(std::nullopt, 0.8), Sellers({{"a", {-1, 5}}, {"b", {1, 5}}})).message, HasSubstr("use max_difference"));
  EXPECT_EQ(Judge(Fair(std::nullopt, 0.8), Sellers({{"a", {0, 5}}, {"b", {0, 5}}})).outcome, VerdictOutcome::kPass)
      << "nobody gets anything: that is alike";
}

// Equal opportunity, from predictions: a model that finds half of the good ones of one group.
TEST(JudgeFairness, JudgesEqualOpportunityAndCalibrationFromPredictions) {
  auto predictions = std::make_shared<Predictions>();
  predictions->task = PredictionTask::kClassification;
  predictions->labels = {"0", "1"};
  predictions->positive = 1;
  SliceColumn sellers{"seller", {"dealer", "private"}, {}};
  for (int i = 0; i < 400; ++i) {
    const bool is_private = i % 2 == 1, is_good = i % 4 < 2;
    predictions->truth_labels.push_back(is_good);
    predictions->candidate.labels.push_back(is_good && !(is_private && i % 8 < 4));
    predictions->candidate.scores.push_back(is_private ? 0.9 : 0.5);
    sellers.of_row.push_back(is_private);
  }
  predictions->rows = 400;
  predictions->slices.push_back(sellers);
  const MetricSet metrics = MeasurePredictions(predictions);
  EXPECT_EQ(Judge(Fair(0.1, std::nullopt), metrics).observed, "difference 0.5");
  FairnessRule calibration = Fair(0.1, std::nullopt);
  calibration.metric = "calibration_error";
  EXPECT_EQ(Judge(calibration, metrics).outcome, VerdictOutcome::kFail);
  FairnessRule parity = Fair(std::nullopt, 0.8);
  parity.metric = "positive_rate";
  EXPECT_EQ(Judge(parity, metrics).observed, "ratio 0.5");
}

}  // namespace
}  // namespace cd4ml::core
