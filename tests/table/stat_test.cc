// Statistics, also of a window against the rest and against a baseline; how fresh data is; how balanced a label is.
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::Allowance;
using core::RuleResult;
using core::Statistic;
using core::StatRule;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Duration kDay{86'400'000};

class Stat : public TableTest {
 protected:
  static StatRule Of(Statistic stat, core::Bounds bounds) {
    return {.of = "t", .stat = stat, .column = "price", .value = bounds};
  }
  // The rule of the language's example: has the price moved within the last two days?
  static StatRule Lately(Allowance allowance = {.abs = std::nullopt, .rel = 0.2}) {
    return {.of = "t", .stat = Statistic::kMedian, .column = "price", .window_column = "seen", .window_last = 2 * kDay,
            .versus = "rest", .max_change = allowance};
  }
  // Ten days with three prices a day, around 100 and then, from day `from` on, around `moved`.
  void Days(int from, int moved, const std::string& more = "") {
    std::string text = "seen,price,brand\n";
    for (int day = 1; day <= 10; ++day) {
      for (int i = -1; i <= 1; ++i) {
        text += "2016-03-" + std::to_string(10 + day) + "," + std::to_string((day >= from ? moved : 100) + i) + ",bmw\n";
      }
    }
    Table(text + more);
  }
};

TEST_F(Stat, IsWhatPandasSays) {
  // pandas.Series([4, 1, 3, 2, 10, 10]) with quantiles by linear interpolation.
  Table("price,id\n4,1\n1,2\n,3\n3,4\n2,5\n10,6\nabc,7\n10,8\n");
  const auto at = [&](Statistic stat, double value) {
    const RuleResult result = Judge(Of(stat, {value - 1e-9, value + 1e-9}));
    EXPECT_EQ(result.outcome, kPass) << result.message;
    EXPECT_NEAR(*result.observed_number, value, 1e-12);
    return result.sample_size;
  };
  EXPECT_EQ(at(Statistic::kCount, 7), 8);
  EXPECT_EQ(at(Statistic::kNulls, 1.0 / 8), 8);
  EXPECT_EQ(at(Statistic::kDistinct, 6), 8);
  EXPECT_EQ(at(Statistic::kMin, 1), 6);
  EXPECT_EQ(at(Statistic::kMax, 10), 6);
  EXPECT_EQ(at(Statistic::kMean, 5), 6);
  EXPECT_EQ(at(Statistic::kMedian, 3.5), 6);
  EXPECT_EQ(at(Statistic::kSum, 30), 6);
  at(Statistic::kStd, 4);
  at(Statistic::kP05, 1.25);
  at(Statistic::kP25, 2.25);
  at(Statistic::kP75, 8.5);
  at(Statistic::kP95, 10);
}

TEST_F(Stat, HasBounds) {
  Table("price\n1\n2\n3\n");
  const RuleResult result = Judge(Of(Statistic::kMedian, {3, std::nullopt}));
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "2 (n=3)");
  EXPECT_EQ(result.bound, ">= 3");
  EXPECT_EQ(result.subject, "t.price");
  EXPECT_EQ(Judge(Of(Statistic::kMedian, {std::nullopt, 2})).outcome, kPass);
  EXPECT_THAT(Judge(Of(Statistic::kMedian, {})).message, HasSubstr("has no bound"));
}

TEST_F(Stat, OfAWindowIsComparedWithTheRest) {
  Days(8, 50);

  const RuleResult result = Judge(Lately());
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "50 (n=9), 100 in the rest (n=21): -50%")
      << "the window has days 8, 9 and 10: the last two days and the newest";
  EXPECT_EQ(result.bound, "within 20% of the rest");
  EXPECT_EQ(result.baseline, "the rest of t");
  EXPECT_EQ(result.baseline_number, 100);
  EXPECT_EQ(result.observed_number, 50);
  EXPECT_EQ(result.sample_size, 9);
  EXPECT_THAT(result.message, HasSubstr("median of price in the last 2d0h of seen is 50"));

  EXPECT_EQ(Judge(Lately({.abs = std::nullopt, .rel = 0.5})).outcome, kPass);
  EXPECT_EQ(Judge(Lately({.abs = 50, .rel = 0.2})).outcome, kPass) << "the larger allowance holds";
  EXPECT_EQ(Judge(Lately({.abs = 49.9, .rel = std::nullopt})).outcome, kFail);
  Days(11, 50);
  EXPECT_EQ(Judge(Lately({.abs = 0, .rel = std::nullopt})).outcome, kPass);
}

