// Predictions files: what is read, what of it is incomparable, and metrics against values computed by hand.
#include <cmath>

#include "cd4ml/core/metrics.h"
#include "table/duckdb.h"
#include "tests/table/table_fixture.h"

namespace cd4ml::table {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PredictionsFile : public TableTest {
 protected:
  static core::PredictionsSpec Regression() {
    core::PredictionsSpec spec;
    spec.truth = "y";
    spec.prediction = "p";
    return spec;
  }
  static core::PredictionsSpec Classification() {
    core::PredictionsSpec spec = Regression();
    spec.task = core::PredictionTask::kClassification;
    return spec;
  }
  absl::StatusOr<core::MetricSet> Metrics(std::string_view bytes, std::vector<std::string> slices = {}) {
    core::PredictionsSpec spec = Regression();
    spec.slices = std::move(slices);
    return Metrics(bytes, spec);
  }
  absl::StatusOr<core::MetricSet> Metrics(std::string_view bytes, const core::PredictionsSpec& spec,
                                          const std::string& name = "eval.csv") {
    return engine_->PredictionMetrics(Write(name, bytes), spec);
  }
  void MakeParquet(const std::string& select, const std::string& path) {
    const char* stated = std::getenv("CD4ML_DUCKDB");
    auto database = Database::Open({.libraries = LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
                                    .work_folder = folder_});
    ASSERT_TRUE(database.ok()) << database.status();
    const absl::Status made = (*database)->Execute("COPY (" + select + ") TO " + Literal(path) + " (FORMAT parquet)");
    ASSERT_TRUE(made.ok()) << made;
  }
  std::string Incomparable(std::string_view bytes, const core::PredictionsSpec& spec) {
    const absl::StatusOr<core::MetricSet> metrics = Metrics(bytes, spec);
    EXPECT_TRUE(metrics.ok()) << metrics.status();
    EXPECT_EQ(metrics->of_champion, nullptr);
    return metrics->predictions->incomparable;
  }
};

TEST_F(PredictionsFile, ComputesErrorMetrics) {
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

TEST_F(PredictionsFile, ComputesThemForEverySlice) {
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

TEST_F(PredictionsFile, OneUnusableRowMakesEveryMetricNaN) {
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

TEST_F(PredictionsFile, OnlyTheSliceWithTheUnusableRowIsNaN) {
  const core::MetricSet metrics = *Metrics("y,p,m\n1,2,a\nx,2,b\n", {"m"});
  EXPECT_DOUBLE_EQ(metrics.slices.at("m")[0].metrics.at("mae"), 1);
  EXPECT_TRUE(std::isnan(metrics.slices.at("m")[1].metrics.at("mae")));
}

TEST_F(PredictionsFile, ATruthOfZeroHasNoRelativeError) {
  const core::MetricSet metrics = *Metrics("y,p\n0,2\n2,1\n");
  EXPECT_TRUE(std::isnan(metrics.overall.at("mape")));
  EXPECT_DOUBLE_EQ(metrics.overall.at("mae"), 1.5);
}

TEST_F(PredictionsFile, RefusesPredictionsWithoutRowsColumnsOrFile) {
  EXPECT_THAT(Message(Metrics("y,p\n").status()), HasSubstr("no rows"));
  EXPECT_THAT(Message(Metrics("y,q\n1,2\n").status()), HasSubstr("has no column \"p\""));
  EXPECT_THAT(Message(Metrics("y,p\n1,2\n", {"model"}).status()), HasSubstr("no column \"model\""));
  EXPECT_THAT(Message(Metrics("").status()), HasSubstr("predictions: eval.csv: is empty"));
  EXPECT_FALSE(engine_->PredictionMetrics(folder_ + "/none.csv", {}).ok());
}

TEST_F(PredictionsFile, LeavesNoTableBehindThatARuleCouldFind) {
  ASSERT_TRUE(Metrics("y,p\n1,2\n").ok());
  EXPECT_EQ(Judge(core::RowsRule{"predictions", {0, std::nullopt}}).outcome,
            core::VerdictOutcome::kError);
}

TEST_F(PredictionsFile, WeighsRows) {
  core::PredictionsSpec spec = Regression();
  spec.weight = "w";
  const core::MetricSet metrics = *Metrics("y,p,w\n1,2,3\n1,5,1\n1,100,0\n", spec);
  EXPECT_DOUBLE_EQ(metrics.overall.at("mae"), (3 * 1 + 4) / 4.0);
  EXPECT_THAT(Message(Metrics("y,p,w\n1,2,3\n1,5,-1\n", spec).status()), HasSubstr("row 2 has the weight -1"));
  EXPECT_EQ(Metrics("y,p,w\n1,2,\n1,5,1\n", spec)->unusable_rows, 1) << "a row without a weight";
}

TEST_F(PredictionsFile, TellsClassesApart) {
  core::PredictionsSpec spec = Classification();
  spec.score = "s";
  // Floats and integers are one label: of a column with a gap pandas makes floats.
  const core::MetricSet metrics = *Metrics("y,p,s\n1,1.0,0.9\n1,0.0,0.4\n0,0.0,0.4\n0,1.0,0.2\n", spec);
  EXPECT_DOUBLE_EQ(metrics.overall.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.overall.at("recall"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.overall.at("confusion.1.0"), 1);
  EXPECT_DOUBLE_EQ(metrics.overall.at("auc"), (2 + 1.5) / 4) << "a tie is half";
}

TEST_F(PredictionsFile, TakesTheStatedPositiveLabel) {
  core::PredictionsSpec spec = Classification();
  spec.positive = "sold";
  const core::MetricSet metrics = *Metrics("y,p\nsold,sold\nkept,sold\nkept,kept\n", spec);
  EXPECT_DOUBLE_EQ(metrics.overall.at("precision"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.overall.at("false_positive_rate"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.overall.at("precision.kept"), 1);

  EXPECT_FALSE(Metrics("y,p\na,b\nb,c\n", Classification())->overall.contains("precision")) << "of which label?";
  core::PredictionsSpec scored = Classification();
  scored.score = "s";
  EXPECT_THAT(Message(Metrics("y,p,s\na,b,1\n", scored).status()), HasSubstr("name it by \"positive\""));
}

TEST_F(PredictionsFile, RanksWithinGroupsThatNeedNotBeNeighbours) {
  core::PredictionsSpec spec = Regression();
  spec.task = core::PredictionTask::kRanking;
  spec.group = "q";
  spec.slices = {"kind"};
  const core::MetricSet metrics =
      *Metrics("q,y,p,kind\na,1,0.1,x\nb,0,0.9,y\na,0,0.9,x\nb,1,0.8,y\nb,0,0.1,y\n", spec);
  EXPECT_DOUBLE_EQ(metrics.overall.at("mrr"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.overall.at("precision@1"), 0);
  EXPECT_DOUBLE_EQ(*core::FindMetric(metrics, "precision@2"), 0.5) << "computed because somebody asks";
  EXPECT_EQ(metrics.slices.at("kind").size(), 2u);
  EXPECT_THAT(Message(Metrics("q,y,p,kind\n,1,1,x\n", spec).status()), HasSubstr("1 rows of the predictions have no \"q\""));
}

TEST_F(PredictionsFile, ReadsTheChampionsAnswersToTheSameRows) {
  core::PredictionsSpec spec = Regression();
  spec.champion = "c";
  spec.slices = {"m"};
  const core::MetricSet metrics = *Metrics("y,p,c,m\n1,2,4,a\n2,1,2,b\n", spec);
  ASSERT_NE(metrics.of_champion, nullptr);
  EXPECT_DOUBLE_EQ(metrics.overall.at("mae"), 1);
  EXPECT_DOUBLE_EQ(metrics.of_champion->overall.at("mae"), 1.5);
  EXPECT_DOUBLE_EQ(metrics.of_champion->slices.at("m")[0].metrics.at("mae"), 3);
}

TEST_F(PredictionsFile, SaysWhyAChampionIsIncomparable) {
  core::PredictionsSpec spec = Regression();
  spec.champion = "c";
  EXPECT_THAT(Incomparable("y,p\n1,2\n", spec), HasSubstr("has no column \"c\""));
  EXPECT_THAT(Incomparable("y,p,c\n1,2,\n2,1,3\n", spec), HasSubstr("no answer in 1 of 2 rows"));
  EXPECT_THAT(Incomparable("y,p,c\n1,2,NaN\n2,1,inf\n", spec), HasSubstr("no answer in 2 of 2 rows"));
  spec = Classification();
  spec.champion = "c";
  EXPECT_THAT(Incomparable("y,p,c\nyes,no,ja\nno,no,nein\n", spec), HasSubstr("which is no label of truth or prediction"));
  EXPECT_THAT(Incomparable("y,p,c\nyes,no,yes\nno,no,\n", spec), HasSubstr("no answer in 1 of 2 rows"));
}

TEST_F(PredictionsFile, RefusesARegressionAsAClassification) {
  std::string text = "y,p\n";
  for (int i = 0; i < 6000; ++i) text += std::to_string(i) + ".5," + std::to_string(i) + ".25\n";
  EXPECT_THAT(Message(Metrics(text, Classification()).status()), HasSubstr("12000 labels are more than 10000; is this a regression?"));
}

TEST_F(PredictionsFile, ReadsLinesOfJson) {
  const absl::StatusOr<core::MetricSet> metrics =
      Metrics("{\"y\": 1, \"p\": 2.5}\n{\"y\": 2, \"p\": null}\n", Regression(), "eval.jsonl");
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(metrics->unusable_rows, 1);
}

// Numbers of Parquet are not to go through text: a FLOAT of 0.1 is 0.1 only to six digits.
TEST_F(PredictionsFile, ReadsParquetAsItIs) {
  const std::string path = folder_ + "/odd [name]*.parquet";
  MakeParquet("SELECT 0.1::FLOAT AS y, 0.5 AS p, TRUE AS c, NULL::VARCHAR AS m UNION ALL SELECT 3, 4, FALSE, 'b'", path);
  core::PredictionsSpec spec = Regression();
  spec.slices = {"m"};
  const absl::StatusOr<core::MetricSet> metrics = engine_->PredictionMetrics(path, spec);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_EQ(metrics->overall.at("mae"), ((0.5 - static_cast<double>(0.1f)) + 1) / 2);
  EXPECT_EQ(metrics->slices.at("m")[0].value, "(empty)");
  spec.prediction = "nobody";
  EXPECT_THAT(Message(engine_->PredictionMetrics(path, spec).status()), HasSubstr("has no column \"nobody\""));
}

}  // namespace
}  // namespace cd4ml::table
