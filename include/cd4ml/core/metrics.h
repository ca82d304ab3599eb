// What predictions are worth: every metric that cd4ml computes itself. docs/reference/metrics.md defines each.
//
// Values equal scikit-learn's to 1e-12 (tests/core/metrics_test.py); where it warns and returns 0 because a metric has
// no value, or raises, the metric is NaN here, so that a gate says so instead of judging.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/pipeline.h"
#include "cd4ml/core/statistics.h"

namespace cd4ml::core {

constexpr int32_t kNoLabel = -1;

// A column of a predictions file whose values make slices.
struct SliceColumn {
  std::string name;
  std::vector<std::string> values;     // Sorted; "(empty)" first, where there is no value.
  std::vector<uint32_t> of_row;        // Into `values`.
};

// What one model answered to the rows of a predictions file. A column that was not stated is empty.
struct Answers {
  std::vector<double> numbers;         // Regression and ranking; NaN where there is no number.
  std::vector<int32_t> labels;         // Classification: into Predictions::labels, or kNoLabel.
  std::vector<double> scores;          // Classification: of the positive label; NaN where there is no number.
};

// A predictions file as columns.
struct Predictions {
  PredictionTask task = PredictionTask::kRegression;
  size_t rows = 0;
  std::vector<double> truth;           // Regression; ranking: how relevant the row is.
  std::vector<int32_t> truth_labels;   // Classification.
  Answers candidate;
  std::optional<Answers> champion;     // Of the same rows, where it can be compared.
  std::string incomparable;            // Why it cannot, when a champion's column was stated.
  // How `incomparable` ends where there is no such column.
  static constexpr std::string_view kNotWritten = "the stage did not write the champion's answers";
  std::vector<double> weights;         // Empty: every row counts alike.
  std::vector<uint32_t> groups;        // Ranking: the query; rows of one number belong together.
  std::vector<std::string> labels;     // Classification: of truth and candidate, sorted.
  int32_t positive = kNoLabel;         // Into `labels`; kNoLabel when there is none, so that only averages are known.
  std::vector<SliceColumn> slices;
};

// Some rows of a predictions file with the answers of one model. Holds references: valid as long as they are.
struct Sample {
  PredictionTask task = PredictionTask::kRegression;
  std::span<const double> truth, numbers, scores, weights;
  std::span<const int32_t> truth_labels, labels;
  std::span<const uint32_t> groups;    // Rows of one group are neighbours.
  const std::vector<std::string>* names = nullptr;   // Of the labels.
  int32_t positive = kNoLabel;

  size_t size() const { return task == PredictionTask::kClassification ? truth_labels.size() : truth.size(); }
  double weight(size_t row) const { return weights.empty() ? 1.0 : weights[row]; }
};

// The rows of a file in an order in which slices and groups are neighbours.
class Arranged {
 public:
  // By the values of a slice column, or in one piece when it is null.
  Arranged(const Predictions& predictions, const SliceColumn* by);

  size_t slices() const { return ends_.size(); }
  size_t count(size_t slice) const { return ends_[slice] - begin(slice); }
  // Returns the rows of one slice. `of_champion` REQUIRES that there is one.
  Sample Of(size_t slice, bool of_champion) const;

 private:
  size_t begin(size_t slice) const { return slice == 0 ? 0 : ends_[slice - 1]; }

  const Predictions& predictions_;
  std::optional<Predictions> sorted_;  // Without slices; absent where the file has that order already.
  std::vector<size_t> ends_;
};

// Returns how many rows lack a truth, an answer, or whatever else was stated.
int64_t CountUnusable(const Sample& sample);

// Computes every metric of the sample's task that has a name without parameters, and those that are usual with one. All are
// NaN when a row is unusable or there is none.
std::map<std::string, double> ComputeMetrics(const Sample& sample);

// Returns how much weight of each label was predicted as which, as "confusion.TRUTH.PREDICTED"; nothing with many labels.
std::map<std::string, double> ConfusionMatrix(const Sample& sample);

// Computes one metric by its name, also "ndcg@7". NOT_FOUND: there is no such metric for this task.
absl::StatusOr<double> ComputeMetric(const std::string& name, const Sample& sample);

// A metric as a function of sums over units that can be drawn: rows, or the groups of a ranking.
struct Estimator {
  size_t units = 0;
  size_t sums = 0;
  std::function<void(size_t unit, double* sums)> add;    // Adds what a unit contributes.
  std::function<double(const double* sums)> value;       // NaN where there is none.
};

// Quantiles and auc are written as what they are near the sample itself: a quantile moves as far as the distribution
// function does there, auc is the mean of its placements. Holds the references of `sample`.
// NOT_FOUND: no such metric; INVALID_ARGUMENT: drawing rows says nothing about this one.
absl::StatusOr<Estimator> MakeEstimator(const std::string& name, const Sample& sample);

// Returns whether more of a metric is better, by its name alone ("recall.cat", "ndcg@5"); nothing for one that has no
// better side or is not known.
std::optional<bool> HigherIsBetter(std::string_view metric);

}  // namespace cd4ml::core
