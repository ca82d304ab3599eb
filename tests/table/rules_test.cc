// Every data rule: what passes, what fails, what cannot be judged, and that no text in it becomes
// SQL.
#include <cmath>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::ColumnType;
using core::RuleResult;
using core::VerdictOutcome;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Rules : public TableTest {};

TEST_F(Rules, RowsAreCountedWithTheBadOnes) {
  Table("a,b\n1,2\n3,4\n5\n");

  const RuleResult result = Judge(core::RowsRule{"t", {4, std::nullopt}});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "3 rows");
  EXPECT_EQ(result.bound, ">= 4 rows");
  EXPECT_EQ(result.sample_size, 3);
  EXPECT_EQ(result.subject, "t");
  EXPECT_THAT(result.rows, ElementsAre("line 4: 1 of 2 fields: 5"));
  EXPECT_EQ(Judge(core::RowsRule{"t", {3, 3}}).outcome, kPass);
  EXPECT_EQ(Judge(core::RowsRule{"t", {std::nullopt, 2}}, /*blocks=*/false).outcome, kWarn);
  EXPECT_EQ(Judge(core::RowsRule{"t", {}}).outcome, kError);
}

TEST_F(Rules, AnUnknownTableOrColumnIsAnErrorThatSuggests) {
  Table("price,year\n1,2\n");
  const RuleResult table = Judge(core::RowsRule{"tt", {1, std::nullopt}});
  EXPECT_EQ(table.outcome, kError);
  EXPECT_THAT(table.message, HasSubstr("there is no table \"tt\"; did you mean \"t\"?"));
  EXPECT_EQ(Judge(core::RowsRule{"tt", {1, std::nullopt}}, /*blocks=*/false).outcome, kError);

  const RuleResult column = Column("prize", [](ColumnRule& rule) { rule.max_nulls = 0; });
  EXPECT_EQ(column.outcome, kError);
  EXPECT_EQ(column.message, "\"t\" has no column \"prize\"; did you mean \"price\"?");
  EXPECT_THAT(Column("x y", [](ColumnRule& rule) { rule.max_nulls = 0; }).message,
              HasSubstr("there are: price, year"));
}

TEST_F(Rules, ColumnsMustBeThere) {
  Table("price,year,brand\n");
  EXPECT_EQ(Judge(core::ColumnsRule{"t", false, {"year", "price"}}).outcome, kPass);
  EXPECT_EQ(Judge(core::ColumnsRule{"t", true, {"year", "price", "brand"}}).outcome, kPass);

  const RuleResult missing = Judge(core::ColumnsRule{"t", false, {"prise", "year"}});
  EXPECT_EQ(missing.outcome, kFail);
  EXPECT_EQ(missing.observed, "missing: prise; did you mean \"price\"?");
  EXPECT_EQ(missing.bound, "at least prise, year");
  const RuleResult more = Judge(core::ColumnsRule{"t", true, {"price", "year"}});
  EXPECT_EQ(more.outcome, kFail);
  EXPECT_THAT(more.rows, ElementsAre("unexpected: brand"));
}

TEST_F(Rules, TypesAreJudgedOnTheText) {
  Table(
      "v\n5\n-7\n+8\n1e3\n.5\n1.5\n\"$5,000\"\n1_000\n0x1F\nNaN\ninf\nabc\ntrue\n2016-03-26\n2016-"
      "02-30\n2016-03-26 17:47:46\n");
  const auto bad = [this](ColumnType type) {
    ColumnRule rule;
    rule.of = "t";
    rule.column = "v";
    rule.type = type;
    return std::llround(*Judge(rule).observed_number * 16);
  };
  EXPECT_EQ(bad(ColumnType::kInt), 13);
  EXPECT_EQ(bad(ColumnType::kFloat), 10);
  EXPECT_EQ(bad(ColumnType::kText), 0);
  EXPECT_EQ(bad(ColumnType::kBool), 15);
  EXPECT_EQ(bad(ColumnType::kDate), 15);
  EXPECT_EQ(bad(ColumnType::kTimestamp), 14);
}