TEST_F(Stat, TheWindowEndsWhereItsLengthSays) {
  // The newest row is of 12:00; two days before is just within, a second earlier is not.
  Table("seen,price\n2016-03-20 12:00:00,5\n2016-03-18 12:00:00,5\n2016-03-18 11:59:59,1\n2016-03-01,1\n,77\n");
  const RuleResult result = Judge(Lately({.abs = 3.9, .rel = std::nullopt}));
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "5 (n=2), 1 in the rest (n=2): +400%") << "a row without a time is on neither side";
}

TEST_F(Stat, TooFewSamplesGiveNoVerdictOnTheChange) {
  Days(10, 50);
  StatRule rule = Lately();
  rule.window_last = kDay / 2;
  rule.min_samples = 4;
  const RuleResult few = Judge(rule);
  EXPECT_EQ(few.outcome, kPass);
  EXPECT_THAT(few.message, HasSubstr("no verdict on the change"));
  rule.min_samples = 3;
  EXPECT_EQ(Judge(rule).outcome, kFail);
  rule.window_last = 30 * kDay;
  EXPECT_EQ(Judge(rule).outcome, kPass) << "there is no rest";
  rule.min_samples = 0;
  EXPECT_EQ(Judge(rule).outcome, kError) << "and nobody said that this may be";
  EXPECT_THAT(Judge(rule).message, HasSubstr("no median of the rest"));
}

TEST_F(Stat, TheMessageNamesTheSideThatHasTooFew) {
  Days(10, 50);
  StatRule rule = Lately();
  rule.window_last = kDay / 2;
  rule.min_samples = 4;
  EXPECT_THAT(Judge(rule).message, HasSubstr("the window has n=3, 4 are needed"));
  rule.window_last = 30 * kDay;
  EXPECT_THAT(Judge(rule).message, HasSubstr("the rest has n=0, 4 are needed"));
}

TEST_F(Stat, ARowOfATimeToComeDoesNotEmptyTheWindow) {
  Days(8, 50, "2062-01-01,70,bmw\n");
  StatRule rule = Lately();
  rule.min_samples = 5;
  engine_->SetNow(*ParseTime("2016-04-07T12:00:00Z"));
  const RuleResult result = Judge(rule);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "50 (n=9), 100 in the rest (n=21): -50%") << "on neither side";
  EXPECT_THAT(result.message, HasSubstr("rows of a time that is yet to come, up to 2062-01-01"));
  engine_->SetNow(*ParseTime("2010-01-01T00:00:00Z"));
  EXPECT_THAT(Judge(rule).message, HasSubstr("the window has n=1, 5 are needed")) << "all are to come";
  engine_->SetNow({});
}

TEST_F(Stat, ABoundIsNotKeptByNothing) {
  Table("a,b\n,x\n,x\n,y\n");
  StatRule rule = Of(Statistic::kMean, {std::nullopt, 0.1});
  rule.column = "a";
  rule.min_samples = 5;
  EXPECT_THAT(Judge(rule).message, HasSubstr("there is no mean of 0 numbers"));
  EXPECT_EQ(Judge(rule).outcome, kError);
  const auto by_b = [&] { return Judge({.name = "rule", .by = {"b"}, .body = rule, .place = {}}); };
  EXPECT_EQ(by_b().outcome, kError) << "no group has one";
  Table("a,b\n,x\n,x\n0.05,y\n");
  EXPECT_EQ(by_b().outcome, kPass) << "a small group may have none";
}

