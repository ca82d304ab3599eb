// The real listings, where they are there: dirty, Windows-1252, cut off.
#include <cmath>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::ColumnType;
using ::testing::HasSubstr;

class RealData : public TableTest {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFile)) GTEST_SKIP() << kFile << " is not there";
  }
  static constexpr const char* kFile = CD4ML_SOURCE_DIR "/../shared/data/used-cars/autos.csv";
};

TEST_F(RealData, CountsAllRowsInTheStatedEncoding) {
  const absl::Status added = Add(kFile, Encoded("windows-1252"));

  ASSERT_TRUE(added.ok()) << added;
  const core::RuleResult rows = Judge(core::RowsRule{"t", {18705, 18705}});
  EXPECT_EQ(rows.outcome, core::VerdictOutcome::kPass) << rows.message;
  const core::RuleResult cut =
      Column("lastSeen", [](ColumnRule& rule) { rule.pattern = "[0-9-]{10} [0-9:]{8}"; });
  EXPECT_THAT(cut.rows, ::testing::ElementsAre("line 18706: lastSeen = 2016-03-14 "));
  const core::RuleResult price = Column("price", [](ColumnRule& rule) {
    rule.type = ColumnType::kInt;
    rule.max_bad_share = 0.5;
  });
  EXPECT_EQ(price.outcome, core::VerdictOutcome::kFail) << price.message;
  const core::RuleResult text = Column("price", [](ColumnRule& rule) {
    rule.pattern = "\\$[0-9,]+";
    rule.max_bad_share = 0.0001;
  });
  EXPECT_EQ(text.outcome, core::VerdictOutcome::kPass) << text.message;
  EXPECT_TRUE(engine_->Profile("t").ok());
}

// The counts are those of pandas over the same file.
TEST_F(RealData, FindsWhatCannotBe) {
  ASSERT_TRUE(Add(kFile, Encoded("windows-1252")).ok());
  const auto bad = [](const core::RuleResult& result) {
    EXPECT_EQ(result.outcome, core::VerdictOutcome::kFail) << result.message;
    EXPECT_EQ(result.rows.size(), core::kOffendingRowsMax);
    return std::llround(*result.observed_number * 18705);
  };
  EXPECT_EQ(bad(Judge(core::SqlRule{
                "t", "CAST(replace(replace(price, '$', ''), ',', '') AS BIGINT) BETWEEN 200 AND 150000", 0.02})),
            921);
  EXPECT_EQ(bad(Column("yearOfRegistration", [](ColumnRule& rule) { rule.value = {1900, 2016}; })), 708);
  EXPECT_EQ(bad(Column("powerPS", [](ColumnRule& rule) { rule.value = {std::nullopt, 600}; })), 31);

  core::SegmentsRule segments;
  segments.of = "t";
  segments.by = {"brand", "model"};
  segments.rows_min = 30;
  segments.exclude_below = false;
  const core::RuleResult few = Judge(segments);
  EXPECT_EQ(few.outcome, core::VerdictOutcome::kFail);
  EXPECT_EQ(few.observed, "114 of 284 segments qualify, with 83.4215% of the rows");
  EXPECT_EQ(few.rows[0], "audi/a8: 29 rows");
}

TEST_F(RealData, RefusesOtherEncodingsWithTheLine) {
  EXPECT_THAT(Message(Add(kFile, Encoded("utf-8"))),
              HasSubstr("autos.csv: line 6: byte 0xdc is not utf-8"));
  EXPECT_THAT(Message(Add(kFile, Encoded("latin-1"))), HasSubstr("is it windows-1252?"));
  EXPECT_THAT(Message(Add(kFile, Encoded("utf-16"))), HasSubstr("not utf-16"));
}

}  // namespace
}  // namespace cd4ml::table
