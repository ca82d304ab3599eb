// Keys between tables: what refers to nothing, and what is in two tables that should share nothing.
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::KeyRule;
using core::RuleResult;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Keys : public TableTest {
 protected:
  static KeyRule References(std::vector<std::string> columns, std::vector<std::string> other) {
    return {.of = "sales", .columns = std::move(columns), .other = "zips", .other_columns = std::move(other)};
  }
};

TEST_F(Keys, EveryKeyMustBeInTheOtherTable) {
  Table("zipcode\n10115\n80331\n80331\n", "zips");
  Table("id,zip\n1,10115\n2,99999\n3,80331\n4,10115\n", "sales");

  const RuleResult result = Judge(References({"zip"}, {"zipcode"}));
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.form, "references");
  EXPECT_EQ(result.subject, "sales.zip");
  EXPECT_EQ(result.observed, "1 of 4 rows not in zips.zipcode (25%)");
  EXPECT_EQ(result.bound, "<= 0 keys not in zips.zipcode");
  EXPECT_EQ(result.sample_size, 4);
  EXPECT_THAT(result.rows, ElementsAre("line 3: zip = 99999"));
  KeyRule some = References({"zip"}, {"zipcode"});
  some.max_bad_share = 0.25;
  EXPECT_EQ(Judge(some).outcome, kPass);
  some.max_bad_share = 0.24;
  EXPECT_EQ(Judge(some).outcome, kFail);
}

TEST_F(Keys, ARowWithoutAKeyBreaksNothingAndIsTold) {
  Table("zipcode,land\n10115,de\n,at\n", "zips");
  Table("id,zip,land\n1,,de\n2,10115,\n3,10115,de\nbroken\n", "sales");

  const RuleResult one = Judge(References({"zip"}, {"zipcode"}));
  EXPECT_EQ(one.outcome, kPass);
  EXPECT_THAT(one.message, HasSubstr("2 rows have no key"));
  EXPECT_THAT(one.rows, IsEmpty());
  const RuleResult both = Judge(References({"land", "zip"}, {"land", "zipcode"}));
  EXPECT_EQ(both.outcome, kPass) << both.message;
  EXPECT_THAT(both.message, HasSubstr("3 rows have no key"));
  KeyRule leak = References({"zip"}, {"zipcode"});
  leak.disjoint = true;
  EXPECT_EQ(Judge(leak).observed, "2 of 4 rows also in zips.zipcode (50%)") << "two empty keys are not the same";
}

TEST_F(Keys, KeysOfSeveralColumnsAreComparedAsAWhole) {
  Table("country,zipcode\nde,10115\nat,1010\n", "zips");
  Table("country,zipcode\nde,1010\nat,1010\n", "sales");

  const RuleResult result = Judge(References({}, {"country", "zipcode"}));
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("line 2: country = de, zipcode = 1010"));
  EXPECT_EQ(Judge(References({}, {"zipcode"})).outcome, kPass);
}

TEST_F(Keys, TrainAndTestMustShareNoKey) {
  Table("id\n1\n2\n3\n3\n", "train");
  Table("id\n3\n4\n", "test");
  const KeyRule leak{.of = "train", .columns = {}, .other = "test", .other_columns = {"id"}, .disjoint = true};

  const RuleResult result = Judge(leak);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.form, "disjoint_from");
  EXPECT_EQ(result.observed, "2 of 4 rows also in test.id (50%)");
  EXPECT_THAT(result.rows, ElementsAre("line 4: id = 3", "line 5: id = 3"));
  Table("id\n4\n5\n", "test");
  EXPECT_EQ(Judge(leak).outcome, kPass);
}

TEST_F(Keys, WhatCannotBeComparedIsAnError) {
  Table("zipcode\n", "zips");
  Table("zip\n1\n", "sales");
  EXPECT_THAT(Judge(References({"zip"}, {"zipcode"})).message, HasSubstr("\"zips\" has no rows"));
  Table("zipcode\n1\n", "zips");
  EXPECT_THAT(Judge(References({"zipp"}, {"zipcode"})).message, HasSubstr("did you mean \"zip\"?"));
  EXPECT_THAT(Judge(References({"zip"}, {"zipcod"})).message, HasSubstr("did you mean \"zipcode\"?"));
  EXPECT_EQ(Judge(References({"zip", "zip"}, {"zipcode"})).outcome, kError);
  EXPECT_EQ(Judge(References({}, {})).outcome, kError);
  EXPECT_EQ(Judge(References({"zip"}, {"zipcode'); DROP TABLE t0; --"})).outcome, kError);
}

}  // namespace
}  // namespace cd4ml::table