TEST_F(Rules, BoundsAreInclusiveAndWhatIsNoNumberIsOutside) {
  Table("price\n200\n199.99\n250000\n250001\n\"$5,000\"\n\"\"\n");

  const RuleResult result = Column("price", [](ColumnRule& rule) { rule.value = {200, 250000}; });

  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.form, "column");
  EXPECT_EQ(result.observed, "3 of 6 rows bad (50%)");
  EXPECT_EQ(result.bound, "<= 0 bad rows");
  EXPECT_EQ(result.sample_size, 6);
  EXPECT_THAT(result.message, HasSubstr("3 are not 200 .. 250000, 1 are empty"));
  EXPECT_THAT(result.rows, ElementsAre("line 3: price = 199.99", "line 5: price = 250001",
                                       "line 6: price = $5,000"));
}

TEST_F(Rules, AShareOfRowsMayBeBad) {
  std::string text = "v\n";
  for (int i = 0; i < 60; ++i) text += i < 3 ? "bad\n" : "1\n";
  Table(text);
  EXPECT_EQ(Column("v",
                   [](ColumnRule& rule) {
                     rule.type = ColumnType::kInt;
                     rule.max_bad_share = 0.05;
                   })
                .outcome,
            kPass);
  const RuleResult result = Column("v", [](ColumnRule& rule) {
    rule.type = ColumnType::kInt;
    rule.max_bad_share = 0.049;
  });
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.bound, "<= 4.9% bad rows");
}

TEST_F(Rules, RowsThatDoNotFitAreBadInEveryColumn) {
  Table("a,b\n1,2\n3\n");
  const RuleResult result = Column("a", [](ColumnRule& rule) { rule.type = ColumnType::kInt; });
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.message, HasSubstr("1 do not fit the table"));
  EXPECT_THAT(result.rows, ElementsAre("line 3: 1 of 2 fields: 3"));
}

TEST_F(Rules, EmptyValuesHaveABoundOfTheirOwn) {
  Table("a,b\n1,x\n,x\n3,x\n4,x\n");
  EXPECT_EQ(Column("a", [](ColumnRule& rule) { rule.type = ColumnType::kInt; }).outcome, kPass);
  EXPECT_EQ(Column("a", [](ColumnRule& rule) { rule.max_nulls = 0.25; }).outcome, kPass);

  const RuleResult result = Column("a", [](ColumnRule& rule) {
    rule.type = ColumnType::kInt;
    rule.max_nulls = 0.2;
  });
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "1 of 4 rows empty (25%)");
  EXPECT_EQ(result.bound, "<= 20% empty");
  EXPECT_THAT(result.rows, ElementsAre("line 3: a = (empty)"));
}

TEST_F(Rules, ValuesMustBeInTheList) {
  Table("fuel\npetrol\nPetrol\n' OR '1'='1\n");
  const RuleResult result = Column("fuel", [](ColumnRule& rule) {
    rule.in = {"petrol", "' OR '1'='1"};
  });
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_THAT(result.rows, ElementsAre("line 3: fuel = Petrol"));
  EXPECT_THAT(result.message, HasSubstr("1 are none of petrol"));
}

TEST_F(Rules, PatternsMatchTheWholeRawText) {
  Table("odometer\n\"150,000km\"\n5000km\n\"x150,000km\"\n");
  const RuleResult result =
      Column("odometer", [](ColumnRule& rule) { rule.pattern = "[0-9,]+km"; });
  EXPECT_THAT(result.rows, ElementsAre("line 4: odometer = x150,000km"));

  const RuleResult broken = Column("odometer", [](ColumnRule& rule) { rule.pattern = "[0-9"; });
  EXPECT_EQ(broken.outcome, kError);
  EXPECT_THAT(broken.message, HasSubstr("missing ]"));
  EXPECT_EQ(
      Column("odometer", [](ColumnRule& rule) { rule.pattern = "'); DROP TABLE t0; --"; }).outcome,
      kError);
  EXPECT_EQ(Rows(), 3);
  EXPECT_EQ(
      Column("odometer", [](ColumnRule& rule) { rule.pattern = std::string("a\0b", 3); }).outcome,
      kError);
}

