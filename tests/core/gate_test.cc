// Model rules and drift: what passes, what fails, and what cannot be judged.
#include "cd4ml/core/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

using ::testing::HasSubstr;

Rule RuleOf(RuleBody body, bool blocks = true) { return {"rule", blocks, {}, std::move(body), {}}; }

Bounds AtMost(double max) { return {std::nullopt, max}; }
Bounds AtLeast(double min) { return {min, std::nullopt}; }

MetricRule Mae(Bounds bounds) {
  MetricRule metric;
  metric.metric = "mae";
  metric.value = bounds;
  return metric;
}

RuleResult Judge(const MetricRule& metric, const MetricSet& metrics, bool blocks = true) {
  return JudgeMetric(RuleOf(metric, blocks), metric, metrics);
}

MetricSet Overall(std::map<std::string, double> metrics, std::optional<int64_t> n = std::nullopt) {
  return {std::move(metrics), n, {}, 0};
}

TEST(FormatNumber, WritesNumbersAsPeopleDo) {
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(-0.0), "0");
  EXPECT_EQ(FormatNumber(2710.4), "2710.4");
  EXPECT_EQ(FormatNumber(2710.43729), "2710.44");
  EXPECT_EQ(FormatNumber(11111111), "11111111");
  EXPECT_EQ(FormatNumber(20000), "20000");
  EXPECT_EQ(FormatNumber(-0.25), "-0.25");
  EXPECT_EQ(FormatNumber(0.1234567), "0.123457");
  EXPECT_EQ(FormatNumber(0.00012345678), "0.000123457");
  EXPECT_EQ(FormatNumber(0.99999999), "1");
  EXPECT_EQ(FormatNumber(9.9999999), "10");
  EXPECT_EQ(FormatNumber(1e-9), "1e-09");
  EXPECT_EQ(FormatNumber(1e300), "1e+300");
  EXPECT_EQ(FormatNumber(std::nan("")), "NaN");
  EXPECT_EQ(FormatNumber(HUGE_VAL), "Infinity");
  EXPECT_EQ(FormatNumber(-HUGE_VAL), "-Infinity");
}

TEST(FormatBounds, NamesTheSidesThatBound) {
  EXPECT_EQ(FormatBounds(AtMost(1200), ""), "<= 1200");
  EXPECT_EQ(FormatBounds(AtLeast(20000), " rows"), ">= 20000 rows");
  EXPECT_EQ(FormatBounds({2.0, 8.0}, ""), "2 .. 8");
  EXPECT_EQ(FormatBounds({}, " rows"), "none");
  EXPECT_EQ(FormatBounds(AtLeast(1), " rows"), ">= 1 row");
  EXPECT_EQ(FormatBounds({0.0, 1.0}, " mismatches"), "0 .. 1 mismatch");
  EXPECT_EQ(FormatBounds(AtMost(1), " ms"), "<= 1 ms");
}

TEST(JudgeMetric, PassesAtTheBoundAndFailsBeyondIt) {
  EXPECT_EQ(Judge(Mae(AtMost(1200)), Overall({{"mae", 1200}})).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Mae(AtLeast(1200)), Overall({{"mae", 1200}})).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(Mae(AtLeast(1200)), Overall({{"mae", 1199}})).outcome, VerdictOutcome::kFail);

  const RuleResult result = Judge(Mae(AtMost(1200)), Overall({{"mae", 2710.4}}, 3120));
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.observed, "2710.4");
  EXPECT_EQ(result.bound, "<= 1200");
  EXPECT_EQ(result.observed_number, 2710.4);
  EXPECT_EQ(result.sample_size, 3120);
  EXPECT_EQ(result.form, "metric");
  EXPECT_EQ(result.message, "mae is 2710.4, must be <= 1200");
}

TEST(JudgeMetric, ShowsAllDigitsWhereRoundingWouldHideTheDifference) {
  EXPECT_EQ(Judge(Mae(AtMost(1200)), Overall({{"mae", 1200.0000001}})).observed, "1200.0000001");
}

