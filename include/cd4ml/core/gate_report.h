// A gate's verdict as one page for people: everything in one file, without scripts and without a network.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cd4ml/core/gate.h"
#include "cd4ml/core/profile.h"
#include "cd4ml/core/rule.h"
#include "cd4ml/core/run.h"
#include "cd4ml/core/verdict.h"

namespace cd4ml::core {

// A table as it was measured, beside what it is compared with.
struct ReportTable {
  std::string name;  // "clean"
  TableProfile profile;
  std::string baseline;  // Identity; empty: there is none.
  std::optional<TableProfile> reference;
};

// One metric over the values of a slice column.
struct ReportSlices {
  struct Slice {
    std::string value;
    int64_t count = 0;
    double number = 0;  // May be NaN.
  };
  std::string column, metric;  // "model", "mae"
  std::string bound;           // "<= 1200"; empty: none.
  std::optional<double> min, max;
  std::vector<Slice> slices;
};

struct ReportPoint {
  double truth = 0, prediction = 0;
};

// What there is to show beside the verdict; any of it may be missing.
struct GateEvidence {
  std::vector<ReportTable> tables;
  std::vector<ReportSlices> slices;
  std::vector<ReportPoint> points;   // A sample of the predictions.
  int64_t predictions = 0;           // Of how many.
  std::vector<double> latencies_ms;  // Of every request that was measured.
};

struct GateReport {
  std::string title;  // "used-car-price/12"
  std::string gate;   // "error-gate"
  std::string kind;   // "model_gate"
  Verdict verdict;
  GateEvidence evidence;
};

// Returns a page that is HTML and well-formed XML after its first line. Equal reports give equal bytes. What does not
// fit a page (columns, slices, points, rules) is cut, and the page says so.
std::string GateReportHtml(const GateReport& report);

// Returns what `metrics` holds of every slice that a rule speaks of.
std::vector<ReportSlices> SlicesOf(const std::vector<Rule>& rules, const MetricSet& metrics);

// Adds a sample of the predictions that metrics were computed from: of a regression, evenly spaced rows.
void ShowPredictions(const MetricSet& metrics, GateEvidence& evidence);

// The name of the output that holds the report of a gate's attempt.
inline constexpr std::string_view kGateReportOutput = "gate-report";
// Returns whether an output is what cd4ml itself keeps with a gate's attempt: its report, or under the name of a table that
// it has read and passed, the profile of that. It is no version: nothing is made from it, and what compares results leaves it
// out.
inline bool IsGateReport(const ProducedOutput& output) { return output.path.empty(); }

}  // namespace cd4ml::core
