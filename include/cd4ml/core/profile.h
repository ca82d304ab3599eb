// A summary of a table's columns, kept with every accepted data version, and how far two differ.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cd4ml/base/value.h"

namespace cd4ml::core {

// One column: a histogram over quantile bins for numbers, counts of the most frequent values for text.
struct ColumnProfile {
  bool numeric = false;
  int64_t rows = 0;
  int64_t nulls = 0;
  std::vector<double> edges;      // Numeric: ascending inner bin borders; n edges make n+1 bins.
  std::vector<int64_t> counts;    // Numeric: rows per bin. A value equal to an edge is in the lower bin.
  double min = 0, max = 0, mean = 0, std = 0;   // `std` with n-1.
  // Numeric, counted like a reference: rows of the first bin that are below the reference's `min`, of the last one above its `max`.
  int64_t below = 0, above = 0;
  std::vector<double> quantiles;  // Numeric: of kProfileQuantiles, by linear interpolation.
  int64_t distinct = 0;           // Different values without nulls.
  std::string type;               // As the table engine read it: "BIGINT", "VARCHAR", ...
  std::map<std::string, int64_t> top;   // Text: the kTopValues most frequent values.
  int64_t other = 0;              // Text: rows with any other value.
};

constexpr int kProfileBins = 10;
constexpr int kTopValues = 50;
constexpr double kProfileQuantiles[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};

struct TableProfile {
  int64_t rows = 0;
  std::map<std::string, ColumnProfile> columns;
  std::vector<std::string> segments;   // Those that qualified, when a segments rule was judged on the table.
};

Value ToValue(const TableProfile& profile);
absl::StatusOr<TableProfile> ProfileFromValue(const Value& value);

// Counts `values` into the bins or categories of `reference`, as a column profile with the same
// edges or top values. Values that do not parse as numbers in a numeric column count as nulls.
ColumnProfile CountLike(const ColumnProfile& reference, const std::vector<Value>& values);

// Returns the population stability index between two columns with the same bins or categories;
// nulls are a bin of their own, and so is what lies beyond all numbers of the reference. Empty bins are smoothed, so that the result is finite.
// REQUIRES: both have at least one row.
double PopulationStabilityIndex(const ColumnProfile& reference, const ColumnProfile& current);

}  // namespace cd4ml::core
