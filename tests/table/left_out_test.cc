// What cannot be read, compared or counted is said, and where it is most of a table there is no verdict but an error.
#include <zlib.h>

#include <stop_token>
#include <thread>

#include "table/duckdb.h"
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using core::KeyRule;
using core::RuleResult;
using core::Statistic;
using core::StatRule;
using enum core::VerdictOutcome;
using ::testing::HasSubstr;

// Before the first engine is opened: no table of these tests may be read by the clock of the place where they run.
[[maybe_unused]] const int kElsewhere = setenv("TZ", "Asia/Kolkata", /*overwrite=*/1);

class LeftOut : public TableTest {
 protected:
  // Makes `select` the table `name`, of a file that has types.
  void Parquet(const std::string& select, const std::string& name = "t") {
    auto database = Database::Open({.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
    ASSERT_TRUE(database.ok()) << database.status();
    const std::string path = folder_ + "/" + name + ".parquet";
    ASSERT_TRUE((*database)->Execute("COPY (" + select + ") TO " + Literal(path) + " (FORMAT parquet)").ok());
    ASSERT_TRUE(Add(path, {}, name).ok());
  }
  RuleResult Leak(const std::string& column) {
    return Judge(KeyRule{.of = "t", .columns = {}, .other = "test", .other_columns = {column}, .disjoint = true});
  }
  RuleResult Refers(const std::string& column) {
    return Judge(KeyRule{.of = "t", .columns = {}, .other = "test", .other_columns = {column}});
  }
  static StatRule Of(Statistic stat, core::Bounds bounds) {
    return {.of = "t", .stat = stat, .column = "v", .value = bounds};
  }
  // `bad` values that are no numbers among `good` ones.
  void Mixed(int good, int bad) {
    std::string text = "v,id\n";
    for (int i = 0; i < good + bad; ++i) text += (i < good ? std::to_string(i) : "abc") + "," + std::to_string(i) + "\n";
    Table(text);
  }
};

TEST_F(LeftOut, AnInstantOfAFileWithTypesIsThatEverywhere) {
  Parquet("SELECT TIMESTAMPTZ '2026-11-26T17:46:20+02:00' AS seen");
  const auto is = [&](const std::string& time) { return Judge(core::SqlRule{"t", "seen = TIMESTAMP '2026-11-26 " + time + "'", 0}); };
  EXPECT_EQ(is("15:46:20").outcome, kPass) << is("15:46:20").rows[0];
  Table("seen\n2026-11-26 15:46:20\n");
  EXPECT_EQ(is("15:46:20").outcome, kPass);
}

TEST_F(LeftOut, ThePeriodOfTheRowsDoesNotTellWhatAColumnIs) {
  std::string text = "a,b\n";
  for (int i = 0; i < 30'000; ++i) text += std::string(i % 4 == 2 ? "1" : "x") + (i % 20 == 2 ? ",n/a\n" : ",1\n");
  Table(text);
  const core::TableProfile profile = *engine_->Profile("t");
  EXPECT_FALSE(profile.columns.at("a").numeric) << "one in four is a number";
  EXPECT_TRUE(profile.columns.at("b").numeric) << "one in twenty is none";
}

TEST_F(LeftOut, KeysThatAreTheSameNumberAreTheSame) {
  Parquet("SELECT i::DOUBLE AS id FROM range(3) r(i)");
  Table("id\n1\n2\n", "test");
  EXPECT_EQ(Leak("id").observed, "2 of 3 rows also in test.id (66.6667%)");
  EXPECT_EQ(Refers("id").observed, "1 of 3 rows not in test.id (33.3333%)");
  Table("id\n1.0\n2.50\n9007199254740993\n007\n1e2\n");
  Table("id\n1\n2.5\n9007199254740992\n7\n100\n", "test");
  EXPECT_EQ(Leak("id").observed, "3 of 5 rows also in test.id (60%)") << "neither the large one, nor what is text by its zeros";
  Table("id\n1\n1.0\n");
  EXPECT_EQ(Judge(core::UniqueRule{.of = "t", .columns = {"id"}}).outcome, kFail);
  EXPECT_EQ(Column("id", [](core::ColumnRule& rule) { rule.in = {"1"}; }).outcome, kPass);
  EXPECT_EQ(Column("id", [](core::ColumnRule& rule) { rule.in = {"1.00"}; }).outcome, kPass);
  EXPECT_EQ(Column("id", [](core::ColumnRule& rule) { rule.in = {"2"}; }).outcome, kFail);
}

TEST_F(LeftOut, WhereNothingWasComparedNothingPasses) {
  Table("id,x\n,1\n,2\n");
  Table("id,x\n1,1\n", "test");
  EXPECT_EQ(Leak("id").outcome, kError);
  EXPECT_EQ(Refers("id").outcome, kError);
  EXPECT_THAT(Leak("id").message, HasSubstr("no row of \"t\" has a key"));
  Table("id,x\n1,1\n");
  Table("id,x\n,1\n", "test");
  EXPECT_THAT(Leak("id").message, HasSubstr("no row of \"test\" has a key"));
  Table("id,x\nbroken\n");
  EXPECT_THAT(Judge(core::UniqueRule{.of = "t", .columns = {"id"}}).message, HasSubstr("no row of \"t\" fits the table"));
}

TEST_F(LeftOut, WhatIsNoNumberIsEmptyAmongNumbers) {
  const auto no_nulls = [this] { return Column("v", [](core::ColumnRule& rule) { rule.max_nulls = 0; }).outcome; };
  for (const std::string values : {"CASE WHEN i = 7 THEN 'nan'::DOUBLE ELSE i END", "'nan'::DOUBLE",
                                   "CASE WHEN i = 7 THEN 'nan'::DOUBLE ELSE i END::VARCHAR"}) {
    Parquet("SELECT " + values + " AS v FROM range(40) r(i)");
    EXPECT_EQ(no_nulls(), kFail) << values;
    EXPECT_EQ(Judge(Of(Statistic::kNulls, {std::nullopt, 0.0})).outcome, kFail) << values;
    EXPECT_EQ(Judge(Of(Statistic::kCount, {40, std::nullopt})).outcome, kFail) << values;
  }
  Mixed(40, 1);
  EXPECT_EQ(no_nulls(), kFail);
  Parquet("SELECT i::DOUBLE AS v FROM range(40) r(i)");
  EXPECT_EQ(no_nulls(), kPass);
  Table("v\nNan\nAnn\n");
  EXPECT_EQ(no_nulls(), kPass) << "a column of names";
}

TEST_F(LeftOut, AFileIsLikeItself) {
  for (const auto& [good, bad] : {std::pair(40, 1), std::pair(40, 20)}) {
    Mixed(good, bad);
    baselines_["last_accepted.t"] = {*engine_->Profile("t"), "cars/7"};
    for (const Statistic stat : {Statistic::kNulls, Statistic::kCount, Statistic::kDistinct}) {
      StatRule rule = Of(stat, {});
      rule.versus = "last_accepted";
      rule.max_change.abs = 0;
      EXPECT_EQ(Judge(rule).outcome, kPass) << Judge(rule).message;
    }
  }
}

TEST_F(LeftOut, StatisticsSayHowManyValuesTheyCouldNotRead) {
  Mixed(5, 5);
  const RuleResult half = Judge(Of(Statistic::kMax, {std::nullopt, 10}));
  EXPECT_EQ(half.outcome, kPass);
  EXPECT_THAT(half.message, HasSubstr("5 of 10 values of \"v\" are no numbers and were left out"));
  Mixed(5, 6);
  EXPECT_EQ(Judge(Of(Statistic::kMax, {std::nullopt, 10})).outcome, kError);
  const RuleResult outliers = Column("v", [](core::ColumnRule& rule) { rule.outliers = core::OutlierMethod::kIqr; });
  EXPECT_EQ(outliers.outcome, kError);
  EXPECT_THAT(outliers.message, HasSubstr("6 of 11 values of \"v\" are no numbers"));
  EXPECT_EQ(JudgeBy({"id"}, Of(Statistic::kMax, {std::nullopt, 10})).outcome, kError);
}

TEST_F(LeftOut, TimesSayHowManyValuesTheyCouldNotRead) {
  engine_->SetNow(*ParseTime("2016-04-07T12:00:00Z"));
  Table("v,seen\n1,2016-04-07\n2,soon\n3,later\n");
  EXPECT_EQ(Judge(core::FreshRule{"t", "seen", Duration(86'400'000)}).outcome, kError);
  StatRule window = Of(Statistic::kMax, {std::nullopt, 10});
  window.window_column = "seen";
  window.window_last = Duration(86'400'000);
  EXPECT_THAT(Judge(window).message, HasSubstr("2 of 3 values of \"seen\" are no dates or times"));
  Table("v,seen\n1,2016-04-07\n2,2016-04-06\n3,later\n");
  EXPECT_EQ(Judge(core::FreshRule{"t", "seen", Duration(86'400'000)}).outcome, kPass);
  EXPECT_THAT(Judge(window).message, HasSubstr("1 of 3 values of \"seen\" are no dates or times and were left out"));
  engine_->SetNow({});
}

TEST_F(LeftOut, DriftWithoutRowsOrColumnIsAnErrorAlsoWhileThereIsNoBaseline) {
  core::DriftRule drift;
  drift.of = "t";
  drift.columns = {"v"};
  drift.versus = "last_accepted";
  Table("v\n1\n");
  EXPECT_EQ(Judge(drift).outcome, kPass);
  drift.columns = {"w"};
  EXPECT_EQ(Judge(drift).outcome, kError);
  drift.columns = {"v"};
  Table("v\n");
  EXPECT_EQ(Judge(drift).outcome, kError);
}

TEST_F(LeftOut, RowsThatBreakARuleOfTheGateCountForNoSegment) {
  Table("brand,price\nbmw,1\nbmw,2\nvw,1\nvw,-2\n");
  core::SegmentsRule segments;
  segments.of = "t";
  segments.by = {"brand"};
  segments.rows_min = 2;
  EXPECT_THAT(*engine_->QualifyingSegments(segments), ::testing::ElementsAre("bmw", "vw"));
  core::ColumnRule price;
  price.of = "t";
  price.column = "price";
  price.value.min = 0;
  price.max_bad_share = 0.5;
  engine_->SetRules({core::Rule{.name = "price", .body = price, .place = {}}});
  EXPECT_THAT(*engine_->QualifyingSegments(segments), ::testing::ElementsAre("bmw"));
  EXPECT_EQ(Judge(segments).observed, "1 of 2 segments qualify, with 50% of the rows");
  engine_->SetRules({});
}

TEST_F(LeftOut, NoFileOfAFolderIsPassedOverInSilence) {
  Write("f/a.csv", "x\n1\n");
  Write("f/b.CSV", "x\n2\n");
  Write("f/_SUCCESS", "");
  ASSERT_TRUE(Add(folder_ + "/f").ok());
  EXPECT_EQ(Rows(), 2);
  for (const std::string name : {"e.dat", "part-00000", "y.csv.zst", "notes.md"}) {
    Write("f/" + name, "x\n3\n");
    EXPECT_THAT(Message(Add(folder_ + "/f")), HasSubstr("also holds \"" + name + "\"")) << name;
    std::filesystem::remove(folder_ + "/f/" + name);
  }
}

TEST_F(LeftOut, EveryMemberOfAGzipFileIsRead) {
  const auto packed = [this](const std::string& text) {
    const std::string path = folder_ + "/one.gz";
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string first = packed("a\n1\n"), second = packed("2\n3\n");
  ASSERT_TRUE(Add(Write("t.csv.gz", first + second + std::string(512, '\0'))).ok());
  EXPECT_EQ(Rows(), 3);
  std::string damaged = second;
  damaged[0] = 'x';
  EXPECT_THAT(Refusal("t.csv.gz", first + damaged), HasSubstr("cannot be read to its end"));
  EXPECT_THAT(Refusal("t.csv.gz", first + second.substr(0, second.size() - 3)), HasSubstr("cannot be read to its end"));
}

// A statement of days, stopped while it runs or just before.
TEST_F(LeftOut, AJudgementEndsWhenItIsStopped) {
  auto database = Database::Open({.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
  ASSERT_TRUE(database.ok()) << database.status();
  std::stop_source stop;
  (*database)->SetStop(stop.get_token());
  ASSERT_TRUE((*database)->Execute("CREATE TABLE t AS SELECT 1").ok());
  const std::jthread stopper([&] {
    volatile uint64_t turns = 0;   // For longer than it takes to begin.
    while (turns < 100'000'000) turns = turns + 1;
    stop.request_stop();
  });
  const auto rows = (*database)->Query("SELECT count(*) FROM range(10000000) a(x), range(10000000) b(y) WHERE x * y % 7 = 3");
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kCancelled) << rows.status();
  EXPECT_EQ((*database)->Execute("CREATE TABLE u AS SELECT 1").code(), absl::StatusCode::kCancelled);
}

TEST_F(LeftOut, NothingIsJudgedOnceItIsStopped) {
  auto engine = OpenTableEngine({.libraries = LibraryCandidates("", CD4ML_SOURCE_DIR), .work_folder = folder_});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const std::string path = Write("t.csv", "v\n1\n2\n");
  ASSERT_TRUE((*engine)->AddTable({.name = "t", .path = path, .csv = {}}).ok());
  const core::Rule rule{.name = "positive", .body = core::SqlRule{.of = "t", .predicate = "v > 0"}, .place = {}};
  EXPECT_EQ((*engine)->Judge(rule, {}).outcome, kPass);
  std::stop_source stop;
  (*engine)->SetStop(stop.get_token());
  stop.request_stop();
  EXPECT_EQ((*engine)->Judge(rule, {}).outcome, kError);
  EXPECT_FALSE((*engine)->AddTable({.name = "u", .path = path, .csv = {}}).ok());
  EXPECT_FALSE((*engine)->Profile("t").ok());
}

}  // namespace
}  // namespace cd4ml::table
