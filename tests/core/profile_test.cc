// Column profiles: their JSON, counting like a reference, and the stability index against golden
// values.
#include "cd4ml/core/profile.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cd4ml/core/drift.h"

namespace cd4ml::core {
namespace {

ColumnProfile Histogram(std::vector<int64_t> counts, int64_t nulls = 0) {
  ColumnProfile column;
  column.numeric = true;
  for (size_t i = 1; i < counts.size(); ++i) column.edges.push_back(static_cast<double>(i));
  for (const int64_t count : counts) column.rows += count;
  column.rows += nulls;
  column.nulls = nulls;
  column.counts = std::move(counts);
  return column;
}

ColumnProfile Categories(std::map<std::string, int64_t> top, int64_t other, int64_t nulls) {
  ColumnProfile column;
  for (const auto& [category, count] : top) column.rows += count;
  column.rows += other + nulls;
  column.top = std::move(top);
  column.other = other;
  column.nulls = nulls;
  return column;
}

// Golden values: numpy 1.24, the formula of profile.cc written with arrays.
TEST(PopulationStabilityIndex, AgreesWithNumpy) {
  const ColumnProfile even = Histogram(std::vector<int64_t>(10, 100));
  EXPECT_NEAR(
      PopulationStabilityIndex(even, Histogram({150, 140, 130, 120, 110, 90, 80, 70, 60, 50})),
      0.11620106636074304, 1e-12);
  EXPECT_NEAR(PopulationStabilityIndex(Histogram(std::vector<int64_t>(10, 1000)),
                                       Histogram({0, 0, 0, 0, 0, 100, 100, 100, 100, 100})),
              2.601436773713334, 1e-12);
  EXPECT_NEAR(PopulationStabilityIndex(Histogram(std::vector<int64_t>(10, 10000)),
                                       Histogram(std::vector<int64_t>(10, 1000), 50)),
              0.06069629121948372, 1e-12);
  EXPECT_NEAR(PopulationStabilityIndex(Categories({{"a", 3}, {"b", 0}, {"c", 0}}, 5, 2),
                                       Categories({{"a", 0}, {"b", 4}, {"c", 1}}, 0, 0)),
              2.7675166564342235, 1e-12);
}

// 5,000 values of N(0, 1) against 3,000 of N(0.5, 1): the textbook formula without smoothing says
// 0.253919.
TEST(PopulationStabilityIndex, IsTheTextbookValueWhereNoBinIsSparse) {
  EXPECT_NEAR(
      PopulationStabilityIndex(Histogram(std::vector<int64_t>(10, 500)),
                               Histogram({104, 154, 193, 214, 226, 298, 311, 419, 429, 652})),
      0.253919, 1e-3);
}

TEST(PopulationStabilityIndex, IsZeroForEqualSharesAndSymmetric) {
  const ColumnProfile a = Histogram({1, 5, 0, 9}, 2);
  const ColumnProfile b = Histogram({7, 0, 3, 1}, 0);

  EXPECT_NEAR(PopulationStabilityIndex(a, a), 0, 1e-15);
  EXPECT_NEAR(PopulationStabilityIndex(a, b), PopulationStabilityIndex(b, a), 1e-15);
  EXPECT_GT(PopulationStabilityIndex(a, b), 0.25);
}

TEST(PopulationStabilityIndex, StaysFiniteWhenNothingIsWhereItWas) {
  const double index = PopulationStabilityIndex(Histogram({1'000'000, 0}), Histogram({0, 1}));

  EXPECT_TRUE(std::isfinite(index));
  EXPECT_GT(index, 1);
}

TEST(PopulationStabilityIndex, SeesANewShareOfNulls) {
  EXPECT_GT(PopulationStabilityIndex(Histogram({500, 500}), Histogram({250, 250}, 500)), 0.25);
}

TEST(PopulationStabilityIndex, DoesNotTakeRareCategoriesForDriftInASmallSample) {
  std::map<std::string, int64_t> large, small;
  for (int i = 0; i < 49; ++i) {
    large["rare" + std::to_string(i)] = 50;
    small["rare" + std::to_string(i)] = 0;
  }
  large["usual"] = 97'550;
  small["usual"] = 100;

  EXPECT_LT(PopulationStabilityIndex(Categories(large, 0, 0), Categories(small, 0, 0)), 0.1);
}

TEST(CountLike, PutsAValueEqualToAnEdgeIntoTheLowerBin) {
  const ColumnProfile counted = CountLike(Histogram({0, 0, 0}), {0.5, 1, 1.5, 2, int64_t{99}});

  EXPECT_EQ(counted.counts, (std::vector<int64_t>{2, 2, 1}));
  EXPECT_EQ(counted.rows, 5);
  EXPECT_EQ(counted.nulls, 0);
  EXPECT_EQ(counted.min, 0.5);
  EXPECT_EQ(counted.max, 99);
  EXPECT_NEAR(counted.mean, 20.8, 1e-12);
}

TEST(CountLike, TellsWhatLiesBeyondAllNumbersOfTheReference) {
  ColumnProfile reference = Histogram({9, 0});
  reference.edges = {5};
  reference.min = reference.max = 5;
  const ColumnProfile counted = CountLike(reference, {4, 5, 4.5, 6, "-7", "x"});
  EXPECT_EQ(counted.counts, (std::vector<int64_t>{4, 1}));
  EXPECT_EQ(counted.below, 3);
  EXPECT_EQ(counted.above, 1);
  EXPECT_EQ(PopulationStabilityIndex(reference, CountLike(reference, {5, 5})), 0);
  EXPECT_GT(PopulationStabilityIndex(reference, CountLike(reference, {4, 4})), 1);
  EXPECT_EQ(JensenShannonDistance(reference, CountLike(reference, {4, 4})), 1);
}

TEST(CountLike, ReadsNumbersFromTextAndCountsEverythingElseAsNull) {
  const ColumnProfile counted = CountLike(
      Histogram({0, 0}), {"0.5", " +7 ", "1e3", "$5,000", "", "  ", Value(), "NaN", "inf", true,
                          std::nan(""), Value::List{1}, "12 km", "--1", "+-1", "+"});

  EXPECT_EQ(counted.counts, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(counted.rows, 16);
  EXPECT_EQ(counted.nulls, 13);
}

TEST(CountLike, CountsKnownCategoriesAndTheRestAsOther) {
  const ColumnProfile counted = CountLike(Categories({{"bmw", 9}, {"7", 1}, {"true", 1}}, 3, 0),
                                          {"bmw", "audi", "bmw", 7, true, Value(), ""});

  EXPECT_EQ(counted.top, (std::map<std::string, int64_t>{{"bmw", 2}, {"7", 1}, {"true", 1}}));
  EXPECT_EQ(counted.other, 1);
  EXPECT_EQ(counted.nulls, 2);
}

TEST(CountLike, CountsNothingOfNothing) { EXPECT_EQ(CountLike(Histogram({1, 2}), {}).rows, 0); }

TableProfile SampleProfile() {
  TableProfile profile;
  profile.rows = 10;
  profile.columns["price"] = Histogram({4, 5}, 1);
  profile.columns["price"].mean = 0.1;
  profile.columns["brand"] = Categories({{"bmw", 6}, {"\xC3\xA4 \"x\"", 1}}, 2, 1);
  return profile;
}

TEST(ProfileJson, ReadsBackWhatItWrote) {
  const std::string json = ToJson(ToValue(SampleProfile()));

  const absl::StatusOr<TableProfile> back = ProfileFromValue(*ParseJson(json));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(ToJson(ToValue(*back)), json);
  EXPECT_EQ(back->columns.at("price").edges, std::vector<double>{1});
}

TEST(ProfileJson, KeepsTheSegmentsThatQualified) {
  TableProfile profile = SampleProfile();
  profile.segments = {"bmw/x5", "vw/golf"};

  const absl::StatusOr<TableProfile> back = ProfileFromValue(ToValue(profile));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->segments, profile.segments);
  for (const char* segments : {"{}", "[1]"}) {
    Value broken = ToValue(profile);
    SetPath(broken, "segments", *ParseJson(segments));
    EXPECT_FALSE(ProfileFromValue(broken).ok()) << segments;
  }
}

TEST(ProfileJson, RefusesWhatIsNoProfile) {
  const std::string good = ToJson(ToValue(SampleProfile()));
  const auto with = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    EXPECT_NE(text.find(from), std::string::npos) << from;
    return text.replace(text.find(from), from.size(), to);
  };
  for (const std::string& text :
       {std::string("null"), std::string("{}"), with("\"rows\":10", "\"rows\":-1"),
        with("\"counts\":[4,5]", "\"counts\":[4]"), with("\"counts\":[4,5]", "\"counts\":[4,-5]"),
        with("\"counts\":[4,5]", "\"counts\":[4,6]"),
        with("\"edges\":[1.0]", "\"edges\":[\"NaN\"]"), with("\"edges\":[1.0]", "\"edges\":1"),
        with("\"numeric\":true", "\"numeric\":1"), with("\"mean\":0.1", "\"mean\":null"),
        with("\"other\":2", "\"other\":1.5"), with("\"columns\"", "\"column\"")}) {
    EXPECT_FALSE(ProfileFromValue(*ParseJson(text)).ok()) << text;
  }
}

TEST(ProfileJson, RefusesEdgesThatDoNotAscend) {
  TableProfile profile = SampleProfile();
  profile.columns["price"].edges = {2, 1};
  profile.columns["price"].counts = {4, 3, 2};

  EXPECT_FALSE(ProfileFromValue(ToValue(profile)).ok());
}

TEST(ProfileJson, KeepsWhatLaterProfilesHave) {
  TableProfile profile = SampleProfile();
  ColumnProfile& price = profile.columns["price"];
  price.std = 1.5;
  price.distinct = 7;
  price.type = "DOUBLE";
  price.quantiles = {1, 2, 3, 4, 5, 6, 7};
  profile.columns["brand"].distinct = 4;

  const absl::StatusOr<TableProfile> back = ProfileFromValue(ToValue(profile));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->columns.at("price").std, 1.5);
  EXPECT_EQ(back->columns.at("price").distinct, 7);
  EXPECT_EQ(back->columns.at("price").type, "DOUBLE");
  EXPECT_EQ(back->columns.at("price").quantiles, price.quantiles);
  EXPECT_EQ(back->columns.at("brand").distinct, 4);

