// Rules with `by`: asked of every group, and broken where one group is.
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::RuleResult;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Groups : public TableTest {
 protected:
  // Sixty good rows of bmw, and two of lada of which one is bad.
  void Cars() {
    std::string text = "brand,model,price\n";
    for (int i = 0; i < 60; ++i) text += "bmw,3er," + std::to_string(1000 + i) + "\n";
    Table(text + "lada,niva,500\nlada,,-1\n");
  }
};

TEST_F(Groups, RowsAreAskedOfEveryGroup) {
  Cars();

  const RuleResult result = JudgeBy({"brand"}, core::RowsRule{"t", {5, std::nullopt}});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "1 of 2 values of brand fail, the worst is lada: 2 rows");
  EXPECT_EQ(result.observed_number, 1);
  EXPECT_EQ(result.bound, ">= 5 rows for each brand");
  EXPECT_EQ(result.sample_size, 62);
  EXPECT_THAT(result.rows, ElementsAre("lada: 2 rows"));
  EXPECT_EQ(JudgeBy({"brand"}, core::RowsRule{"t", {2, 60}}).outcome, kPass);
  EXPECT_EQ(JudgeBy({"brand"}, core::RowsRule{"t", {2, 59}}).rows[0], "bmw: 60 rows");
  EXPECT_THAT(JudgeBy({"brand", "model"}, core::RowsRule{"t", {2, 60}}).rows,
              ElementsAre("lada/(empty): 1 row", "lada/niva: 1 row"));
}

TEST_F(Groups, ABadRowOfASmallGroupIsNotLostInTheLargeOne) {
  Cars();
  ColumnRule rule{.of = "t", .column = "price", .value = {0, 100'000}, .max_bad_share = 0.1};
  EXPECT_EQ(Judge(rule).outcome, kPass) << "1 of 62 rows";

  const RuleResult result = JudgeBy({"brand"}, rule);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("lada: of 2 rows 1 are not 0 .. 100000"));
  EXPECT_EQ(result.bound, "<= 10% bad rows for each brand");
  rule.max_bad_share = 0.5;
  EXPECT_EQ(JudgeBy({"brand"}, rule).outcome, kPass);
}

TEST_F(Groups, EmptyValuesAreCountedByGroup) {
  Cars();
  const ColumnRule rule{.of = "t", .column = "model", .max_nulls = 0.4};
  EXPECT_EQ(Judge(rule).outcome, kPass);
  const RuleResult result = JudgeBy({"brand"}, rule);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("lada: of 2 rows 1 are empty"));
  EXPECT_EQ(result.bound, "<= 40% empty for each brand");
}

TEST_F(Groups, CopiesAreCountedByGroup) {
  Table("brand,id\nbmw,1\nbmw,2\nbmw,3\naudi,1\naudi,1\nvw,1\n");
  EXPECT_EQ(Judge(core::UniqueRule{"t", false, {"brand", "id"}, 0.2}).outcome, kPass);
  const RuleResult result = JudgeBy({"brand"}, core::UniqueRule{"t", false, {"id"}, 0.2});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "1 of 3 values of brand fail, the worst is audi: 1 of 2 rows are copies (50%)");
  EXPECT_EQ(JudgeBy({"brand"}, core::UniqueRule{"t", false, {"id"}, 0.5}).outcome, kPass);
  EXPECT_EQ(JudgeBy({"brand"}, core::UniqueRule{"t", true, {"brand"}, 0.5}).outcome, kPass);
}

TEST_F(Groups, PredicatesAreAskedOfEveryGroup) {
  Cars();
  const RuleResult result = JudgeBy({"brand"}, core::SqlRule{"t", "price > 0", 0.1});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("lada: 1 of 2 rows bad (50%)"));
  EXPECT_EQ(result.subject, "t: price > 0");
  EXPECT_EQ(JudgeBy({"brand"}, core::SqlRule{"t", "price > 0", 0.5}).outcome, kPass);
  Table("c0,price\nx,1\nx,-1\n");
  EXPECT_EQ(JudgeBy({"c0"}, core::SqlRule{"t", "price > 0 AND c0 = 'x'", 0.4}).outcome, kFail)
      << "a user's column may be called like one of ours";
}

TEST_F(Groups, TheWorstComeFirstAndTheirNumberIsBounded) {
  std::string text = "brand,price\n";
  for (int brand = 10; brand < 40; ++brand) {
    for (int i = 0; i < 40; ++i)
      text += "b" + std::to_string(brand) + (i < brand - 9 ? ",-1\n" : ",1\n");
  }
  Table(text);
  const RuleResult result = JudgeBy({"brand"}, core::SqlRule{"t", "price > 0", 0.1});
  EXPECT_THAT(result.rows, SizeIs(core::kOffendingRowsMax));
  EXPECT_EQ(result.rows[0], "b39: 30 of 40 rows bad (75%)");
  EXPECT_EQ(result.observed_number, 26);
}

TEST_F(Groups, RowsThatDoNotFitAreInNoGroupAndAreTold) {
  Table("brand,price\nbmw,1\nbroken\n");
  const RuleResult result = JudgeBy({"brand"}, core::RowsRule{"t", {1, std::nullopt}});
  EXPECT_EQ(result.outcome, kPass);
  EXPECT_THAT(result.message, HasSubstr("1 row does not fit the table and is in none"));
  EXPECT_THAT(result.rows, IsEmpty());
}

TEST_F(Groups, ThereMustBeGroupsAndNotTooMany) {
  Table("brand,price\nbroken\n");
  EXPECT_EQ(JudgeBy({"brand"}, core::RowsRule{"t", {1, std::nullopt}}).outcome, kError);
  EXPECT_THAT(JudgeBy({"brnd"}, core::RowsRule{"t", {1, std::nullopt}}).message,
              HasSubstr("did you mean \"brand\"?"));
  std::string text = "id\n";
  for (int i = 0; i <= 100'000; ++i) text += std::to_string(i) + "\n";
  Table(text);
  EXPECT_THAT(JudgeBy({"id"}, core::RowsRule{"t", {1, std::nullopt}}).message, HasSubstr("more than 100000 groups"));
}

}  // namespace
}  // namespace cd4ml::table