TEST_F(Stat, AFieldThatIsLostFromADateOnIsSeen) {
  std::string text = "seen,price\n";
  for (int day = 10; day < 20; ++day)
    text += "2016-03-" + std::to_string(day) + (day < 18 ? ",1\n" : ",\n") + "2016-03-" + std::to_string(day) + ",2\n";
  Table(text);
  StatRule rule = Lately({.abs = 0.1, .rel = std::nullopt});
  rule.stat = Statistic::kNulls;
  rule.window_last = kDay;
  EXPECT_EQ(Judge(rule).outcome, kFail);
  EXPECT_EQ(Judge(rule).observed, "0.5 (n=4), 0 in the rest (n=16)");
  rule.max_change.abs = 0.5;
  EXPECT_EQ(Judge(rule).outcome, kPass);
}

TEST_F(Stat, IsAskedOfEveryGroup) {
  Days(11, 0, "2016-03-11,200,audi\n2016-03-12,200,audi\n2016-03-20,300,audi\n");
  const RuleResult result = JudgeBy({"brand"}, Lately());
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("audi: 300 (n=1), 200 in the rest (n=2): +50%"));
  StatRule rule = Lately();
  rule.min_samples = 2;
  EXPECT_EQ(JudgeBy({"brand"}, rule).outcome, kPass);
  EXPECT_EQ(JudgeBy({"brand"}, Of(Statistic::kMedian, {100, 200})).outcome, kPass);
  EXPECT_THAT(JudgeBy({"brand"}, Of(Statistic::kMedian, {150, std::nullopt})).rows, ElementsAre("bmw: 100 (n=30)"));
  rule.versus = "last_accepted";
  EXPECT_THAT(JudgeBy({"brand"}, rule).message, HasSubstr("knows no groups"));
  Days(11, 0, "2016-03-20,,vw\n");
  EXPECT_THAT(JudgeBy({"brand"}, Of(Statistic::kMedian, {1, 200})).message,
              HasSubstr("brand \"vw\": there is no median of 0 numbers"));
}

TEST_F(Stat, IsComparedWithABaselinesProfile) {
  Table("price,fuel\n10\n", "broken");
  core::TableProfile before;
  before.rows = 10;
  core::ColumnProfile& price = before.columns["price"];
  price.numeric = true;
  price.rows = 10;
  price.nulls = 2;
  price.min = 1;
  price.max = 9;
  price.mean = 5;
  price.std = 2;
  price.distinct = 8;
  price.quantiles = {1, 1.5, 3, 5.5, 7, 8.5, 9};
  before.columns["fuel"] = {.numeric = false, .rows = 10, .nulls = 5};
  Table("seen,price,fuel\n2016-03-11,6,x\n2016-03-11,7,\n");

  StatRule rule{.of = "t", .stat = Statistic::kMedian, .column = "price", .versus = "last_accepted",
                .max_change = {.abs = 1, .rel = std::nullopt}};
  EXPECT_EQ(Judge(rule).outcome, kPass);
  EXPECT_THAT(Judge(rule).message, HasSubstr("there is no last_accepted to compare with yet (first: pass)"));
  rule.first = core::FirstTime::kFail;
  EXPECT_EQ(Judge(rule).outcome, kFail);

  baselines_["last_accepted.other"] = {{}, "another table"};
  EXPECT_EQ(Judge(rule).outcome, kFail) << "that is no baseline of this table";
  baselines_["last_accepted.t"] = {before, "cars/7 clean"};
  const RuleResult result = Judge(rule);
  EXPECT_EQ(result.outcome, kPass) << result.message;
  EXPECT_EQ(result.baseline, "cars/7 clean");
  EXPECT_EQ(result.baseline_number, 5.5);
  EXPECT_EQ(result.observed, "6.5 (n=2), 5.5 in cars/7 clean (n=8): +18.1818%");
  rule.max_change.abs = 0.99;
  EXPECT_EQ(Judge(rule).outcome, kFail);

  const auto then = [&](Statistic stat, const std::string& column = "price") {
    rule.stat = stat;
    rule.column = column;
    return Judge(rule).baseline_number;
  };
  EXPECT_EQ(then(Statistic::kCount), 8);
  EXPECT_EQ(then(Statistic::kNulls), 0.2);
  EXPECT_EQ(then(Statistic::kDistinct), 8);
  EXPECT_EQ(then(Statistic::kMin), 1);
  EXPECT_EQ(then(Statistic::kMax), 9);
  EXPECT_EQ(then(Statistic::kMean), 5);
  EXPECT_EQ(then(Statistic::kSum), 40);
  EXPECT_EQ(then(Statistic::kStd), 2);
  EXPECT_EQ(then(Statistic::kP05), 1.5);
  EXPECT_EQ(then(Statistic::kP25), 3);
  EXPECT_EQ(then(Statistic::kP75), 7);
  EXPECT_EQ(then(Statistic::kP95), 8.5);
  EXPECT_EQ(then(Statistic::kNulls, "fuel"), 0.5);
  EXPECT_THAT(Judge(StatRule(rule)).outcome, kPass);
  rule.stat = Statistic::kMean;
  EXPECT_THAT(Judge(rule).message, HasSubstr("\"fuel\" is no number in the baseline"));
  rule.column = "seen";
  EXPECT_THAT(Judge(rule).message, HasSubstr("the baseline has no column \"seen\""));
  baselines_["last_accepted.t"].profile.columns["price"].quantiles.clear();
  rule.column = "price";
  rule.stat = Statistic::kMedian;
  EXPECT_THAT(Judge(rule).message, HasSubstr("does not hold the median of \"price\""));
}

