// Computes metrics of the samples that metrics_test.py writes, a line of JSON each, and answers in lines of JSON.
#include <algorithm>
#include <iostream>
#include <string>

#include "cd4ml/core/bootstrap.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/metrics.h"

namespace cd4ml::core {
namespace {

std::vector<double> Numbers(const Value& sample, std::string_view key) {
  std::vector<double> numbers;
  if (const Value* list = sample.Find(key)) {
    for (const Value& one : list->list()) numbers.push_back(one.is_number() ? one.number() : kNoNumber);
  }
  return numbers;
}

std::vector<int32_t> Labels(const Value& sample, std::string_view key, const std::vector<std::string>& known) {
  std::vector<int32_t> labels;
  if (const Value* list = sample.Find(key)) {
    for (const Value& one : list->list())
      labels.push_back(static_cast<int32_t>(std::find(known.begin(), known.end(), ToText(one)) - known.begin()));
  }
  return labels;
}

Predictions Read(const Value& sample) {
  Predictions predictions;
  const std::string task = ToText(*sample.Find("task"));
  predictions.weights = Numbers(sample, "weight");
  predictions.candidate.scores = Numbers(sample, "score");
  const bool has_champion = sample.Find("champion") != nullptr;
  if (has_champion) predictions.champion.emplace().scores = Numbers(sample, "champion_score");
  predictions.rows = sample.Find("truth")->list().size();
  if (task == "classification") {
    predictions.task = PredictionTask::kClassification;
    for (const char* key : {"truth", "prediction"}) {
      for (const Value& one : sample.Find(key)->list()) predictions.labels.push_back(ToText(one));
    }
    std::sort(predictions.labels.begin(), predictions.labels.end());
    predictions.labels.erase(std::unique(predictions.labels.begin(), predictions.labels.end()), predictions.labels.end());
    predictions.truth_labels = Labels(sample, "truth", predictions.labels);
    predictions.candidate.labels = Labels(sample, "prediction", predictions.labels);
    if (has_champion) predictions.champion->labels = Labels(sample, "champion", predictions.labels);
    const auto positive = std::find(predictions.labels.begin(), predictions.labels.end(), "1");
    if (positive != predictions.labels.end())
      predictions.positive = static_cast<int32_t>(positive - predictions.labels.begin());
    return predictions;
  }
  if (task == "ranking") {
    predictions.task = PredictionTask::kRanking;
    for (const double group : Numbers(sample, "group")) predictions.groups.push_back(static_cast<uint32_t>(group));
  }
  predictions.truth = Numbers(sample, "truth");
  predictions.candidate.numbers = Numbers(sample, "prediction");
  if (has_champion) predictions.champion->numbers = Numbers(sample, "champion");
  return predictions;
}

Value Answer(const Value& sample, const Bootstrap& bootstrap) {
  const Predictions predictions = Read(sample);
  const Arranged all(predictions, nullptr);
  Value::Map metrics;
  for (const auto& [name, value] : ComputeMetrics(all.Of(0, false))) metrics[name] = value;
  for (const auto& [name, value] : ConfusionMatrix(all.Of(0, false))) metrics[name] = value;
  // What is only computed when it is asked for must be what is computed always.
  if (const Value* names = sample.Find("ask")) {
    for (const Value& name : names->list()) {
      const absl::StatusOr<double> asked = ComputeMetric(ToText(name), all.Of(0, false));
      metrics["asked " + ToText(name)] = asked.ok() ? Value(*asked) : Value("unknown");
    }
  }
  if (const Value* interval = sample.Find("interval")) {
    const std::string name = ToText(*interval);
    const Interval found = bootstrap.Difference(*MakeEstimator(name, all.Of(0, false)),
                                                *MakeEstimator(name, all.Of(0, true)), 0.95);
    metrics["low"] = found.low;
    metrics["high"] = found.high;
  }
  return Value(std::move(metrics));
}

}  // namespace
}  // namespace cd4ml::core

int main() {
  const cd4ml::core::Bootstrap bootstrap(cd4ml::core::kBootstrapSeed);
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<cd4ml::Value> sample = cd4ml::ParseJson(line);
    if (!sample.ok()) {
      std::cerr << sample.status() << "\n";
      return 1;
    }
    std::cout << cd4ml::ToJson(cd4ml::core::Answer(*sample, bootstrap)) << "\n";
  }
  return 0;
}
