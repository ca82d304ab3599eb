// A model gate over many predictions: read, measured, compared with the champion overall and in every slice.
//
//   bench_model_gate make FOLDER ROWS SLICES      writes eval.parquet and eval.csv
//   bench_model_gate judge FILE                   prints one line of JSON
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cd4ml/base/status.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/metrics.h"
#include "cd4ml/table/open_table_engine.h"
#include "table/duckdb.h"

namespace cd4ml::bench {
namespace {

using Clock = std::chrono::steady_clock;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "bench_model_gate: %s\n", value.status().ToString().c_str());
  std::exit(1);
}

table::TableEngineOptions Options() {
  const char* stated = std::getenv("CD4ML_DUCKDB");
  return {.libraries = table::LibraryCandidates(stated == nullptr ? "" : stated, CD4ML_SOURCE_DIR),
          .work_folder = "/tmp"};
}

// Prices with an error that both models share, and a smaller one of their own.
int Make(const std::string& folder, const std::string& rows, const std::string& slices) {
  const auto database = Must(table::Database::Open(Options()));
  const std::string select =
      "WITH numbers AS (SELECT i, hash(i) / 18446744073709551616.0 AS a, hash(i + 1000000007) / 18446744073709551616.0 AS b, "
      "hash(i + 2000000011) / 18446744073709551616.0 AS c, hash(i + 3000000019) / 18446744073709551616.0 AS d FROM range(" +
      rows + ") t(i)), prices AS (SELECT *, 500 + 20000 * a * a AS price FROM numbers) SELECT price, price * (0.8 + 0.4 * b + "
      "0.02 * c) AS estimate, price * (0.8 + 0.4 * b + 0.021 * d) AS champion, 'model ' || (hash(i + 7) % " + slices +
      ") AS car_model FROM prices";
  for (const char* format : {"parquet", "csv"}) {
    const absl::Status made = database->Execute("COPY (" + select + ") TO " +
                                                table::Literal(folder + "/eval." + format) + " (FORMAT " + format + ")");
    if (!made.ok()) return Must(absl::StatusOr<int>(made));
  }
  return 0;
}

core::MetricRule Metric(const std::string& name, const std::string& slice, std::optional<double> confidence) {
  core::MetricRule rule;
  rule.metric = name;
  rule.slice = slice;
  rule.min_samples = slice.empty() ? 0 : 100;
  if (confidence) {
    rule.versus = "champion";
    rule.worse_by.rel = 0.02;
    rule.confidence = confidence;
  } else {
    rule.value.max = 1e9;
  }
  return rule;
}

int Judge(const std::string& file) {
  const auto engine = Must(table::OpenTableEngine(Options()));
  core::PredictionsSpec spec;
  spec.truth = "price";
  spec.prediction = "estimate";
  spec.champion = "champion";
  spec.slices = {"car_model"};
  const auto began = Clock::now();
  core::MetricSet metrics = Must(engine->PredictionMetrics(file, spec));
  const std::chrono::duration<double> measured = Clock::now() - began;
  metrics.champion = "shop/1/release";
  std::vector<core::RuleResult> results;
  const auto judge = [&](const core::MetricRule& metric) {
    core::Rule rule;
    rule.name = metric.metric + (metric.slice.empty() ? "" : "-each") + (metric.confidence ? "-not-worse" : "");
    rule.body = metric;
    results.push_back(core::JudgeMetric(rule, metric, metrics));
  };
  for (const char* slice : {"", "car_model"}) {
    judge(Metric("mape", slice, std::nullopt));
    judge(Metric("mae", slice, 0.95));
  }
  core::Rule fair;
  fair.name = "fair";
  results.push_back(core::JudgeFairness(fair, {"car_model", "bias", 1e9, std::nullopt, 100}, metrics));
  const std::chrono::duration<double> all = Clock::now() - began;
  int passed = 0;
  for (const core::RuleResult& result : results) passed += result.outcome == core::VerdictOutcome::kPass;
  const core::RuleResult& compared = results[1];
  std::printf("{\"seconds\": %.4f, \"measure_s\": %.4f, \"rows\": %lld, \"slices\": %zu, \"passed\": %d, \"mae\": %.17g, "
              "\"low\": %.17g, \"high\": %.17g}\n",
              all.count(), measured.count(), static_cast<long long>(*metrics.sample_size),
              metrics.slices.at("car_model").size(), passed, *compared.observed_number, compared.interval->low,
              compared.interval->high);
  return 0;
}

}  // namespace
}  // namespace cd4ml::bench

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "make" && argc == 5) return cd4ml::bench::Make(argv[2], argv[3], argv[4]);
  if (what == "judge" && argc == 3) return cd4ml::bench::Judge(argv[2]);
  std::fprintf(stderr, "usage: bench_model_gate make FOLDER ROWS SLICES | judge FILE\n");
  return 2;
}
