// Reads what a stage measured: JSON, one number found in text, or a table of slices.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/core/gate.h"
#include "cd4ml/core/pipeline.h"

namespace cd4ml::agent {

// Adds all numbers of a JSON document under their dotted names; null is NaN, other values are no
// metrics.
absl::Status AddJsonMetrics(std::string_view json, core::MetricSet& metrics);

// Adds the number that the only group of `pattern` (RE2) matches last in `text`: logs print the
// final value last.
absl::Status AddPatternMetric(std::string_view text, const std::string& name,
                              const std::string& pattern, core::MetricSet& metrics);

// Adds a slice for each row of a CSV table: `slice` names the key column, `count` (may be empty)
// the column with the number of rows behind it, every other column is a metric. An empty cell is
// NaN.
absl::Status AddSliceMetrics(std::string_view csv, const std::string& slice,
                             const std::string& count, core::MetricSet& metrics);

// Adds the metrics of one declared file below `dir`. NOT_FOUND and INVALID_ARGUMENT name the file.
absl::Status AddMetricsFile(const std::string& dir, const core::MetricsSpec& spec,
                            core::MetricSet& metrics);

// Splits CSV text (RFC 4180) into rows of cells. INVALID_ARGUMENT: a quoted cell does not end.
absl::StatusOr<std::vector<std::vector<std::string>>> ParseCsv(std::string_view text);

}  // namespace cd4ml::agent
