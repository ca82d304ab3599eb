// Rules that look back: segments that were lost, and drift by every measure.
#include <cmath>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::DriftMeasure;
using core::DriftRule;
using core::RuleResult;
using core::SegmentsRule;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Lost : public TableTest {
 protected:
  Lost() {
    rule_.of = "t";
    rule_.by = {"brand", "model"};
    rule_.rows_min = 2;
    rule_.lost_versus = "last_accepted";
  }
  void Before(std::vector<std::string> segments) {
    core::TableProfile profile;
    profile.segments = std::move(segments);
    baselines_["last_accepted.t"] = {std::move(profile), "cars/7 clean"};
  }
  SegmentsRule rule_;
};

TEST_F(Lost, SegmentsThatQualifiedBeforeMustQualifyNow) {
  Table("brand,model\nbmw,x5\nbmw,x5\nvw,golf\nvw,golf\naudi,a4\nvw,\n");
  Before({"audi/a4", "bmw/x5", "opel/astra"});

  const RuleResult result = Judge(rule_);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "2 of 3 segments qualify, with 66.6667% of the rows, 2 lost of 3");
  EXPECT_THAT(result.bound, HasSubstr(", at most 0 lost"));
  EXPECT_EQ(result.baseline, "cars/7 clean");
  EXPECT_EQ(result.baseline_number, 3);
  EXPECT_THAT(result.rows,
              ElementsAre("lost: audi/a4, 1 row", "lost: opel/astra, 0 rows", "audi/a4: 1 row"));
  EXPECT_THAT(result.message, HasSubstr("2 lost of 3: audi/a4, opel/astra"));
  rule_.lost_max = 2;
  EXPECT_EQ(Judge(rule_).outcome, kPass);
  rule_.lost_max = 1;
  EXPECT_EQ(Judge(rule_).outcome, kFail);
}

TEST_F(Lost, WhatIsGainedIsNotLost) {
  Table("brand,model\nbmw,x5\nbmw,x5\nvw,golf\nvw,golf\n");
  Before({"bmw/x5"});
  EXPECT_EQ(Judge(rule_).outcome, kPass);
  EXPECT_THAT(Judge(rule_).message, HasSubstr("0 lost of 1"));
}

TEST_F(Lost, FollowsFirstWhileThereIsNothingToLose) {
  Table("brand,model\nbmw,x5\nbmw,x5\n");
  EXPECT_EQ(Judge(rule_).outcome, kPass);
  EXPECT_THAT(Judge(rule_).message, HasSubstr("to compare with yet (first: pass)"));
  rule_.first = core::FirstTime::kFail;
  EXPECT_EQ(Judge(rule_).outcome, kFail);
  Before({});
  EXPECT_EQ(Judge(rule_).outcome, kFail) << "a profile of before there was such a rule";
}

class Drift : public TableTest {
 protected:
  // 1,000 prices around `middle` and fuels of which `diesel` in a thousand are diesel.
  static std::string Cars(int middle, int diesel) {
    std::string text = "price,fuel\n";
    for (int i = 0; i < 1000; ++i)
      text += std::to_string(middle - 500 + (i * 7) % 1000) + (i < diesel ? ",diesel\n" : ",petrol\n");
    return text;
  }
  void Before(const std::string& text) {
    Table(text, "before");
    core::TableProfile profile = *engine_->Profile("before");
    profile.columns["price"].std = std::sqrt((1000.0 * 1001) / 12);
    baselines_["last_accepted.t"] = {profile, "cars/7"};
  }
  RuleResult Measure(DriftMeasure measure, const std::string& column, double max) {
    return Judge(DriftRule{.of = "t", .columns = {column}, .versus = "last_accepted", .measure = measure, .max = max});
  }
};

TEST_F(Drift, IsMeasuredByJensenAndShannon) {
  Before(Cars(5000, 250));
  Table(Cars(5000, 250));
  EXPECT_NEAR(*Measure(DriftMeasure::kJensenShannon, "fuel", 0.1).observed_number, 0, 1e-12);
  Table(Cars(5000, 750));
  const RuleResult result = Measure(DriftMeasure::kJensenShannon, "fuel", 0.1);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.bound, "js <= 0.1");
  EXPECT_EQ(result.baseline, "cars/7");
  // scipy.spatial.distance.jensenshannon([.25, .75], [.75, .25], base=2)
  EXPECT_NEAR(*result.observed_number, 0.43442131110348, 1e-9);
}

TEST_F(Drift, IsMeasuredByWassersteinOverTheDeviation) {
  Before(Cars(5000, 250));
  Table(Cars(5144, 250));
  const RuleResult result = Measure(DriftMeasure::kWasserstein, "price", 0.4);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.bound, "wasserstein <= 0.4");
  EXPECT_NEAR(*result.observed_number, 144 / std::sqrt((1000.0 * 1001) / 12), 0.01);
  EXPECT_EQ(Measure(DriftMeasure::kWasserstein, "price", 0.55).outcome, kPass);
  EXPECT_THAT(Measure(DriftMeasure::kWasserstein, "fuel", 0.4).message, HasSubstr("use psi or js"));
}

TEST_F(Drift, AgainstARunLooksAtItsTableOfTheSameName) {
  Before(Cars(5000, 250));
  Table(Cars(5000, 250));
  baselines_["run:7.t"] = baselines_.at("last_accepted.t");
  baselines_.erase("last_accepted.t");

  const DriftRule rule{.of = "t", .columns = {"price"}, .versus = "run:7", .max = 0.25};
  EXPECT_EQ(Judge(rule).baseline, "cars/7");
}

}  // namespace
}  // namespace cd4ml::table