  const std::string good = ToJson(ToValue(profile));
  for (const auto& [from, to] : std::map<std::string, std::string>{{"[1.0,2.0,3.0,4.0", "[1.0,2.0,3.0,2.5"},
                                                                   {"[1.0,2.0,", "[1.0,"},
                                                                   {"\"std\":1.5", "\"std\":\"x\""},
                                                                   {"\"distinct\":7", "\"distinct\":-7"},
                                                                   {"\"type\":\"DOUBLE\"", "\"type\":3"}}) {
    std::string text = good;
    ASSERT_NE(text.find(from), std::string::npos) << from;
    EXPECT_FALSE(ProfileFromValue(*ParseJson(text.replace(text.find(from), from.size(), to))).ok()) << to;
  }
}

TEST(ProfileJson, ReadsProfilesOfBefore) {
  const absl::StatusOr<TableProfile> back = ProfileFromValue(*ParseJson(
      R"({"rows":3,"columns":{"a":{"numeric":true,"rows":3,"nulls":1,"edges":[1.0],"counts":[1,1],"min":1.0,"max":2.0,"mean":1.5},)"
      R"("b":{"numeric":false,"rows":3,"nulls":0,"top":{"x":2},"other":1}}})"));

  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->columns.at("a").std, 0);
  EXPECT_TRUE(back->columns.at("a").quantiles.empty());
  EXPECT_EQ(back->columns.at("b").distinct, 0);
}

}  // namespace
}  // namespace cd4ml::core