TEST_F(Rules, AColumnRuleMustDemandSomethingOfSomeRows) {
  Table("a\n1\n");
  EXPECT_THAT(Column("a", [](ColumnRule&) {}).message, HasSubstr("demands nothing"));
  Table("a\n");
  const RuleResult empty = Column("a", [](ColumnRule& rule) { rule.type = ColumnType::kInt; });
  EXPECT_EQ(empty.outcome, kError);
  EXPECT_THAT(empty.message, HasSubstr("no rows to judge"));
}

TEST_F(Rules, NoNameBecomesSql) {
  Table("\"a\"\"; DROP TABLE t0; --\",\"b'c\"\n1,x\n2,x\n");
  EXPECT_EQ(Column("a\"; DROP TABLE t0; --", [](ColumnRule& rule) { rule.type = ColumnType::kInt; })
                .outcome,
            kPass);
  EXPECT_EQ(Column("b'c", [](ColumnRule& rule) { rule.in = {"x"}; }).outcome, kPass);
  EXPECT_EQ(Judge(core::UniqueRule{"t", false, {"a\"; DROP TABLE t0; --"}, 0}).outcome, kPass);
  EXPECT_EQ(Judge(core::SqlRule{"t", "\"a\"\"; DROP TABLE t0; --\" > 0", 0}).outcome, kPass);
  EXPECT_EQ(Judge(core::SqlRule{"t", "\"b'c\" = 'x'", 0}).outcome, kPass);
  EXPECT_EQ(Rows(), 2);
}

TEST_F(Rules, OffendingRowsAreBounded) {
  std::string text = "a\n";
  for (int i = 0; i < 100; ++i) text += "bad\n";
  Table(text);
  EXPECT_EQ(Column("a", [](ColumnRule& rule) { rule.type = ColumnType::kInt; }).rows.size(),
            core::kOffendingRowsMax);
}

TEST_F(Rules, CopiesAreCountedBeyondTheFirst) {
  Table("brand,model,seen\nbmw,x5,1\nbmw,x5,2\naudi,,3\naudi,,4\nbmw,x5,5\nvw,golf,6\n");

  const RuleResult result = Judge(core::UniqueRule{"t", true, {"seen"}, 0.2});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "3 of 6 rows are copies (50%)");
  EXPECT_EQ(result.bound, "<= 20% copies");
  EXPECT_THAT(result.rows, ElementsAre("line 2, 3 times: brand = bmw model = x5",
                                       "line 4, 2 times: brand = audi model = (empty)"));
  EXPECT_EQ(Judge(core::UniqueRule{"t", true, {"seen"}, 0.5}).outcome, kPass);
  EXPECT_EQ(Judge(core::UniqueRule{"t", false, {"seen"}, 0}).outcome, kPass);
  EXPECT_EQ(Judge(core::UniqueRule{"t", false, {"brand"}, 0}).outcome, kFail);
  EXPECT_EQ(Judge(core::UniqueRule{"t", true, {"seen", "brand", "model"}, 0}).outcome, kError);
  EXPECT_EQ(Judge(core::UniqueRule{"t", true, {"sen"}, 0}).outcome, kError);
}