TEST(JudgeMetric, OnlyWarnsWithoutBlocking) {
  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({{"mae", 2}}), /*blocks=*/false).outcome,
            VerdictOutcome::kWarn);
  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({{"mae", 0}}), /*blocks=*/false).outcome,
            VerdictOutcome::kPass);
}

TEST(JudgeMetric, BlocksWhenItCannotBeJudgedWhateverItsSeverity) {
  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({}), /*blocks=*/false).outcome, VerdictOutcome::kError);
  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({{"mae", NAN}}), /*blocks=*/false).outcome, VerdictOutcome::kError);
  EXPECT_EQ(Judge(Mae({}), Overall({{"mae", 1}}), /*blocks=*/false).outcome, VerdictOutcome::kError);
}

TEST(JudgeMetric, IsAnErrorForAMissingMetricAndNamesTheNearest) {
  const RuleResult near = Judge(Mae(AtMost(1)), Overall({{"mape", 1}, {"r2", 1}}));
  EXPECT_EQ(near.outcome, VerdictOutcome::kError);
  EXPECT_EQ(near.message, "there is no metric \"mae\"; did you mean \"mape\"?");

  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({{"accuracy", 1}, {"roc", 1}})).message,
            "there is no metric \"mae\"; there are: accuracy, roc");
  EXPECT_EQ(Judge(Mae(AtMost(1)), Overall({})).message,
            "there is no metric \"mae\"; there is none at all");
}

TEST(JudgeMetric, IsAnErrorForNumbersThatAreNone) {
  for (const double number : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const RuleResult result = Judge(Mae({-1.0, 1.0}), Overall({{"mae", number}}));
    EXPECT_EQ(result.outcome, VerdictOutcome::kError);
    EXPECT_THAT(result.message, HasSubstr(FormatNumber(number)));
    EXPECT_TRUE(result.observed_number.has_value());
  }
}

TEST(JudgeMetric, SaysHowManyPredictionsMadeAMetricNaN) {
  MetricSet metrics = Overall({{"mae", std::nan("")}});
  metrics.unusable_rows = 3;

  EXPECT_EQ(
      Judge(Mae(AtMost(1)), metrics).message,
      "mae is NaN, which cannot be compared; 3 rows of the predictions without a numeric truth or "
      "prediction");
}

TEST(JudgeMetric, SaysWhyAMetricIsNotDefined) {
  const auto why = [](const std::string& metric, std::vector<double> weights = {}) {
    MetricSet metrics = Overall({{metric, std::nan("")}});
    EXPECT_EQ(WhyNaN(metrics, metric), "") << "what the stage measured is not ours to explain";
    auto predictions = std::make_shared<Predictions>();
    predictions->weights = std::move(weights);
    metrics.predictions = predictions;
    return WhyNaN(metrics, metric);
  };
  EXPECT_EQ(why("auc"), "; all rows are of one class");
  EXPECT_EQ(why("mape"), "; a truth is 0");
  EXPECT_EQ(why("recall.vw"), "; no row has that label");
  EXPECT_EQ(why("mae", {0, 0}), "; all weights are 0");
  EXPECT_EQ(why("mae", {0, 1}), "");
}

TEST(JudgeMetric, IsAnErrorWithoutABoundAndWithTooFewRows) {
  EXPECT_EQ(Judge(Mae({}), Overall({{"mae", 1}})).outcome, VerdictOutcome::kError);

  MetricRule metric = Mae(AtMost(1));
  metric.min_samples = 100;
  EXPECT_EQ(Judge(metric, Overall({{"mae", 0.5}}, 99)).outcome, VerdictOutcome::kError);
  EXPECT_EQ(Judge(metric, Overall({{"mae", 0.5}}, 100)).outcome, VerdictOutcome::kPass);
}

MetricRule MaeByModel(double max) {
  MetricRule metric = Mae(AtMost(max));
  metric.slice = "model";
  return metric;
}

MetricSet ByModel(std::vector<SliceMetrics> slices) {
  return {{}, std::nullopt, {{"model", std::move(slices)}}, 0};
}

SliceMetrics Slice(std::string value, int64_t count, double mae) {
  return {std::move(value), count, {{"mae", mae}}};
}

