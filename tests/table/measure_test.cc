// Profiles against values computed by hand and with numpy.
#include <cmath>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Measure : public TableTest {};

TEST_F(Measure, ProfilesNumbersByDeciles) {
  std::string text = "v,name\n";
  for (int i = 1; i <= 100; ++i) text += std::to_string(i) + ",x\n";
  Table(text + ",\n,y\n");

  const absl::StatusOr<core::TableProfile> profile = engine_->Profile("t");

  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->rows, 102);
  const core::ColumnProfile& v = profile->columns.at("v");
  EXPECT_TRUE(v.numeric);
  EXPECT_EQ(v.rows, 102);
  EXPECT_EQ(v.nulls, 2);
  EXPECT_THAT(v.edges, ElementsAre(10, 20, 30, 40, 50, 60, 70, 80, 90));
  EXPECT_EQ(v.counts, std::vector<int64_t>(10, 10));
  EXPECT_EQ(v.min, 1);
  EXPECT_EQ(v.max, 100);
  EXPECT_DOUBLE_EQ(v.mean, 50.5);
  EXPECT_DOUBLE_EQ(v.std, std::sqrt(100 * 101 / 12.0));
  EXPECT_THAT(v.quantiles, ::testing::Pointwise(::testing::DoubleNear(1e-12), {1.99, 5.95, 25.75, 50.5, 75.25, 95.05, 99.01}));
  EXPECT_EQ(v.distinct, 100);
  EXPECT_EQ(v.type, "BIGINT");
  const core::ColumnProfile& name = profile->columns.at("name");
  EXPECT_FALSE(name.numeric);
  EXPECT_EQ(name.top, (std::map<std::string, int64_t>{{"x", 100}, {"y", 1}}));
  EXPECT_EQ(name.nulls, 1);
  EXPECT_EQ(name.other, 0);
  EXPECT_EQ(name.distinct, 2);
  EXPECT_EQ(name.type, "VARCHAR");
}

// Cells of every kind: whole and broken numbers, ones that cannot be squared, days, times, categories, texts that are too long
// for one, hardly anything, and nothing.
std::string WideCell(int row, int column) {
  switch (column % 9) {
    case 0: return std::to_string(row * 7919 % 101 - 50);
    case 1: return std::to_string((row * 31 + column) % 17 / 8.0);
    case 2: return row % 3 == 0 ? "1e300" : std::to_string(row);
    case 3: return "2016-03-" + std::to_string(10 + row % 20);
    case 4: return "2016-03-26 10:00:" + std::to_string(10 + row % 50);
    case 5: return "kind" + std::to_string(row * row % (column + 3));
    case 6: return std::string(static_cast<size_t>(150 + row), 'x');
    case 7: return row == 40 ? "5" : "";
    default: return "";
  }
}

TEST_F(Measure, ProfilesAWideTableAsItsColumnsByThemselves) {
  constexpr int kColumns = 300, kRows = 120, kPart = 75;
  const auto text = [](int first, int end) {
    std::string lines;
    for (int row = -1; row < kRows; ++row) {
      for (int c = first; c < end; ++c)
        lines += (c == first ? "" : ",") + (row < 0 ? "c" + std::to_string(c) : WideCell(row, c));
      lines += "\n";
    }
    return lines;
  };
  Table(text(0, kColumns), "wide");

  const absl::StatusOr<core::TableProfile> wide = engine_->Profile("wide");

  ASSERT_TRUE(wide.ok()) << wide.status();
  ASSERT_EQ(wide->columns.size(), size_t{kColumns});
  for (int first = 0; first < kColumns; first += kPart) {
    Table(text(first, first + kPart), "part");
    core::TableProfile part = *engine_->Profile("part");
    for (auto& [name, expected] : part.columns) {
      core::ColumnProfile found = wide->columns.at(name);
      // Sums may differ in their last digit.
      EXPECT_NEAR(found.mean, expected.mean, 1e-13 * std::abs(expected.mean)) << name;
      EXPECT_NEAR(found.std, expected.std, 1e-13 * expected.std) << name;
      found.mean = expected.mean;
      found.std = expected.std;
      EXPECT_EQ(ToJson(core::ToValue({kRows, {{name, found}}, {}})), ToJson(core::ToValue({kRows, {{name, expected}}, {}}))) << name;
    }
  }
}

