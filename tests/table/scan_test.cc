// Many rules about single rows, asked at once: every one must say what it says alone, whatever the others do.
#include "table/duckdb.h"
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::ColumnRule;
using core::ColumnType;
using core::RuleResult;
using core::SqlRule;
using enum core::VerdictOutcome;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Words(const RuleResult& result) {
  core::Verdict verdict;
  verdict.rules = {result};
  return ToJson(core::ToValue(verdict));
}

class ScanTest : public TableTest {
 protected:
  ~ScanTest() override { engine_->SetRules({}); }

  void Column(const std::string& name, ColumnRule rule) {
    rule.of = "t";
    rules_.push_back({.name = name, .by = {}, .body = std::move(rule), .place = {}});
  }
  void Sql(const std::string& name, const std::string& predicate) {
    rules_.push_back({.name = name, .by = {}, .body = SqlRule{.of = "t", .predicate = predicate}, .place = {}});
  }

  // Judges all rules as those of one gate, by name. Fails the test where one says something else alone.
  std::map<std::string, RuleResult> JudgeTogether() {
    std::map<std::string, RuleResult> together;
    engine_->SetRules(rules_);
    for (const core::Rule& rule : rules_) together[rule.name] = Judge(rule);
    for (const core::Rule& rule : rules_) {
      engine_->SetRules({});
      EXPECT_EQ(Words(together[rule.name]), Words(Judge(rule)));
    }
    engine_->SetRules(rules_);
    return together;
  }

  std::unique_ptr<Database> OpenDatabase(int threads) {
    const char* stated = std::getenv("CD4ML_DUCKDB");
    return *Database::Open({.libraries = LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
                            .work_folder = folder_,
                            .threads = threads});
  }

  std::vector<core::Rule> rules_;
};

TEST_F(ScanTest, SaysOfEmptyAndUnusualValuesWhatEachRuleSaysAlone) {
  Table("v,w\n1,a\n,b\nNaN,\ninf,a\n1_000,b\n 7 ,a\n1e3,c\n0x1F,a\n-2.5,b\nabc,\n007,a\n1,2,3\n-inf,a\n+4,b\n9223372036854775808,b\n");
  Column("float", {.column = "v", .type = ColumnType::kFloat});
  Column("int", {.column = "v", .type = ColumnType::kInt});
  Column("range", {.column = "v", .value = {0, 1000}});
  Column("whole", {.column = "v", .max_nulls = 0});
  Column("both", {.column = "v", .type = ColumnType::kFloat, .value = {std::nullopt, 5}, .max_nulls = 0.5});
  Column("in", {.column = "v", .in = {"1", "1000", "4"}});
  Column("pattern", {.column = "w", .pattern = "[ab]"});
  Sql("sql", "w = 'a' OR w IS NULL");

  const auto results = JudgeTogether();

  // NaN and what is infinite, grouped or hexadecimal is no number; 1 row does not fit.
  EXPECT_THAT(results.at("float").message, HasSubstr("of 15 rows 6 are no float, 1 do not fit the table, 1 are empty"));
  EXPECT_THAT(results.at("float").rows, ElementsAre("line 4: v = NaN", "line 5: v = inf", "line 6: v = 1_000", "line 9: v = 0x1F",
                                                    "line 11: v = abc", "line 13: 3 of 2 fields: 1,2,3", "line 14: v = -inf"));
  EXPECT_THAT(results.at("int").message, HasSubstr("9 are no int"));
  EXPECT_EQ(results.at("range").observed, "9 of 15 rows bad (60%)");
  EXPECT_THAT(results.at("whole").message, HasSubstr("1 do not fit the table, 1 are empty"));
  EXPECT_THAT(results.at("both").message, HasSubstr("6 are no float, 10 are not <= 5"));
  EXPECT_THAT(results.at("in").message, HasSubstr("are none of"));
  EXPECT_THAT(results.at("pattern").rows, ElementsAre("line 8: w = c", "line 13: 3 of 2 fields: 1,2,3"));
  EXPECT_EQ(results.at("sql").observed, "7 of 15 rows bad (46.6667%)");
}

TEST_F(ScanTest, LetsARuleThatCannotBeJudgedFailAlone) {
  Table("price,day,name\n5,2026-01-02,x\n-1,never,y\n7,2026-01-03,\n");
  Column("price", {.column = "price", .value = {0, std::nullopt}});
  Sql("no-date", "strptime(name, '%Y-%m-%d') IS NOT NULL");   // Fails when it comes to the rows.
  Sql("no-function", "system(name) = 1");
  Sql("no-column", "prize > 0");
  Sql("no-boolean", "price");
  Sql("other-type", "lower(price) = 'x'");                    // Is refused when all statements are put together.
  Sql("sane", "price > 0");
  Column("no-such", {.column = "prize", .max_nulls = 0});
  Column("nothing", {.column = "price"});
  Column("name", {.column = "name", .max_nulls = 0});

  const auto results = JudgeTogether();

  EXPECT_EQ(results.at("price").observed, "1 of 3 rows bad (33.3333%)");
  EXPECT_THAT(results.at("price").rows, ElementsAre("line 3: price = -1"));
  EXPECT_THAT(results.at("sane").rows, ElementsAre("line 3: price = -1"));
  EXPECT_THAT(results.at("name").rows, ElementsAre("line 4: name = (empty)"));
  for (const char* name : {"no-date", "no-function", "no-column", "no-boolean", "no-such", "nothing"})
    EXPECT_EQ(results.at(name).outcome, kError) << name;
}

