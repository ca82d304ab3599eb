// Outliers by each method: the limits are those of the textbooks, the bound is a share.
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::OutlierMethod;
using core::RuleResult;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Outliers : public TableTest {
 protected:
  // 1 .. 101, so that quartiles are 26 and 76, the median is 51, its deviation 25 and the standard deviation 29.30.
  void Numbers(const std::string& more) {
    std::string text = "v,brand\n";
    for (int i = 1; i <= 101; ++i) text += std::to_string(i) + ",a\n";
    Table(text + more);
  }
  RuleResult Ask(OutlierMethod method, double max_bad_share = 0) {
    return Judge(ColumnRule{.of = "t", .column = "v", .max_bad_share = max_bad_share, .outliers = method});
  }
};

TEST_F(Outliers, LieOutsideOfTheQuartilesByMoreThanOneAndAHalfRanges) {
  Numbers("151,a\n");
  // Quartiles of 102 values: 26.25 and 76.75, so that the limits are -49.5 and 152.5.
  EXPECT_EQ(Ask(OutlierMethod::kIqr).outcome, kPass);
  Numbers("153,a\n");
  const RuleResult result = Ask(OutlierMethod::kIqr);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "1 of 102 rows bad (0.980392%)");
  EXPECT_THAT(result.message, HasSubstr("1 are outside -49.5 .. 152.5 (iqr)"));
  EXPECT_THAT(result.rows, ElementsAre("line 103: v = 153"));
  EXPECT_EQ(Ask(OutlierMethod::kIqr, 0.01).outcome, kPass);
}

TEST_F(Outliers, LieMoreThanThreeDeviationsFromTheMean) {
  Numbers("143.3,a\n");
  // Mean 51.905, deviation 30.55 with n - 1: the upper limit is 143.57, with n it were 143.12.
  EXPECT_EQ(Ask(OutlierMethod::kZ).outcome, kPass);
  Numbers("144,a\n");
  // Mean 51.912, deviation 30.57: 143.63.
  EXPECT_EQ(Ask(OutlierMethod::kZ).outcome, kFail);
}

TEST_F(Outliers, LieMoreThanThreeAndAHalfScaledDeviationsFromTheMedian) {
  Numbers("182,a\n");
  // Median 51.5, deviation 25.5: the limits are -80.82 and 183.82.
  EXPECT_EQ(Ask(OutlierMethod::kMad).outcome, kPass) << Ask(OutlierMethod::kMad).message;
  Numbers("184,a\n");
  EXPECT_EQ(Ask(OutlierMethod::kMad).outcome, kFail);
}

TEST_F(Outliers, AreMeasuredWithinEachGroup) {
  std::string more;
  for (int i = 0; i < 20; ++i) more += std::to_string(5000 + i) + ",b\n";
  Numbers(more + "60,b\n,b\n");
  EXPECT_EQ(Ask(OutlierMethod::kMad, 0.01).outcome, kFail) << "the large ones";
  const RuleResult result = JudgeBy(
      {"brand"}, ColumnRule{.of = "t", .column = "v", .max_bad_share = 0.01, .outliers = OutlierMethod::kMad});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("b: of 22 rows 1 are outliers (mad), 1 are empty"));
}

TEST_F(Outliers, WhatIsNoNumberIsNone) {
  Table("v\n0.1\n0.1\n0.1\n0.1\nabc\n\n");
  for (const OutlierMethod method : {OutlierMethod::kIqr, OutlierMethod::kZ, OutlierMethod::kMad})
    EXPECT_EQ(Ask(method).outcome, kPass) << Ask(method).message;
  Table("v\nabc\n");
  EXPECT_THAT(Ask(OutlierMethod::kIqr).message, HasSubstr("has no numbers"));
}

}  // namespace
}  // namespace cd4ml::table
