// Profiles and regression metrics against values computed by hand and with numpy.
#include <cmath>

#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Measure : public TableTest {
 protected:
  absl::StatusOr<core::MetricSet> Metrics(std::string_view bytes,
                                          std::vector<std::string> slices = {}) {
    core::PredictionsSpec spec;
    spec.truth = "y";
    spec.prediction = "p";
    spec.slices = std::move(slices);
    return engine_->RegressionMetrics(Write("eval.csv", bytes), spec);
  }
};

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
  const core::ColumnProfile& name = profile->columns.at("name");
  EXPECT_FALSE(name.numeric);
  EXPECT_EQ(name.top, (std::map<std::string, int64_t>{{"x", 100}, {"y", 1}}));
  EXPECT_EQ(name.nulls, 1);
  EXPECT_EQ(name.other, 0);
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

TEST_F(Measure, ComputesErrorMetrics) {
  // y = 1..5, p = y + (1, -1, 0, 2, -4)
  const absl::StatusOr<core::MetricSet> metrics = Metrics("y,p\n1,2\n2,1\n3,3\n4,6\n5,1\n");

  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(metrics->sample_size, 5);
  EXPECT_DOUBLE_EQ(metrics->overall.at("mae"), 8.0 / 5);
  EXPECT_DOUBLE_EQ(metrics->overall.at("rmse"), std::sqrt(22.0 / 5));
  EXPECT_DOUBLE_EQ(metrics->overall.at("mape"), (1 + 0.5 + 0 + 0.5 + 0.8) / 5);
  EXPECT_NEAR(metrics->overall.at("r2"), 1 - 22.0 / 10, 1e-12);
  EXPECT_DOUBLE_EQ(metrics->overall.at("bias"), -2.0 / 5);
  EXPECT_DOUBLE_EQ(metrics->overall.at("median_ae"), 1);
}

TEST_F(Measure, ComputesThemForEverySlice) {
  const absl::StatusOr<core::MetricSet> metrics = Metrics(
      "y,p,model,seller\n10,11,x5,a\n20,22,x5,b\n30,30,golf,a\n40,30,,a\n", {"model", "seller"});

  ASSERT_TRUE(metrics.ok()) << metrics.status();
  const auto& models = metrics->slices.at("model");
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models[0].value, "(empty)");
  EXPECT_DOUBLE_EQ(models[0].metrics.at("mae"), 10);
  EXPECT_EQ(models[1].value, "golf");
  EXPECT_TRUE(std::isnan(models[1].metrics.at("r2"))) << "one row has no variance";
  EXPECT_EQ(models[2].value, "x5");
  EXPECT_EQ(models[2].count, 2);
  EXPECT_DOUBLE_EQ(models[2].metrics.at("mae"), 1.5);
  EXPECT_EQ(metrics->slices.at("seller").size(), 2u);
}

TEST_F(Measure, OneUnusableRowMakesEveryMetricNaN) {
  for (const char* row : {"oops,1", "1,", "NaN,1", "1,inf", "1", "1,2,3"}) {
    const absl::StatusOr<core::MetricSet> metrics =
        Metrics("y,p\n1,2\n2,1\n" + std::string(row) + "\n");
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    EXPECT_EQ(metrics->unusable_rows, 1) << row;
    EXPECT_EQ(metrics->sample_size, 3) << row;
    for (const auto& [name, value] : metrics->overall)
      EXPECT_TRUE(std::isnan(value)) << name << " " << row;
  }
}

TEST_F(Measure, OnlyTheSliceWithTheUnusableRowIsNaN) {
  const core::MetricSet metrics = *Metrics("y,p,m\n1,2,a\nx,2,b\n", {"m"});
  EXPECT_DOUBLE_EQ(metrics.slices.at("m")[0].metrics.at("mae"), 1);
  EXPECT_TRUE(std::isnan(metrics.slices.at("m")[1].metrics.at("mae")));
}

TEST_F(Measure, ATruthOfZeroHasNoRelativeError) {
  const core::MetricSet metrics = *Metrics("y,p\n0,2\n2,1\n");
  EXPECT_TRUE(std::isnan(metrics.overall.at("mape")));
  EXPECT_DOUBLE_EQ(metrics.overall.at("mae"), 1.5);
}

TEST_F(Measure, RefusesPredictionsWithoutRowsColumnsOrFile) {
  EXPECT_THAT(Message(Metrics("y,p\n").status()), HasSubstr("no rows"));
  EXPECT_THAT(Message(Metrics("y,q\n1,2\n").status()), HasSubstr("has no column \"p\""));
  EXPECT_THAT(Message(Metrics("y,p\n1,2\n", {"model"}).status()), HasSubstr("no column \"model\""));
  EXPECT_THAT(Message(Metrics("").status()), HasSubstr("predictions: eval.csv: is empty"));
  EXPECT_FALSE(engine_->RegressionMetrics(folder_ + "/none.csv", {}).ok());
}

TEST_F(Measure, LeavesNoTableBehindThatARuleCouldFind) {
  ASSERT_TRUE(Metrics("y,p\n1,2\n").ok());
  EXPECT_EQ(Judge(core::RowsRule{"predictions", {0, std::nullopt}}).outcome,
            core::VerdictOutcome::kError);
}

}  // namespace
}  // namespace cd4ml::table