TEST_F(ScanTest, TakesRowsThatSeveralRulesFindToEachOfThem) {
  std::string text = "a,b,c\n";
  for (int i = 0; i < 40; ++i) {
    text += std::to_string(i % 3 - 1) + "," + std::to_string(i % 4) + "," + std::string(300, 'x') + std::to_string(i) + "\n";
  }
  Table(text);
  Column("a", {.column = "a", .value = {0, std::nullopt}});
  Column("b", {.column = "b", .value = {std::nullopt, 2}});
  Sql("sum", "a + b >= 0");
  Column("c", {.column = "c", .pattern = "x*[0-9]"});

  const auto results = JudgeTogether();

  EXPECT_THAT(results.at("a").rows, SizeIs(10));
  EXPECT_EQ(results.at("a").rows[9], "line 29: a = -1");
  EXPECT_EQ(results.at("b").rows[9], "line 41: b = 3");
  EXPECT_THAT(results.at("sum").rows, ElementsAre("line 2: a = -1, b = 0", "line 14: a = -1, b = 0", "line 26: a = -1, b = 0",
                                                  "line 38: a = -1, b = 0"));
  EXPECT_EQ(results.at("c").rows[0], "line 12: c = " + std::string(120, 'x') + "…");
}

TEST_F(ScanTest, TellsFilesApart) {
  Write("f/a.csv", "x\n1\nbad\n3\n");
  Write("f/b.csv", "x\nworse\nbad\n-3\n");
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  Column("float", {.column = "x", .type = ColumnType::kFloat});
  Column("range", {.column = "x", .value = {0, 2}});

  const auto results = JudgeTogether();

  EXPECT_THAT(results.at("float").rows, ElementsAre("a.csv line 3: x = bad", "b.csv line 2: x = worse", "b.csv line 3: x = bad"));
  EXPECT_THAT(results.at("range").rows, ElementsAre("a.csv line 3: x = bad", "a.csv line 4: x = 3", "b.csv line 2: x = worse",
                                                    "b.csv line 3: x = bad", "b.csv line 4: x = -3"));
}

TEST_F(ScanTest, ReadsParquetAsEachRuleDoes) {
  const std::string path = folder_ + "/t.parquet";
  ASSERT_TRUE(OpenDatabase(1)->Execute("COPY (SELECT i, CASE WHEN i = 3 THEN NULL WHEN i = 4 THEN 'nan'::DOUBLE WHEN i = 5 THEN "
                                       "'inf'::DOUBLE ELSE i / 2 END AS d, CASE WHEN i % 2 = 0 THEN '7' WHEN i = 7 THEN '' ELSE 'x' END AS s, "
                                       "TIMESTAMP '2026-01-01' + to_days(i::INTEGER) AS seen FROM range(12) r(i)) TO " + Literal(path) +
                                       " (FORMAT parquet)").ok());
  ASSERT_TRUE(Add(path).ok());
  Column("float", {.column = "d", .type = ColumnType::kFloat});
  Column("whole", {.column = "d", .max_nulls = 0});
  Column("range", {.column = "i", .value = {2, 10}});
  Column("text", {.column = "s", .value = {0, 9}, .max_nulls = 0});
  Column("time", {.column = "seen", .type = ColumnType::kTimestamp, .pattern = "2026-01-0.*"});
  Sql("sql", "d >= 1 AND seen < '2026-01-10'");

  const auto results = JudgeTogether();

  EXPECT_THAT(results.at("float").rows, ElementsAre("row 5: d = nan", "row 6: d = inf"));
  EXPECT_EQ(results.at("whole").observed, "3 of 12 rows empty (25%)");   // In a column of numbers, what is none is empty.
  EXPECT_THAT(results.at("range").rows, ElementsAre("row 1: i = 0", "row 2: i = 1", "row 12: i = 11"));
  EXPECT_THAT(results.at("text").message, HasSubstr("5 are not 0 .. 9, 1 are empty"));
  EXPECT_THAT(results.at("time").rows, SizeIs(3));
  EXPECT_EQ(results.at("sql").observed, "8 of 12 rows bad (66.6667%)");
}

