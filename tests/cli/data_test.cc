// `cd4ml data`: what is shown of profiles, which the fake table engine has ready.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/fake_daemon.h"
#include "cli/golden.h"
#include "cli/words.h"

namespace cd4ml::cli {
namespace {

using ::testing::HasSubstr;

core::ColumnProfile Numbers(std::vector<int64_t> counts, int64_t nulls, double mean, std::vector<double> quantiles) {
  core::ColumnProfile column{.numeric = true, .nulls = nulls, .min = quantiles.front(), .max = quantiles.back(), .mean = mean,
                             .std = 1234.5678, .quantiles = quantiles, .distinct = 812, .type = "BIGINT"};
  column.rows = nulls;
  for (size_t i = 1; i < counts.size(); ++i) column.edges.push_back(1000.0 * static_cast<double>(i));
  for (const int64_t count : counts) column.rows += count;
  column.counts = std::move(counts);
  return column;
}

core::ColumnProfile Texts(std::map<std::string, int64_t> top, int64_t other, int64_t nulls) {
  core::ColumnProfile column{.nulls = nulls, .distinct = static_cast<int64_t>(top.size()) + other, .type = "VARCHAR", .other = other};
  column.rows = nulls + other;
  for (const auto& [text, count] : top) column.rows += count;
  column.top = std::move(top);
  return column;
}

FakeWorld WithTables() {
  FakeWorld world;
  core::TableProfile january{.rows = 18'705, .columns = {}};
  january.columns["price"] = Numbers({9'000, 9'700}, 5, 5'123.25, {0, 200, 1'200, 3'000, 7'500, 20'000, 99'999});
  january.columns["brand"] = Texts({{"volkswagen", 3'998}, {"bmw \x1b[31m", 2'038}}, 12'669, 0);
  january.columns["gearbox"] = Texts({{"manuell", 13'800}, {"automatik", 3'900}}, 0, 1'005);
  january.columns["empty"] = Texts({}, 0, 18'705);
  core::TableProfile february = january;
  february.rows = 20'000;
  february.columns["price"] = Numbers({4'000, 15'990}, 10, 7'000.5, {0, 300, 2'000, 4'500, 9'500, 22'000, 150'000});
  february.columns.erase("gearbox");
  february.columns["fuel"] = Texts({{"diesel", 20'000}}, 0, 0);
  february.columns["empty"].type = "DATE";
  world.tables = {{"january.csv", january}, {"february.csv", february}, {"ragged.csv", {.rows = 1, .columns = {}}}};
  return world;
}

TEST(DataProfile, DescribesEveryColumnWithinEightyColumns) {
  FakeWorld world = WithTables();
  const CliResult result = world.Run({"data", "profile", "january.csv"});
  ExpectGolden("data_profile", Transcript(result));
  EXPECT_EQ(world.connected_to, "") << "needs no daemon";
  ExpectGolden("data_profile_wide", Transcript(world.Run({"data", "profile", "january.csv", "-o", "wide"})));
}

TEST(DataProfile, IsTheStoredProfileAsJson) {
  FakeWorld world = WithTables();
  const CliResult result = world.Run({"data", "profile", "january.csv", "-o", "json"});
  const absl::StatusOr<Value> value = ParseJson(result.out);
  ASSERT_TRUE(value.ok()) << result.out;
  EXPECT_EQ(*value->Find("table"), Value("january.csv"));
  const absl::StatusOr<core::TableProfile> profile = core::ProfileFromValue(*value);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(core::ToValue(*profile), core::ToValue(world.tables["january.csv"]));

  const absl::StatusOr<Value> both = ParseJson(world.Run({"data", "profile", "january.csv", "february.csv", "-o", "json"}).out);
  ASSERT_TRUE(both.ok() && both->is_list());
  EXPECT_EQ(both->list().size(), 2u);
}

TEST(DataProfile, SaysWhichRowsDoNotFit) {
  FakeWorld world = WithTables();
  EXPECT_THAT(world.Run({"data", "profile", "ragged.csv"}).err, HasSubstr("ragged.csv: does not fit: line 3: 1 of 2 fields: 3"));
}

TEST(DataDiff, NamesWhatCameWentAndMoved) {
  FakeWorld world = WithTables();
  ExpectGolden("data_diff", Transcript(world.Run({"data", "diff", "january.csv", "february.csv"})));
  ExpectGolden("data_diff_json", Transcript(world.Run({"data", "diff", "january.csv", "february.csv", "-o", "json"})));
}

TEST(DataDiff, FindsNothingBetweenATableAndItself) {
  FakeWorld world = WithTables();
  const CliResult result = world.Run({"data", "diff", "january.csv", "january.csv"});
  EXPECT_EQ(result.code, 0);
  for (const char* word : {"->", "added", "removed", "moved"}) EXPECT_THAT(result.out, ::testing::Not(HasSubstr(word)));
}

TEST(DataDiff, ComparesWithAProfileOfAFileOrOfARun) {
  FakeWorld world = WithTables();
  const std::string between = world.Run({"data", "diff", "january.csv", "february.csv"}).out;
  world.files["january.json"] = world.Run({"data", "profile", "january.csv", "-o", "json"}).out;
  RunView view = world.daemon.runs["cars/1"] = {.run = MakeRun(1)};
  core::StageRun& stage = view.run.stages.front();
  stage.attempts.resize(1);
  stage.attempts[0].outcome.outputs = {{.name = "clean", .path = "clean.csv"}, {.name = "rejected", .path = "r.csv"}};
  ArtifactRef& profile = stage.attempts[0].outcome.outputs[0].profile.emplace();
  profile.digest = Sha256("january");
  stage.attempts[0].state = core::AttemptState::kSucceeded;
  stage.state = core::StageState::kSucceeded;
  world.daemon.artifacts[profile.digest.hex()] = world.files["january.json"];
  world.daemon.runs["cars/1"] = view;
  const std::string reference = "run:cars/1/" + stage.plan.name + ".";

  EXPECT_EQ(world.Run({"data", "diff", "january.json", "february.csv"}).out, between);
  EXPECT_EQ(world.connected_to, "");
  EXPECT_EQ(world.Run({"data", "diff", reference + "clean", "february.csv"}).out, between);
  EXPECT_THAT(world.Run({"data", "diff", reference + "cleam", "february.csv"}).err, HasSubstr("did you mean \"" + stage.plan.name + ".clean\"?"));
  EXPECT_THAT(world.Run({"data", "diff", reference + "rejected", "february.csv"}).err, HasSubstr("has kept no profile of"));
  EXPECT_THAT(world.Run({"data", "diff", "run:cars", "february.csv"}).err, HasSubstr("run:PIPELINE/NUMBER/STAGE.TABLE"));
  EXPECT_EQ(world.Run({"data", "diff", "january.csv", "january.json"}).code, kExitUsage);
  world.files["bad.json"] = "[]";
  EXPECT_THAT(world.Run({"data", "diff", "bad.json", "february.csv"}).err, HasSubstr("bad.json is no profile of one table"));
}

TEST(Data, RefusesWhatItDoesNotUnderstand) {
  FakeWorld world = WithTables();
  for (const char* csv : {"encoding", "colour=red", "header=maybe", "="}) {
    const CliResult result = world.Run({"data", "profile", "january.csv", "--csv", csv});
    EXPECT_EQ(result.code, kExitUsage) << csv;
    EXPECT_THAT(result.err, HasSubstr("--csv")) << csv;
  }
  EXPECT_EQ(world.Run({"data", "profile", "january.csv", "--csv", "encoding=latin-1", "--csv", "columns.price=text"}).code, 0);
  const CliResult gone = world.Run({"data", "diff", "january.csv", "march.csv"});
  EXPECT_NE(gone.code, 0);
  EXPECT_THAT(gone.err, HasSubstr("there is no file \"march.csv\""));
  EXPECT_EQ(world.Run({"data", "profile"}).code, kExitUsage);
}

TEST(Data, SaysHowToGetTheTableLibrary) {
  FakeWorld world = WithTables();
  world.no_tables = "tables need libduckdb.so; run scripts/setup";
  const CliResult result = world.Run({"data", "profile", "january.csv"});
  EXPECT_NE(result.code, 0);
  EXPECT_THAT(result.err, HasSubstr("run scripts/setup"));
}

}  // namespace
}  // namespace cd4ml::cli