TEST_F(Rules, AShareOfAnotherTableIsBounded) {
  Table("brand\nbmw\nbmw\naudi\naudi\naudi\nvw\n", "sales");
  Table("brand\nbmw\naudi\n", "rejects");
  const RuleResult overall = Judge(core::ShareRule{"rejects", "sales", 0.2, ""});
  EXPECT_EQ(overall.outcome, kFail);
  EXPECT_EQ(overall.observed, "2 of 6 rows (33.3333%)");
  EXPECT_EQ(overall.bound, "<= 20% of sales");
  EXPECT_EQ(Judge(core::ShareRule{"rejects", "sales", 0.34, ""}).outcome, kPass);

  const RuleResult by = Judge(core::ShareRule{"rejects", "sales", 0.4, "brand"});
  EXPECT_EQ(by.outcome, kFail);
  EXPECT_EQ(by.observed, "brand bmw: 1 of 2 rows (50%)");
  EXPECT_EQ(by.bound, "<= 40% of sales for each brand");
  EXPECT_THAT(by.rows, ElementsAre("brand bmw: 1 of 2 rows"));
  EXPECT_EQ(Judge(core::ShareRule{"rejects", "sales", 0.5, "brand"}).outcome, kPass);
}

TEST_F(Rules, AShareOfNothingIsAnErrorAndAnEmptyPartIsNone) {
  Table("brand\nbmw\n", "sales");
  Table("brand\n", "none");
  Table("brand\ntrabant\n", "strange");
  EXPECT_EQ(Judge(core::ShareRule{"none", "sales", 0, ""}).outcome, kPass);
  EXPECT_EQ(Judge(core::ShareRule{"none", "sales", 0, "brand"}).outcome, kPass);
  EXPECT_EQ(Judge(core::ShareRule{"sales", "none", 0.5, ""}).outcome, kError);
  EXPECT_EQ(Judge(core::ShareRule{"sales", "sales", 1, "model"}).outcome, kError);
  EXPECT_EQ(Judge(core::ShareRule{"strange", "sales", 1, "brand"}).outcome, kFail) << "1 of 0 rows";
}

TEST_F(Rules, SegmentsWithEnoughRowsQualify) {
  Table("brand,model\nbmw,x5\nbmw,x5\nbmw,x5\naudi,a4\naudi,a4\nvw,golf\nvw,\nbroken\n");
  core::SegmentsRule rule{"t", {"brand", "model"}, 2, true, 0.6};

  const RuleResult result = Judge(rule);
  EXPECT_EQ(result.outcome, kPass);
  EXPECT_EQ(result.observed, "2 of 3 segments qualify, with 62.5% of the rows");
  EXPECT_EQ(result.bound, ">= 2 rows in at least one segment, coverage >= 60%");
  EXPECT_THAT(result.rows, ElementsAre("vw/golf: 1 row"));
  EXPECT_THAT(*engine_->QualifyingSegments(rule), ElementsAre("audi/a4", "bmw/x5"));

  rule.coverage_min = 0.63;
  EXPECT_EQ(Judge(rule).outcome, kFail);
  rule.coverage_min = 0;
  rule.exclude_below = false;
  EXPECT_EQ(Judge(rule).outcome, kFail);
  rule.rows_min = 1;
  EXPECT_EQ(Judge(rule).outcome, kPass);
  rule.exclude_below = true;
  rule.rows_min = 4;
  EXPECT_EQ(Judge(rule).outcome, kFail) << "no segment qualifies";
  EXPECT_THAT(*engine_->QualifyingSegments(rule), IsEmpty());
  rule.by = {};
  EXPECT_EQ(Judge(rule).outcome, kError);
  EXPECT_FALSE(engine_->QualifyingSegments(rule).ok());
}

TEST_F(Rules, NoTwoSegmentsHaveOneName) {
  Table("a,b\nx/y,z\nx,y/z\nx\\,/\nx,\\/\nx,y\n");
  EXPECT_THAT(*engine_->QualifyingSegments({.of = "t", .by = {"a", "b"}, .rows_min = 1}),
              ElementsAre("x/\\\\\\/", "x/y", "x/y\\/z", "x\\/y/z", "x\\\\/\\/"));
  EXPECT_THAT(*engine_->QualifyingSegments({.of = "t", .by = {"a"}, .rows_min = 1}), ElementsAre("x", "x/y", "x\\"));
  EXPECT_EQ(Judge({.name = "rule", .by = {"a", "b"}, .body = core::RowsRule{"t", {2, std::nullopt}}, .place = {}}).observed_number, 5);
}