TEST(JudgeSlices, FailsWhenOneSliceFailsAndShowsTheWorstFirst) {
  const RuleResult result =
      Judge(MaeByModel(0.25),
            ByModel({Slice("x5", 10, 0.3), Slice("golf", 20, 0.1), Slice("a4", 30, 0.9)}));

  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.subject, "mae by model");
  EXPECT_EQ(result.observed, "2 of 3 slices outside");
  EXPECT_EQ(result.bound, "<= 0.25 in every slice");
  EXPECT_EQ(result.observed_number, 2);
  EXPECT_EQ(result.sample_size, 60);
  EXPECT_EQ(result.rows, (std::vector<std::string>{"a4: 0.9 (n=30)", "x5: 0.3 (n=10)"}));
}

TEST(JudgeSlices, LetsTheAllowedShareFail) {
  std::vector<SliceMetrics> slices(60, Slice("good", 100, 0.1));
  for (int i = 0; i < 3; ++i) slices[static_cast<size_t>(i)] = Slice("bad", 100, 0.5);
  MetricRule metric = MaeByModel(0.25);
  metric.allow_failing = 0.05;
  EXPECT_EQ(Judge(metric, ByModel(slices)).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(metric, ByModel(slices)).bound, "<= 0.25 in 95% of the slices");

  slices[3] = Slice("bad", 100, 0.5);
  EXPECT_EQ(Judge(metric, ByModel(slices)).outcome, VerdictOutcome::kFail);
}

TEST(JudgeSlices, DoesNotJudgeSmallSlicesAndSaysSo) {
  MetricRule metric = MaeByModel(0.25);
  metric.min_samples = 100;

  const RuleResult result =
      Judge(metric, ByModel({Slice("x5", 99, std::nan("")), Slice("golf", 100, 0.1)}));

  EXPECT_EQ(result.outcome, VerdictOutcome::kPass);
  EXPECT_THAT(result.message, HasSubstr("1 value with fewer than 100 rows not judged"));
}

TEST(JudgeSlices, IsAnErrorWhenNoSliceCanBeJudged) {
  MetricRule metric = MaeByModel(0.25);
  metric.min_samples = 100;

  EXPECT_THAT(Judge(metric, ByModel({Slice("x5", 99, 0.1)})).message,
              HasSubstr("100 rows or more"));
  EXPECT_EQ(Judge(metric, ByModel({Slice("x5", 99, 0.1)})).outcome, VerdictOutcome::kError);
  EXPECT_EQ(Judge(metric, ByModel({})).outcome, VerdictOutcome::kError);
}

TEST(JudgeSlices, IsAnErrorForUnknownSliceMetricOrNaN) {
  EXPECT_THAT(Judge(MaeByModel(1), {{}, std::nullopt, {{"modell", {}}}, 0}).message,
              HasSubstr("did you mean \"modell\"?"));
  EXPECT_THAT(Judge(MaeByModel(1), ByModel({{"x5", 9, {{"mape", 1}}}})).message,
              HasSubstr("in model \"x5\""));

  const RuleResult nan =
      Judge(MaeByModel(1), ByModel({Slice("golf", 5, 0), Slice("x5", 9, std::nan(""))}));
  EXPECT_EQ(nan.outcome, VerdictOutcome::kError);
  EXPECT_EQ(nan.message, "\"mae\" is NaN in model \"x5\" (n=9)");
}

TEST(JudgeSlices, BoundsTheSampleOfFailingSlices) {
  const RuleResult result =
      Judge(MaeByModel(0.25), ByModel(std::vector<SliceMetrics>(50, Slice("x", 1, 1))));

  EXPECT_EQ(result.rows.size(), kOffendingRowsMax);
}

RuleResult JudgeExpression(std::string expression, const MetricSet& metrics, bool blocks = true) {
  const CheckRule check{std::move(expression)};
  return JudgeCheck(RuleOf(check, blocks), check, metrics);
}