TEST_F(Stat, WhatHasNoValueIsAnError) {
  Table("seen,price\nyesterday,abc\n,\n");
  EXPECT_THAT(Judge(Of(Statistic::kMean, {0, 1})).message, HasSubstr("values of \"price\" are no numbers"));
  EXPECT_THAT(Judge(Lately()).message, HasSubstr("holds no date or time"));
  StatRule rule = Lately();
  rule.window_column = "";
  EXPECT_THAT(Judge(rule).message, HasSubstr("lies outside of a window"));
  rule.window_column = "sen";
  EXPECT_THAT(Judge(rule).message, HasSubstr("did you mean \"seen\"?"));
  Table("price\n5\n");
  EXPECT_THAT(Judge(Of(Statistic::kStd, {0, 1})).message, HasSubstr("there is no std of 1 numbers"));
  Table("price\n1e308\n1e308\n");
  EXPECT_EQ(Judge(Of(Statistic::kSum, {0, 1})).outcome, kError) << Judge(Of(Statistic::kSum, {0, 1})).message;
}

class Fresh : public TableTest {
 protected:
  Fresh() { engine_->SetNow(*ParseTime("2016-04-07T12:00:00Z")); }
  ~Fresh() override { engine_->SetNow({}); }
  RuleResult Within(Duration within) { return Judge(core::FreshRule{"t", "seen", within}); }
};

TEST_F(Fresh, TheNewestRowMayBeThatOldAtTheStartOfTheRun) {
  Table("seen\n2016-04-05 12:00:00\n2016-03-01\n\nbroken\n");
  EXPECT_EQ(Within(2 * kDay).outcome, kPass);
  const RuleResult result = Within(2 * kDay - Duration(1));
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "2016-04-05T12:00:00.000Z, 2d0h old");
  EXPECT_EQ(result.observed_number, 2 * 86'400);
  EXPECT_EQ(result.subject, "t.seen");
  EXPECT_THAT(result.rows, ElementsAre("line 2: seen = 2016-04-05 12:00:00"));
}

TEST_F(Fresh, ATimeToComeMakesNothingFresh) {
  Table("seen\n2016-03-01\n9999-12-31\n");
  EXPECT_EQ(Within(7 * kDay).outcome, kFail);
  EXPECT_THAT(Within(7 * kDay).message, HasSubstr("there are rows of a time that is yet to come, up to 9999-12-31"));
  Table("seen\n9999-12-31\n");
  EXPECT_THAT(Within(7 * kDay).message, HasSubstr("every row of t is later than the run"));
  Table("seen\n2016-04-07 20:00:00\n");
  EXPECT_EQ(Within(kDay).outcome, kFail) << "a few hours to come are to come too";
}