TEST_F(Measure, NamesTheTypeOfEveryColumn) {
  Table("n,f,whole,day,time,text,empty\n1,1.5,1,2016-03-26,2016-03-26 10:00:00,x,\n2,2,2.0,2016-03-27,2016-03-27,y,\n");

  const core::TableProfile profile = *engine_->Profile("t");

  std::map<std::string, std::string> types;
  for (const auto& [name, column] : profile.columns) types[name] = column.type;
  EXPECT_EQ(types, (std::map<std::string, std::string>{{"n", "BIGINT"},
                                                       {"f", "DOUBLE"},
                                                       {"whole", "DOUBLE"},
                                                       {"day", "DATE"},
                                                       {"time", "TIMESTAMP"},
                                                       {"text", "VARCHAR"},
                                                       {"empty", "VARCHAR"}}));
}

TEST_F(Measure, ProfilesTheLargestAndSmallestNumbersThereAre) {
  Table("v,tiny,one\n1.7976931348623157e308,4.9e-324,3\n-1.7976931348623157e308,-4.9e-324,\n1e308,0,\n");

  const core::TableProfile profile = *engine_->Profile("t");

  const core::ColumnProfile& v = profile.columns.at("v");
  EXPECT_TRUE(std::isfinite(v.mean) && std::isfinite(v.std));
  EXPECT_DOUBLE_EQ(v.mean, 1e308 / 3);
  for (const double quantile : v.quantiles) EXPECT_TRUE(std::isfinite(quantile));
  EXPECT_DOUBLE_EQ(v.quantiles[3], 1e308);
  EXPECT_EQ(profile.columns.at("tiny").distinct, 3);
  EXPECT_EQ(profile.columns.at("one").std, 0) << "one number has no deviation";
  const auto again = core::ProfileFromValue(*ParseJson(ToJson(core::ToValue(profile))));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(core::ToValue(*again), core::ToValue(profile));
}

TEST_F(Measure, ProfilesConstantDirtyEmptyAndForeignColumns) {
  std::string text = "constant,dirty,empty,text,infinite\n";
  for (int i = 0; i < 20; ++i)
    text += "7," + std::string(i == 0 ? "$5" : "1.5") + ",,n" + std::to_string(i) + "," +
            (i == 0 ? "inf" : "1") + "\n";
  Table(text + "broken\n");

  const core::TableProfile profile = *engine_->Profile("t");

  EXPECT_THAT(profile.columns.at("constant").edges, ElementsAre(7));
  EXPECT_THAT(profile.columns.at("constant").counts, ElementsAre(20, 0));
  EXPECT_EQ(profile.columns.at("constant").nulls, 1) << "the row that does not fit";
  EXPECT_TRUE(profile.columns.at("dirty").numeric);
  EXPECT_EQ(profile.columns.at("dirty").nulls, 2);
  EXPECT_FALSE(profile.columns.at("empty").numeric);
  EXPECT_EQ(profile.columns.at("empty").nulls, 21);
  EXPECT_FALSE(profile.columns.at("text").numeric);
  EXPECT_EQ(profile.columns.at("infinite").max, 1);
  EXPECT_TRUE(core::ProfileFromValue(*ParseJson(ToJson(core::ToValue(profile)))).ok());
}

TEST_F(Measure, KeepsTheMostFrequentTextsAndTakesStatedTypes) {
  std::string text = "name,code\n";
  for (int i = 0; i < 60; ++i) text += "name" + std::to_string(i) + ",1\nusual,1\n";
  text += std::string(500, 'x') + ",1\n";
  core::CsvFormat csv;
  csv.columns = {{"code", "text"}};
  Table(text, "t", csv);

  const core::TableProfile profile = *engine_->Profile("t");

  const core::ColumnProfile& name = profile.columns.at("name");
  EXPECT_EQ(name.top.size(), static_cast<size_t>(core::kTopValues));
  EXPECT_EQ(name.top.at("usual"), 60);
  EXPECT_EQ(name.other, 121 - 60 - 49);
  EXPECT_FALSE(profile.columns.at("code").numeric);
}

TEST_F(Measure, ProfilesATableWithoutRows) {
  Table("a,b\n");
  const core::TableProfile profile = *engine_->Profile("t");
  EXPECT_EQ(profile.rows, 0);
  EXPECT_TRUE(core::ProfileFromValue(core::ToValue(profile)).ok());
  EXPECT_FALSE(engine_->Profile("u").ok());
}

}  // namespace
}  // namespace cd4ml::table