TEST_F(ScanTest, KeepsNamesOfTheFileApartFromItsOwn) {
  Table("cd4ml_q7,CD4ML_Q8,c0,n1,file,line,bad,cd4ml_line\n1,2,3,4,5,6,7,8\n-1,-2,-3,-4,-5,-6,-7,-8\n");
  Column("q0", {.column = "cd4ml_q7", .value = {0, std::nullopt}});
  Column("n1", {.column = "n1", .max_nulls = 0});
  for (const std::string name : {"cd4ml_q7", "CD4ML_Q8", "c0", "n1", "file", "line", "bad"}) Sql("sql-" + name, name + " > 0");

  const auto results = JudgeTogether();

  EXPECT_EQ(results.at("q0").observed, "1 of 2 rows bad (50%)");
  EXPECT_THAT(results.at("sql-cd4ml_q7").rows, ElementsAre("line 3: cd4ml_q7 = -1"));
  EXPECT_THAT(results.at("sql-CD4ML_Q8").rows, ElementsAre("line 3: CD4ML_Q8 = -2"));
  EXPECT_THAT(results.at("sql-c0").rows, ElementsAre("line 3: c0 = -3"));
  EXPECT_THAT(results.at("sql-n1").rows, ElementsAre("line 3: n1 = -4"));
  EXPECT_THAT(results.at("sql-file").rows, ElementsAre("line 3: file = -5"));
  EXPECT_THAT(results.at("sql-line").rows, ElementsAre("line 3: line = -6"));
  EXPECT_THAT(results.at("sql-bad").rows, ElementsAre("line 3: bad = -7"));
}

TEST_F(ScanTest, AsksMoreRulesThanAStatementTakes) {
  std::string text = "v\n";
  for (int i = 0; i < 100; ++i) text += std::to_string(i) + "\n";
  Table(text);
  for (int i = 0; i < 75; ++i) {
    if (i % 25 == 7) Sql("fails" + std::to_string(i), "strptime(CAST(v AS VARCHAR), 'x') IS NULL");
    Column("max" + std::to_string(i), {.column = "v", .value = {std::nullopt, i}, .max_bad_share = 1});
  }
  engine_->SetRules(rules_);

  for (int i = 0; i < 75; ++i) {
    const ColumnRule rule{.of = "t", .column = "v", .value = {std::nullopt, i}, .max_bad_share = 1};
    EXPECT_EQ(Judge(rule).observed, std::to_string(99 - i) + " of 100 rows bad (" + std::to_string(99 - i) + "%)");
    EXPECT_THAT(Judge(rule).rows[0], HasSubstr("v = " + std::to_string(i + 1)));
  }
}

TEST_F(ScanTest, ForgetsWhatItHasSeenOfATableThatIsReplaced) {
  Table("v\n1\n-1\n");
  Column("v", {.column = "v", .value = {0, std::nullopt}});
  engine_->SetRules(rules_);
  EXPECT_EQ(Judge(rules_[0]).observed, "1 of 2 rows bad (50%)");
  Table("v\n1\n-1\n-2\n-3\n");
  EXPECT_EQ(Judge(rules_[0]).observed, "3 of 4 rows bad (75%)");
}

TEST_F(ScanTest, ExcludesFromSegmentsAndTakesIntoQuarantineWhatAnyOfManyRulesFinds) {
  std::string text = "brand,v\n";
  for (int i = 0; i < 80; ++i) text += (i % 2 == 0 ? "bmw," : "vw,") + std::to_string(i) + "\n";
  Table(text + "audi\n");
  for (int i = 0; i < 40; ++i) Sql("not" + std::to_string(i), "v <> " + std::to_string(2 * i));   // Each breaks one bmw.
  Column("outlier", {.column = "v", .max_bad_share = 1, .outliers = core::OutlierMethod::kIqr});
  Column("empty", {.column = "v", .max_nulls = 0.5});
  engine_->SetRules(rules_);
  core::SegmentsRule segments{.of = "t", .by = {"brand"}, .rows_min = 1};

  EXPECT_THAT(*engine_->QualifyingSegments(segments), ElementsAre("vw"));
  const std::string path = folder_ + "/bad.csv";
  ASSERT_TRUE(engine_->WriteBadRows("t", rules_, path).ok());
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  ASSERT_THAT(lines, SizeIs(42));
  EXPECT_EQ(lines[1], "2,not0,,bmw,0");
  EXPECT_EQ(lines[40], "80,not39,,bmw,78");
  EXPECT_EQ(lines[41], "82,,1 of 2 fields: audi,,");

  rules_.resize(1);
  engine_->SetRules(rules_);
  EXPECT_THAT(*engine_->QualifyingSegments(segments), ElementsAre("bmw", "vw"));
}

TEST_F(ScanTest, LeavesTheDatabaseAsManyThreadsAsItWasGiven) {
  const std::unique_ptr<Database> database = OpenDatabase(3);
  { const SingleThread single(*database); }
  EXPECT_EQ(*(*database->Query("SELECT CAST(current_setting('threads') AS BIGINT)"))[0][0], "3");
}

}  // namespace
}  // namespace cd4ml::table