TEST_F(Rules, DriftIsMeasuredWithTheBinsOfTheBaseline) {
  std::string was = "price,fuel\n", same = was, moved = was;
  for (int i = 0; i < 1000; ++i) {
    was += std::to_string(i) + (i % 4 == 0 ? ",diesel\n" : ",petrol\n");
    same += std::to_string((i * 7) % 1000) + (i % 4 == 1 ? ",diesel\n" : ",petrol\n");
    moved += std::to_string(i / 2 + 500) + (i % 4 == 0 ? ",electric\n" : ",petrol\n");
  }
  Table(was, "was");
  baselines_["champion.train_data"] = {*engine_->Profile("was"), "cars/7"};
  core::DriftRule rule{"t", {"price", "fuel"},     "champion.train_data", core::DriftMeasure::kPsi, 0.25,
                       0,   core::FirstTime::kPass};

  Table(same);
  EXPECT_EQ(Judge(rule).outcome, kPass);
  EXPECT_NEAR(*Judge(rule).observed_number, 0, 1e-3);

  Table(moved);
  const RuleResult result = Judge(rule);
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(result.baseline, "cars/7");
  EXPECT_EQ(result.sample_size, 1000);

  // The engine counts as the core does.
  rule.columns = {"price"};
  std::vector<Value> values;
  for (int i = 0; i < 1000; ++i) values.emplace_back(i / 2 + 500);
  const core::ColumnProfile& reference =
      baselines_.at("champion.train_data").profile.columns.at("price");
  EXPECT_NEAR(*Judge(rule).observed_number,
              core::PopulationStabilityIndex(reference, core::CountLike(reference, values)), 1e-12);
}

TEST_F(Rules, DriftSeesNumbersBeyondAllOfTheBaseline) {
  std::string five = "a,b\n", zeros = five, four = five, missing = five, large = five;
  for (int i = 0; i < 100; ++i) {
    const std::string b = i % 20 == 0 ? "7" : "0";
    five += "5," + b + "\n";
    four += "4," + b + "\n";
    missing += "5," + (b == "0" ? "-999" : b) + "\n";
    large += "5," + (b == "7" ? "70" : b) + "\n";
  }
  Table(five, "was");
  baselines_["champion.train_data"] = {*engine_->Profile("was"), "cars/7"};
  for (const auto measure : {core::DriftMeasure::kPsi, core::DriftMeasure::kJensenShannon}) {
    const core::DriftRule rule{"t", {"a", "b"}, "champion.train_data", measure, 0.25, 0, core::FirstTime::kPass};
    Table(five);
    EXPECT_EQ(Judge(rule).observed_number, 0);
    Table(four);
    EXPECT_GT(*Judge(rule).observed_number, 0.9);
    EXPECT_EQ(Judge(rule).subject, "t.a");
    Table(missing);
    EXPECT_GT(*Judge(rule).observed_number, 0.9);
    EXPECT_EQ(Judge(rule).subject, "t.b");
    Table(large);
    EXPECT_GT(*Judge(rule).observed_number, 0.1) << "a twentieth";
  }
}

TEST_F(Rules, DriftWithoutBaselineOrColumn) {
  Table("price\n1\n");
  core::DriftRule rule{"t", {"price"}, "champion.train_data", core::DriftMeasure::kPsi, 0.25, 0, core::FirstTime::kFail};
  EXPECT_EQ(Judge(rule).outcome, kFail);
  rule.first = core::FirstTime::kPass;
  EXPECT_EQ(Judge(rule).outcome, kPass);

  baselines_["champion.train_data"] = {*engine_->Profile("t"), "cars/7"};
  rule.columns = {"prize"};
  EXPECT_THAT(Judge(rule).message, HasSubstr("did you mean \"price\"?"));
  Table("price,extra\n1,2\n");
  rule.columns = {"extra"};
  EXPECT_THAT(Judge(rule).message, HasSubstr("(in the baseline)"));
}