TEST(JudgeCheck, ShowsTheValueOfEveryNameInIt) {
  const MetricSet metrics = Overall({{"r2.train", 0.99}, {"r2", 0.7}}, 12);
  EXPECT_EQ(JudgeExpression("r2.train - r2 <= 0.5", metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(JudgeExpression("r2.train - r2 <= 0.15", metrics, /*blocks=*/false).outcome,
            VerdictOutcome::kWarn);

  const RuleResult result = JudgeExpression("r2.train - r2 <= 0.15", metrics);
  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.observed, "r2 = 0.7, r2.train = 0.99");
  EXPECT_EQ(result.message, "\"r2.train - r2 <= 0.15\" is false with r2 = 0.7, r2.train = 0.99");
  EXPECT_EQ(result.sample_size, 12);
}

TEST(JudgeCheck, KnowsAbsMinAndMax) {
  const MetricSet metrics = Overall({{"bias", -30}, {"mae", 5}});
  EXPECT_EQ(JudgeExpression("abs(bias) <= 30", metrics).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(JudgeExpression("max(bias, mae) == 5 and min(bias, mae, 0) == -30", metrics).outcome,
            VerdictOutcome::kPass);
  EXPECT_EQ(JudgeExpression("abs(bias, mae) <= 30", metrics).outcome, VerdictOutcome::kError);
  EXPECT_EQ(JudgeExpression("sqrt(mae) <= 30", metrics).outcome, VerdictOutcome::kError);
}

TEST(JudgeCheck, IsAnErrorWhenItCannotBeJudged) {
  EXPECT_EQ(JudgeExpression("true", {}).outcome, VerdictOutcome::kError) << "it names no metric";
  EXPECT_EQ(JudgeExpression("1 < 2", {}).outcome, VerdictOutcome::kError);
  const MetricSet metrics = Overall({{"mae", 5}, {"r2", std::nan("")}});
  EXPECT_THAT(JudgeExpression("maee < 3", metrics).message, HasSubstr("did you mean \"mae\"?"));
  EXPECT_THAT(JudgeExpression("r2 > 0 or mae < 9", metrics).message, HasSubstr("\"r2\" is NaN"));
  EXPECT_THAT(JudgeExpression("mae + 1", metrics).message, HasSubstr("not true or false"));
  for (const char* expression :
       {"maee < 3", "r2 > 0", "r2 != r2", "mae + 1", "mae <", "", "mae / 0 < 1", "mae < 'x'"}) {
    EXPECT_EQ(JudgeExpression(expression, metrics).outcome, VerdictOutcome::kError) << expression;
  }
}

ColumnProfile Column(std::vector<int64_t> counts) {
  ColumnProfile column;
  column.numeric = true;
  column.edges = {10, 20};
  for (const int64_t count : counts) column.rows += count;
  column.counts = std::move(counts);
  return column;
}

class JudgeDriftTest : public ::testing::Test {
 protected:
  RuleResult Judge(const TableProfile* reference, int64_t n = 300, bool blocks = true) const {
    return JudgeDrift(RuleOf(drift_, blocks), drift_, reference, "cars/7", current_, n);
  }

  DriftRule drift_{"clean", {"price", "age"}, "champion.train_data", DriftMeasure::kPsi, 0.25, 0, FirstTime::kPass};
  TableProfile reference_{300,
                          {{"price", Column({100, 100, 100})}, {"age", Column({100, 100, 100})}}};
  std::map<std::string, ColumnProfile> current_{{"price", Column({100, 100, 100})},
                                                {"age", Column({10, 90, 200})}};
};

TEST_F(JudgeDriftTest, IsDecidedByTheWorstColumn) {
  const RuleResult result = Judge(&reference_);

  EXPECT_EQ(result.outcome, VerdictOutcome::kFail);
  EXPECT_EQ(result.subject, "clean.age");
  EXPECT_EQ(result.baseline, "cars/7");
  EXPECT_EQ(result.bound, "psi <= 0.25");
  EXPECT_EQ(result.sample_size, 300);
  EXPECT_GT(*result.observed_number, 0.25);
  ASSERT_EQ(result.rows.size(), 1u);
  EXPECT_THAT(result.rows[0], HasSubstr("age: psi "));
  EXPECT_EQ(Judge(&reference_, 300, /*blocks=*/false).outcome, VerdictOutcome::kWarn);
}

TEST_F(JudgeDriftTest, PassesWhileNoColumnMovesTooFar) {
  drift_.max = 1;

  const RuleResult result = Judge(&reference_);

  EXPECT_EQ(result.outcome, VerdictOutcome::kPass);
  EXPECT_TRUE(result.rows.empty());
  EXPECT_THAT(result.message, HasSubstr("\"age\" moved most"));
}

TEST_F(JudgeDriftTest, FollowsFirstWhileThereIsNoBaseline) {
  EXPECT_EQ(Judge(nullptr).outcome, VerdictOutcome::kPass);
  EXPECT_EQ(Judge(nullptr).message,
            "there is no champion.train_data to compare with yet (first: pass)");

  drift_.first = FirstTime::kFail;
  EXPECT_EQ(Judge(nullptr).outcome, VerdictOutcome::kFail);
  EXPECT_EQ(Judge(nullptr, 300, /*blocks=*/false).outcome, VerdictOutcome::kWarn);
}

TEST_F(JudgeDriftTest, WithholdsTheVerdictOnTooFewRows) {
  drift_.min_samples = 301;

  EXPECT_EQ(Judge(&reference_).outcome, VerdictOutcome::kPass);
  EXPECT_THAT(Judge(&reference_).message,
              HasSubstr("no verdict on drift: 300 rows where 301 are needed"));
}

TEST_F(JudgeDriftTest, WithholdsTheVerdictOnTooFewRowsOfTheBaseline) {
  drift_.min_samples = 300;
  reference_.rows = 299;

  EXPECT_EQ(Judge(&reference_).outcome, VerdictOutcome::kPass);
  EXPECT_THAT(Judge(&reference_).message, HasSubstr("299 rows in the baseline where 300 are needed"));
}

TEST_F(JudgeDriftTest, IsAnErrorForUnknownColumnsEmptyOnesAndOtherForms) {
  drift_.columns = {"pric"};
  EXPECT_THAT(Judge(&reference_).message, HasSubstr("did you mean \"price\"?"));
  drift_.columns = {"price"};
  current_["price"] = Column({0, 0, 0});
  EXPECT_THAT(Judge(&reference_).message, HasSubstr("has no rows"));
  current_["price"] = Column({1, 2});
  EXPECT_THAT(Judge(&reference_).message, HasSubstr("not counted like"));
  current_.clear();
  EXPECT_EQ(Judge(&reference_).outcome, VerdictOutcome::kError);
  drift_.columns = {};
  EXPECT_EQ(Judge(&reference_).outcome, VerdictOutcome::kError);
}

TEST(SegmentsOfTables, SaysOfWhichTableOnlyWhereThereAreSeveral) {
  EXPECT_EQ(SegmentsOfTables({}), std::vector<std::string>());
  EXPECT_EQ(SegmentsOfTables({{"clean", {"bmw/x5", "vw/golf"}}}), (std::vector<std::string>{"bmw/x5", "vw/golf"}));
  EXPECT_EQ(SegmentsOfTables({{"sold", {"vw"}}, {"clean", {"bmw/x5"}}}), (std::vector<std::string>{"clean: bmw/x5", "sold: vw"}));
  EXPECT_EQ(SegmentsOfTables({{"sold", {"vw"}}, {"clean", {}}}), std::vector<std::string>{"sold: vw"}) << "none of the other qualifies";
}

TEST(JudgeNumber, CarriesTheUnit) {
  const Rule rule = RuleOf(RowsRule{"clean", AtLeast(20000)});

  const RuleResult result = JudgeNumber(rule, "clean", 18204, " rows", AtLeast(20000), 18204);

  EXPECT_EQ(result.form, "rows");
  EXPECT_EQ(result.observed, "18204 rows");
  EXPECT_EQ(result.bound, ">= 20000 rows");
  EXPECT_EQ(result.message, "clean is 18204 rows, must be >= 20000 rows");
}

}  // namespace
}  // namespace cd4ml::core
