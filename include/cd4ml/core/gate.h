// Judges rules from measurements. Pure: who measured, and where, does not matter here.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/base/value.h"
#include "cd4ml/core/profile.h"
#include "cd4ml/core/rule.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

// Metrics of one slice value, and how many rows stand behind them.
struct SliceMetrics {
  std::string value;
  int64_t count = 0;
  std::map<std::string, double> metrics;
};

struct Predictions;   // See core/metrics.h.

// Metrics of a run that was judged before.
struct MetricBaseline {
  std::string identity;
  std::map<std::string, double> metrics;
};

// Everything a model rule may look at.
struct MetricSet {
  std::map<std::string, double> overall;                       // Dotted names; may hold NaN.
  std::optional<int64_t> sample_size;                          // Rows behind `overall`, if known.
  std::map<std::string, std::vector<SliceMetrics>> slices;     // By slice column.
  int64_t unusable_rows = 0;   // Rows whose truth or prediction is no number: why metrics are NaN.
  std::shared_ptr<const Predictions> predictions;   // Where cd4ml computed them from; null: nowhere.
  bool is_of_champion = false;                      // Of the champion's answers in them.
  std::shared_ptr<const MetricSet> of_champion;     // Of the champion's answers to the same rows; null: none to compare.
  std::string champion;                             // Identity of the live champion; empty: there is none.
  std::map<std::string, MetricBaseline> baselines;  // By `versus`: "last_passed", "run:ID", "champion".
  std::map<std::string, bool> goals;                // Whether more is better, where the stage says so.
};

// Computes all metrics of predictions, overall and for every slice, also for the champion where there is one.
MetricSet MeasurePredictions(std::shared_ptr<const Predictions> predictions);

// Returns the metric, also one that is only computed when it is asked for ("ndcg@7").
std::optional<double> FindMetric(const MetricSet& metrics, const std::string& name);
// Returns the slices of a column, each with this metric where it can be computed. Null: there is no such column.
std::optional<std::vector<SliceMetrics>> FindSlices(const MetricSet& metrics, const std::string& column,
                                                    const std::string& name);

// Judges a metric rule (overall or per slice, absolutely or against a baseline). A missing metric or NaN is kError, with
// the nearest name suggested.
RuleResult JudgeMetric(const Rule& rule, const MetricRule& metric, const MetricSet& metrics);

// Judges a metric rule with `versus`; see docs/reference/metrics.md for what holds. JudgeMetric calls it.
RuleResult JudgeVersus(const Rule& rule, const MetricRule& metric, const MetricSet& metrics);

// Judges how far a metric differs between slices.
RuleResult JudgeFairness(const Rule& rule, const FairnessRule& fairness, const MetricSet& metrics);

// Judges an expression over metrics; the message shows the value of every name in it.
RuleResult JudgeCheck(const Rule& rule, const CheckRule& check, const MetricSet& metrics);

// Judges drift of `current` columns against `reference`; the worst column decides. `reference` is
// null while there is no baseline. `baseline` names it.
RuleResult JudgeDrift(const Rule& rule, const DriftRule& drift, const TableProfile* reference,
                      const std::string& baseline, const std::map<std::string, ColumnProfile>& current,
                      int64_t sample_size);

// Makes the result of a rule that was measured as one number against bounds.
RuleResult JudgeNumber(const Rule& rule, std::string subject, double observed, std::string_view unit,
                       const Bounds& bounds, std::optional<int64_t> sample_size);

// Makes the result of a rule that could not be judged, which is an error also where the rule only warns; `why` is a sentence.
RuleResult CannotJudge(const Rule& rule, std::string subject, std::string why);

// Returns the segments that qualify, by table, as a verdict lists them: with the table's name where there are several.
std::vector<std::string> SegmentsOfTables(const std::map<std::string, std::vector<std::string>>& by_table);

// Says why a metric that cd4ml computed is no number, as "; there is only one class"; "" where that is not known.
std::string WhyNaN(const MetricSet& metrics, const std::string& metric);

// Says that there is no such metric or column, with the nearest of `known`.
std::string Missing(const std::string& what, const std::string& name, const std::vector<std::string>& known);

// Returns kFail or kWarn for a broken rule, as its severity says.
VerdictOutcome Broken(const Rule& rule);

// Returns "<= 1200", ">= 5", "2 .. 8" or "none", with `unit` (" rows") after it.
std::string FormatBounds(const Bounds& bounds, std::string_view unit);
// Returns a number as people write it: no exponent between 1e-4 and 1e15, at most 6 significant digits
// after the point's first non-zero.
std::string FormatNumber(double number);

}  // namespace cd4ml::core