TEST_F(Rules, APredicateMustHoldInEveryRow) {
  Table("price,year,Brand Name\n100,2004,bmw\n-1,2005,audi\n,2006,vw\nbroken\n");

  const RuleResult result = Judge(core::SqlRule{"t", "price > 0 AND YEAR <= 2026", 0});
  EXPECT_EQ(result.outcome, kFail);
  EXPECT_EQ(result.observed, "3 of 4 rows bad (75%)");
  EXPECT_THAT(result.rows,
              ElementsAre("line 3: year = 2005, price = -1", "line 4: year = 2006, price = (empty)",
                          "line 5: 1 of 3 fields: broken"));
  EXPECT_EQ(Judge(core::SqlRule{"t", "price > 0", 0.75}).outcome, kPass);
  EXPECT_EQ(Judge(core::SqlRule{"t", "coalesce(price, 1) >= -1 -- a comment", 0.25}).outcome,
            kPass);
  EXPECT_EQ(Judge(core::SqlRule{
                      "t", "\"Brand Name\" IN ('bmw', 'audi', 'vw') AND length(\"brand name\") > 1",
                      0.25})
                .outcome,
            kPass);
}

TEST_F(Rules, APredicateSeesNumbersAndTimesAsSuch) {
  std::string text = "id,price,seen,plz\n";
  for (int i = 0; i < 20; ++i) text += std::to_string(i) + ",1.5,2016-03-26 17:47:46,01234\n";
  core::CsvFormat csv;
  csv.columns = {{"plz", "text"}};
  Table(text + "20,dirty,2016-03-26 17:47:46,01234\n", "t", csv);
  EXPECT_EQ(
      Judge(core::SqlRule{
                "t",
                "id % 1 = 0 AND year(seen) = 2016 AND seen < DATE '2017-01-01' AND plz LIKE '0%'",
                0})
          .outcome,
      kPass);
  EXPECT_EQ(Judge(core::SqlRule{"t", "price = 1.5", 0}).observed, "1 of 21 rows bad (4.7619%)");
}

TEST_F(Rules, WhatIsNoNumberFulfilsNoPredicate) {
  Table("price,cost,score\n10,5,0.9\n0,0,nan\n5,0,0.8\n-8,5,inf\n", "t", {.columns = {{"score", "text"}}});
  const auto bad = [&](const std::string& predicate) { return Judge(core::SqlRule{"t", predicate, 0}).rows; };
  EXPECT_THAT(bad("(price - cost) / cost > 0.1"),
              ElementsAre("line 3: cost = 0, price = 0", "line 4: cost = 0, price = 5", "line 5: cost = 5, price = -8"));
  EXPECT_THAT(bad("price % cost >= -9"), SizeIs(2));
  EXPECT_THAT(bad("CAST(score AS DOUBLE) > 0.5"), ElementsAre("line 3: score = nan", "line 5: score = inf"));
  EXPECT_THAT(bad("TRY_CAST(score AS FLOAT) >= 0.8::FLOAT AND score ILIKE '%' AND score NOT IN ('x', 'it''s') AND score != 'ä'"), SizeIs(2));
  EXPECT_THAT(bad("power(price, 0.5) > 1"), ElementsAre("line 3: price = 0", "line 5: price = -8"));
  EXPECT_THAT(bad("price ** 0.5 >= 0"), ElementsAre("line 5: price = -8"));
  EXPECT_THAT(bad("exp(price * 1000) - exp(price * 1000) >= 0 -- of infinities"), SizeIs(2));
  EXPECT_THAT(bad("CASE WHEN price < 0 THEN true ELSE pow(price, 0.5) >= 0 END"), IsEmpty()) << "it is asked of no other row";
  EXPECT_THAT(bad("price + 0.1 - 0.1 = price + 0 * power(cost, 2)"), IsEmpty());
  EXPECT_EQ(Judge({.name = "rule", .by = {"cost"}, .body = core::SqlRule{"t", "CAST(score AS DOUBLE) > 0.5", 0.5}, .place = {}}).outcome,
            kPass) << "half of each";
  EXPECT_EQ(Judge(core::SqlRule{"t", "power(price, 2)", 0}).outcome, kError) << "is no condition";
}

