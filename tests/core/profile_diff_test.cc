// Two profiles side by side, by columns made by hand.
#include "cd4ml/core/profile_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cd4ml/core/drift.h"

namespace cd4ml::core {
namespace {

using ::testing::ElementsAre;

ColumnProfile Numbers(std::vector<int64_t> counts, double mean, double median) {
  ColumnProfile column{.numeric = true, .mean = mean, .type = "BIGINT"};
  for (size_t i = 1; i < counts.size(); ++i) column.edges.push_back(static_cast<double>(i));
  for (const int64_t count : counts) column.rows += count;
  column.counts = std::move(counts);
  column.quantiles = {0, 0, 0, median, median, median, median};
  return column;
}

ColumnProfile Texts(std::map<std::string, int64_t> top, int64_t nulls) {
  ColumnProfile column{.nulls = nulls, .type = "VARCHAR"};
  column.rows = nulls;
  for (const auto& [text, count] : top) column.rows += count;
  column.top = std::move(top);
  return column;
}

TableProfile Table(std::map<std::string, ColumnProfile> columns) {
  return {.rows = columns.empty() ? 0 : columns.begin()->second.rows, .columns = std::move(columns)};
}

TEST(DiffProfiles, NamesColumnsThatCameWentAndChangedFirst) {
  const TableProfile before = Table({{"gone", Numbers({5, 5}, 1, 1)}, {"same", Numbers({5, 5}, 1, 1)}, {"typed", Numbers({5, 5}, 1, 1)}});
  TableProfile after = Table({{"came", Texts({{"a", 9}}, 1)}, {"same", Numbers({5, 5}, 1, 1)}, {"typed", Texts({{"x", 10}}, 0)}});

  const TableDifference difference = DiffProfiles(before, after, {{"same", after.columns["same"]}});

  std::vector<std::string> changes;
  for (const ColumnDifference& column : difference.columns) changes.push_back(column.name + " " + std::string(ToText(column.change)));
  EXPECT_THAT(changes, ElementsAre("gone removed", "came added", "typed type", "same same"));
  EXPECT_EQ(difference.columns[0].type_before, "BIGINT");
  EXPECT_EQ(difference.columns[0].type_after, "");
  EXPECT_DOUBLE_EQ(*difference.columns[1].nulls_after, 0.1);
  EXPECT_FALSE(difference.columns[2].mean_before.has_value()) << "one side is text";
  EXPECT_NEAR(*difference.columns[3].psi, 0, 1e-15);
  EXPECT_NEAR(*difference.columns[3].js, 0, 1e-7);
}

TEST(DiffProfiles, OrdersWhatIsTheSameByHowFarItMoved) {
  const TableProfile before = Table({{"a", Numbers({50, 50}, 1, 1)}, {"b", Numbers({50, 50}, 1, 1)}});
  const TableProfile after = Table({{"a", Numbers({51, 49}, 1.1, 1.5)}, {"b", Numbers({90, 10}, 0.2, 0.5)}});

  const TableDifference difference = DiffProfiles(before, after, after.columns);

  ASSERT_EQ(difference.columns.size(), 2u);
  EXPECT_EQ(difference.columns[0].name, "b");
  EXPECT_EQ(*difference.columns[0].psi, PopulationStabilityIndex(before.columns.at("b"), after.columns.at("b")));
  EXPECT_EQ(*difference.columns[1].mean_before, 1);
  EXPECT_EQ(*difference.columns[1].mean_after, 1.1);
  EXPECT_EQ(*difference.columns[1].median_after, 1.5);
}

TEST(DiffProfiles, TellsBothSidesOfEveryNumber) {
  const TableProfile before = Table({{"a", Texts({{"x", 60}, {"y", 30}}, 10)}});
  const TableProfile after = Table({{"a", Texts({{"x", 20}, {"y", 40}}, 40)}});

  const ColumnDifference column = DiffProfiles(before, after, after.columns).columns.at(0);

  EXPECT_DOUBLE_EQ(*column.nulls_before, 0.1);
  EXPECT_DOUBLE_EQ(*column.nulls_after, 0.4);
  EXPECT_EQ(*column.psi, PopulationStabilityIndex(before.columns.at("a"), after.columns.at("a")));
  EXPECT_EQ(*column.js, JensenShannonDistance(before.columns.at("a"), after.columns.at("a")));
  EXPECT_NE(*column.js, *column.psi);
}

TEST(DiffProfiles, HasNoIndexAndNoSharesWhereThereAreNoRows) {
  const TableProfile before = Table({{"a", Numbers({0, 0}, 0, 0)}});
  const TableProfile after = Table({{"a", Numbers({1, 2}, 1, 1)}});

  const ColumnDifference column = DiffProfiles(before, after, after.columns).columns.at(0);

  EXPECT_FALSE(column.psi.has_value());
  EXPECT_FALSE(column.nulls_before.has_value());
  EXPECT_FALSE(column.mean_before.has_value());
  EXPECT_EQ(*column.nulls_after, 0);
}

TEST(DiffProfiles, IsJsonWithWhatIsKnown) {
  const TableProfile before = Table({{"a", Texts({{"x", 3}}, 1)}});
  const TableProfile after = Table({{"b", Texts({{"x", 3}}, 0)}});

  EXPECT_EQ(ToJson(ToValue(DiffProfiles(before, after, {}))),
            R"({"columns":[{"change":"removed","name":"a","nulls_before":0.25,"type_before":"VARCHAR"},)"
            R"({"change":"added","name":"b","nulls_after":0.0,"type_after":"VARCHAR"}],"rows_after":3,"rows_before":4})");
}

}  // namespace
}  // namespace cd4ml::core