TEST_F(Fresh, AnOffsetIsPartOfATime) {
  Table("seen\n2016-04-07T13:00:00+02:00\n");
  EXPECT_EQ(Within(kDay).observed, "2016-04-07T11:00:00.000Z, 1h00m old");
  Table("seen\n2016-04-06T06:30:00-0530\n");
  EXPECT_EQ(Within(kDay).outcome, kPass);
  EXPECT_EQ(Within(kDay - Duration(1)).outcome, kFail);
  EXPECT_THAT(Within(kDay - Duration(1)).rows, ElementsAre("line 2: seen = 2016-04-06T06:30:00-0530"));
  // What has none is UTC, also beside others, and what is none makes no time.
  Table("seen\n2016-04-07 09:00:00 Europe/Berlin\n2016-04-07T11:30:00+99:00\n2016-04-06 10:00:00\n2016-04-05\n2016-4-6 9:0:0+02\n");
  EXPECT_EQ(Within(kDay).observed, "2016-04-06T10:00:00.000Z, 1d2h old");
  EXPECT_THAT(Within(kDay).message, HasSubstr("2 of 5 values of \"seen\" are no dates or times"));
}

TEST_F(Fresh, WithoutATimeOfTheRunOrOfTheRowsThereIsNoVerdict) {
  Table("seen\nyesterday\n");
  EXPECT_THAT(Within(kDay).message, HasSubstr("holds no date or time"));
  engine_->SetNow({});
  EXPECT_THAT(Within(kDay).message, HasSubstr("when the run was started is not known"));
  EXPECT_EQ(Within(kDay).outcome, kError);
}

class Balance : public TableTest {};

TEST_F(Balance, BoundsTheShareOfEveryValue) {
  Table("sold,id\nyes,1\nno,2\nno,3\nno,4\n,5\nmaybe,6\nno,7\nno,8\nno,9\nno,10\nno,11\n");
  const RuleResult low = Judge(core::BalanceRule{"t", "sold", {0.15, std::nullopt}});
  EXPECT_EQ(low.outcome, kFail);
  EXPECT_EQ(low.observed, "maybe: 1 of 10 rows (10%)");
  EXPECT_EQ(low.bound, ">= 15% of the rows for each value");
  EXPECT_EQ(low.sample_size, 10);
  EXPECT_THAT(low.rows, ElementsAre("maybe: 1 of 10 rows (10%)", "yes: 1 of 10 rows (10%)"));
  EXPECT_THAT(low.message, HasSubstr("1 row has none"));
  EXPECT_THAT(Judge(core::BalanceRule{"t", "sold", {std::nullopt, 0.7}}).rows, ElementsAre("no: 8 of 10 rows (80%)"));
  EXPECT_EQ(Judge(core::BalanceRule{"t", "sold", {0.1, 0.8}}).outcome, kPass);
  EXPECT_THAT(Judge(core::BalanceRule{"t", "sold", {0.1, 0.8}}).rows, IsEmpty());
}

TEST_F(Balance, OneValueAloneIsOutOfBalance) {
  Table("sold\nno\nno\n");
  const RuleResult result = Judge(core::BalanceRule{"t", "sold", {0.1, std::nullopt}});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "only the value no");
  EXPECT_EQ(Judge(core::BalanceRule{"t", "sold", {std::nullopt, 1}}).outcome, kPass);
  Table("sold,x\n,1\n");
  EXPECT_THAT(Judge(core::BalanceRule{"t", "sold", {0.1, std::nullopt}}).message, HasSubstr("empty in every row"));
  EXPECT_EQ(Judge(core::BalanceRule{"t", "x", {}}).outcome, kError);
}

}  // namespace
}  // namespace cd4ml::table
