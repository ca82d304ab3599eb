// Small drawings as SVG for reports. Colours and fonts come from classes of the page that holds them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cd4ml/core/gate_report.h"

namespace cd4ml::core {

// Returns `text` safe inside of an element or a quoted attribute: markup escaped, and what may not stand in a document
// (control characters, broken UTF-8) replaced.
std::string Escaped(std::string_view text);

// Returns a number as short as people read it: "106,988", "551", "0.0312".
std::string Rounded(double number);

// A histogram of the values between the 1st and the 99th percentile; `before` is drawn over it as a line.
// REQUIRES: both are numeric.
std::string HistogramChart(const std::string& label, const ColumnProfile& now, const ColumnProfile* before);

// One line of a chart of bars.
struct Bar {
  std::string label, value, note;
  double size = 0;             // From 0 on.
  std::optional<double> mark;  // Where the baseline is.
  bool is_bad = false;
};
// Bars that lie, with texts beside them; `limit` is drawn through all of them.
std::string BarChart(const std::vector<Bar>& bars, std::optional<double> limit = std::nullopt);

// Prediction over truth. REQUIRES: some point is finite.
std::string ScatterChart(const std::vector<ReportPoint>& points);

// How many requests took how long, over a logarithmic axis. REQUIRES: not empty.
std::string LatencyChart(std::vector<double> latencies_ms);

// An interval around or beside zero.
std::string IntervalChart(const Interval& interval);

// Returns `current` as counted into the bins or values of `reference`; within a bin, values are taken to be spread
// evenly. Both are numeric, or neither is.
ColumnProfile Rebinned(const ColumnProfile& reference, const ColumnProfile& current);

}  // namespace cd4ml::core