TEST_F(Rules, APredicateSeesTheInstantThatATimeWithAnOffsetIs) {
  Table("seen\n2026-11-26T17:46:20+02:00\n2026-11-26 15:46:20\n2026-11-26T10:16:20-0530\n2026-11-26T15:46:20Z\n2026-11-26 16:46:20+01\n");
  EXPECT_EQ(Judge(core::SqlRule{"t", "seen = TIMESTAMP '2026-11-26 15:46:20'", 0}).outcome, kPass);
}

TEST_F(Rules, ABrokenPredicateIsAnError) {
  Table("price,brand\n1,bmw\n2,audi\n");
  for (const char* predicate : {"",
                                "price >",
                                "prize > 0",
                                "price + 1",
                                "1 = 1",
                                "price > 0; DROP TABLE t0",
                                "price > 0) OR (1",
                                "price > 0), (price",
                                "price) FROM t0 WHERE (true",
                                "price IN (SELECT 1)",
                                "exists(SELECT 1 FROM read_csv('/etc/passwd'))",
                                "price = (SELECT count(*) FROM t0)",
                                "sum(price) > 1",
                                "row_number() OVER () > price",
                                "getenv('HOME') = brand",
                                "current_setting('threads') = brand",
                                "price > $1",
                                "t.price > 1",
                                "list_transform([price], x -> x)[1] > 0",
                                "price UNION SELECT 1",
                                "price > 0 /*",
                                "repeat(brand, 1000000000) = 'x'",
                                "COLUMNS(*) > 0",
                                "brand > 0",
                                "brand COLLATE NOCASE = 'BMW'"}) {
    EXPECT_EQ(Judge(core::SqlRule{"t", predicate, 1}).outcome, kError) << predicate;
  }
  EXPECT_THAT(Judge(core::SqlRule{"t", "prize > 0", 0}).message,
              HasSubstr("did you mean \"price\"?"));
  EXPECT_THAT(Judge(core::SqlRule{"t", "lenght(brand) > 0", 0}).message,
              HasSubstr("not allowed in a rule"));
  EXPECT_EQ(Judge(core::SqlRule{"t", std::string(5000, '('), 0}).outcome, kError);
  EXPECT_EQ(
      Judge(core::SqlRule{"t", std::string(900, '(') + "price > 0" + std::string(900, ')'), 0})
          .outcome,
      kPass);
  std::string deep = "price";
  for (int i = 0; i < 200; ++i) deep = "abs(" + deep + ")";
  EXPECT_THAT(Judge(core::SqlRule{"t", deep + " >= 0", 0}).message, HasSubstr("nested too deep"));
  EXPECT_EQ(Rows(), 2);
}

TEST_F(Rules, APredicateCannotTellColumnsThatDifferOnlyInCase) {
  Table("Price,price\n1,2\n");
  EXPECT_THAT(Judge(core::SqlRule{"t", "price > 0", 0}).message, HasSubstr("differ only in case"));
}

TEST_F(Rules, RulesAboutOtherThingsAreRefused) {
  EXPECT_THAT(Judge(core::MetricRule{}).message, HasSubstr("is not about a table"));
  EXPECT_EQ(Judge(core::LatencyRule{}).outcome, kError);
}

}  // namespace
}  // namespace cd4ml::table
